CREATE TABLE schedules (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    runs            TEXT NOT NULL,
    status          TEXT NOT NULL,
    search          TEXT NOT NULL,
    next_run_at     TEXT,
    waits_for       TEXT,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE INDEX schedules_by_age ON schedules (organization_id, created_at, id);
CREATE INDEX schedules_of_workflow ON schedules (runs);
CREATE INDEX schedules_due ON schedules (next_run_at, id) WHERE next_run_at IS NOT NULL;
CREATE INDEX schedules_waiting ON schedules (id) WHERE waits_for IS NOT NULL;

-- The executions of a schedule are those that it created.
CREATE INDEX executions_by_creator ON executions (created_by, created_at, id);
