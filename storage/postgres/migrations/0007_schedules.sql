CREATE TABLE schedules (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    runs            TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    search          TEXT COLLATE "C" NOT NULL,
    next_run_at     TEXT COLLATE "C",
    waits_for       TEXT COLLATE "C",
    created_at      TEXT COLLATE "C" NOT NULL,
    updated_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX schedules_by_age ON schedules (organization_id, created_at, id);
CREATE INDEX schedules_of_workflow ON schedules (runs);
CREATE INDEX schedules_due ON schedules (next_run_at NULLS FIRST, id) WHERE next_run_at IS NOT NULL;
CREATE INDEX schedules_waiting ON schedules (id) WHERE waits_for IS NOT NULL;

-- The executions of a schedule are those that it created.
CREATE INDEX executions_by_creator ON executions (created_by, created_at, id);
