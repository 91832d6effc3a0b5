-- How many executions there are below one.
ALTER TABLE executions ADD COLUMN root_execution_id TEXT COLLATE "C";
CREATE INDEX executions_below_root ON executions (root_execution_id) WHERE root_execution_id IS NOT NULL;
