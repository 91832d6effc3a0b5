-- An attempt says more: what was sent, what went wrong, where the time went. A delivery that is asked for again has
-- its attempts before that forgiven.
ALTER TABLE attempts
    ADD COLUMN error_class TEXT COLLATE "C",
    ADD COLUMN request_headers TEXT COLLATE "C",
    ADD COLUMN timings TEXT COLLATE "C";
ALTER TABLE deliveries ADD COLUMN forgiven BIGINT NOT NULL DEFAULT 0;

-- Which endpoints of a shard have anything is found by seeks from one to the next. What has never been tried is due
-- whatever the clock says: its `due_at` is the empty text, before every time.
DROP INDEX deliveries_claim;
CREATE INDEX deliveries_claim ON deliveries (shard, webhook_id, due_at, position NULLS FIRST, id)
    WHERE due_at IS NOT NULL;
UPDATE deliveries SET due_at = '' WHERE status = 'pending';
CREATE INDEX deliveries_exhausted ON deliveries (webhook_id, id) WHERE status = 'exhausted';

-- Ledger: how endpoints answer. `paced_until` is the theoretical arrival time of the next attempt, in microseconds
-- since 1970.
CREATE TABLE endpoint_states (
    webhook_id      TEXT COLLATE "C" PRIMARY KEY,
    paced_until     BIGINT NOT NULL DEFAULT 0,
    last_success_at TEXT COLLATE "C",
    last_failure_at TEXT COLLATE "C",
    failing_since   TEXT COLLATE "C"
);
CREATE INDEX endpoint_states_failing ON endpoint_states (failing_since) WHERE failing_since IS NOT NULL;

-- Ledger: attempts of an endpoint in an hour, by what came of them and how long they took.
CREATE TABLE attempt_counts (
    webhook_id TEXT COLLATE "C" NOT NULL,
    hour       TEXT COLLATE "C" NOT NULL,
    outcome    TEXT COLLATE "C" NOT NULL,
    bucket     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, hour, outcome, bucket)
);
CREATE INDEX attempt_counts_by_age ON attempt_counts (hour);
