-- Who waits for a turn, and who has a place: see executor/domain/execution/queue.py. Rows of before count as running.
ALTER TABLE executions ADD COLUMN is_in_queue INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN is_holding INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN slot INTEGER;
ALTER TABLE executions ADD COLUMN concurrency_key TEXT;
ALTER TABLE executions ADD COLUMN concurrency_limit INTEGER;
ALTER TABLE executions ADD COLUMN concurrency_slot INTEGER;
ALTER TABLE executions ADD COLUMN queue_deadline TEXT;
DROP INDEX executions_runnable;
CREATE INDEX executions_runnable ON executions (runnable_at, priority, id, engine, is_in_queue)
    WHERE runnable_at IS NOT NULL AND is_in_queue = 0;
CREATE INDEX executions_in_queue ON executions (organization_id, priority DESC, id, runnable_at, concurrency_key, is_in_queue)
    WHERE is_in_queue = 1;
CREATE INDEX executions_due_in_queue ON executions (runnable_at, is_in_queue) WHERE is_in_queue = 1;
CREATE INDEX executions_queue_deadline ON executions (queue_deadline, id, is_in_queue) WHERE is_in_queue = 1;
CREATE INDEX executions_holding ON executions (organization_id, concurrency_key, concurrency_limit)
    WHERE is_holding = 1;

ALTER TABLE organizations ADD COLUMN plan TEXT NOT NULL DEFAULT 'unlimited';
ALTER TABLE organizations ADD COLUMN own_runs_at_once INTEGER;
