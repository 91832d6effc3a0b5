-- The log. `schema` is that of the data; `digest` is SHA-256 of the data, so that the chain proves without it.
-- AUTOINCREMENT remembers the highest position ever given: a tail that was deleted is never written again.
CREATE TABLE events (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL,
    type            TEXT NOT NULL,
    schema          INTEGER NOT NULL,
    time            TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    stream          TEXT NOT NULL,
    version         INTEGER NOT NULL,
    workflow_id     TEXT,
    execution_id    TEXT,
    data            BLOB NOT NULL,
    metadata        BLOB NOT NULL,
    digest          BLOB NOT NULL,
    hash            BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_id ON events (id);
CREATE UNIQUE INDEX events_stream ON events (stream, version);
-- Each index ends with the position by itself: it is the rowid.
CREATE INDEX events_execution ON events (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX events_workflow ON events (workflow_id) WHERE workflow_id IS NOT NULL;
CREATE INDEX events_type ON events (type);
CREATE INDEX events_organization ON events (organization_id);

-- What must be unique among all streams, and the stream that holds it.
CREATE TABLE names (
    name   TEXT PRIMARY KEY,
    stream TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows: folded from the log, written in the transaction of the events.
CREATE TABLE workflows (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    name            TEXT NOT NULL,
    status          TEXT NOT NULL,
    category        TEXT,
    tags            TEXT NOT NULL,
    search          TEXT NOT NULL,
    created_by      TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE INDEX workflows_by_id ON workflows (organization_id, id);
CREATE INDEX workflows_by_age ON workflows (organization_id, created_at, id);

CREATE TABLE executions (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    workflow_id     TEXT NOT NULL,
    status          TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    tags            TEXT NOT NULL,
    created_by      TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    started_at      TEXT,
    completed_at    TEXT,
    runnable_at     TEXT,
    engine          TEXT,
    epoch           INTEGER NOT NULL,
    project_id      TEXT,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE INDEX executions_by_id ON executions (organization_id, id);
CREATE INDEX executions_by_age ON executions (organization_id, created_at, id);
CREATE INDEX executions_by_status ON executions (organization_id, status, id);
CREATE INDEX executions_by_workflow ON executions (workflow_id, id);
CREATE INDEX executions_stats ON executions (workflow_id, status, created_at);
CREATE INDEX executions_runnable ON executions (runnable_at, priority, id, engine) WHERE runnable_at IS NOT NULL;

CREATE TABLE components (
    execution_id    TEXT NOT NULL,
    component_id    TEXT NOT NULL,
    iteration       TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    organization_id TEXT NOT NULL,
    sequence        INTEGER NOT NULL,
    status          TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL,
    PRIMARY KEY (execution_id, component_id, iteration)
) STRICT;

CREATE TABLE webhooks (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    url             TEXT NOT NULL,
    active          INTEGER NOT NULL,
    deleted         INTEGER NOT NULL,
    shard           INTEGER NOT NULL,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE INDEX webhooks_by_id ON webhooks (organization_id, id);
CREATE INDEX webhooks_by_age ON webhooks (organization_id, created_at, id);
CREATE INDEX webhooks_by_shard ON webhooks (shard, id);

CREATE TABLE api_keys (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    digest          TEXT NOT NULL,
    revoked         INTEGER NOT NULL,
    created_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX api_keys_digest ON api_keys (digest);
CREATE INDEX api_keys_by_id ON api_keys (organization_id, id);
CREATE INDEX api_keys_by_age ON api_keys (organization_id, created_at, id);

-- Ledgers: true beside the log, never folded from it.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE engines (
    id         TEXT PRIMARY KEY,
    expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    sealed_key TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE key_use (
    id      TEXT PRIMARY KEY,
    used_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `due_at` is when somebody has to look at the delivery again: when its next attempt is due, or when the lease of
-- the one under way runs out; null once it has ended. Every index of the pump holds only what has not ended.
CREATE TABLE deliveries (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    webhook_id      TEXT NOT NULL,
    shard           INTEGER NOT NULL,
    event_id        TEXT NOT NULL,
    event           TEXT NOT NULL,
    position        INTEGER,
    status          TEXT NOT NULL,
    attempt_count   INTEGER NOT NULL,
    next_attempt_at TEXT,
    created_at      TEXT NOT NULL,
    completed_at    TEXT,
    lease_until     TEXT,
    body            BLOB,
    due_at          TEXT
) STRICT;
CREATE INDEX deliveries_by_organization ON deliveries (organization_id, id);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_due ON deliveries (shard, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_claim ON deliveries (webhook_id, due_at, position, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, position, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_in_flight ON deliveries (webhook_id, due_at) WHERE status = 'in_flight';

CREATE TABLE attempts (
    delivery_id   TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    started_at    TEXT NOT NULL,
    duration_ms   INTEGER NOT NULL,
    status_code   INTEGER,
    error         TEXT,
    response_body TEXT,
    PRIMARY KEY (delivery_id, attempt)
) STRICT;
