-- An attempt says more: what was sent, what went wrong, where the time went. A delivery that is asked for again has
-- its attempts before that forgiven.
ALTER TABLE attempts ADD COLUMN error_class TEXT;
ALTER TABLE attempts ADD COLUMN request_headers TEXT;
ALTER TABLE attempts ADD COLUMN timings TEXT;
ALTER TABLE deliveries ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;

-- Which endpoints of a shard have anything is found by seeks from one to the next. What has never been tried is due
-- whatever the clock says: its `due_at` is the empty text, before every time.
DROP INDEX deliveries_claim;
CREATE INDEX deliveries_claim ON deliveries (shard, webhook_id, due_at, position, id) WHERE due_at IS NOT NULL;
UPDATE deliveries SET due_at = '' WHERE status = 'pending';
CREATE INDEX deliveries_exhausted ON deliveries (webhook_id, id) WHERE status = 'exhausted';

-- Ledger: how endpoints answer. `paced_until` is the theoretical arrival time of the next attempt, in microseconds
-- since 1970.
CREATE TABLE endpoint_states (
    webhook_id      TEXT PRIMARY KEY,
    paced_until     INTEGER NOT NULL DEFAULT 0,
    last_success_at TEXT,
    last_failure_at TEXT,
    failing_since   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoint_states_failing ON endpoint_states (failing_since) WHERE failing_since IS NOT NULL;

-- Ledger: attempts of an endpoint in an hour, by what came of them and how long they took.
CREATE TABLE attempt_counts (
    webhook_id TEXT NOT NULL,
    hour       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    bucket     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, hour, outcome, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_counts_by_age ON attempt_counts (hour);
