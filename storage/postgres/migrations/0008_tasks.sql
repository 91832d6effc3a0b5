CREATE TABLE tasks (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    workflow_id     TEXT COLLATE "C" NOT NULL,
    execution_id    TEXT COLLATE "C" NOT NULL,
    kind            TEXT COLLATE "C" NOT NULL,
    task_type       TEXT COLLATE "C",
    status          TEXT COLLATE "C" NOT NULL,
    priority        BIGINT NOT NULL,
    assignee        TEXT COLLATE "C",
    candidates      TEXT COLLATE "C" NOT NULL,
    due_at          TEXT COLLATE "C" NOT NULL,
    wakes_at        TEXT COLLATE "C",
    claimable_type  TEXT COLLATE "C",
    created_at      TEXT COLLATE "C" NOT NULL,
    updated_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX tasks_by_age ON tasks (organization_id, created_at, id);
CREATE INDEX tasks_by_change ON tasks (organization_id, updated_at, id);
CREATE INDEX tasks_by_due ON tasks (organization_id, due_at, id);
CREATE INDEX tasks_by_priority ON tasks (organization_id, priority, id);
CREATE INDEX tasks_by_status ON tasks (organization_id, status, created_at, id);
CREATE INDEX tasks_by_assignee ON tasks (organization_id, assignee, created_at, id) WHERE assignee IS NOT NULL;
CREATE INDEX tasks_of_execution ON tasks (execution_id, created_at, id);
CREATE INDEX tasks_claimable ON tasks (organization_id, claimable_type, priority DESC, created_at, id)
    WHERE claimable_type IS NOT NULL;
CREATE INDEX tasks_waking ON tasks (wakes_at, id) WHERE wakes_at IS NOT NULL;
CREATE INDEX tasks_with_workers ON tasks (id) WHERE kind = 'external' AND status = 'running';

-- Ledger: which worker has which external task until when. Heartbeats are no events.
CREATE TABLE task_leases (
    task_id    TEXT COLLATE "C" PRIMARY KEY,
    worker_id  TEXT COLLATE "C" NOT NULL,
    lease_id   TEXT COLLATE "C" NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX task_leases_by_end ON task_leases (expires_at);
