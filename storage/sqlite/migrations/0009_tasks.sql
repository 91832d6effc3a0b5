CREATE TABLE tasks (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    workflow_id     TEXT NOT NULL,
    execution_id    TEXT NOT NULL,
    kind            TEXT NOT NULL,
    task_type       TEXT,
    status          TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    assignee        TEXT,
    candidates      TEXT NOT NULL,
    due_at          TEXT NOT NULL,
    wakes_at        TEXT,
    claimable_type  TEXT,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
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
    task_id    TEXT PRIMARY KEY,
    worker_id  TEXT NOT NULL,
    lease_id   TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX task_leases_by_end ON task_leases (expires_at);
