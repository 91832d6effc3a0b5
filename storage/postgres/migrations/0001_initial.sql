-- The log. `schema` is that of the data; `digest` is SHA-256 of the data, so that the chain proves without it.
-- Positions come from `log`, never from a sequence: whoever writes holds its one row until the commit, so positions
-- are dense, in the order of commits, and visible only when all before them are.
CREATE TABLE events (
    position        BIGINT PRIMARY KEY,
    id              TEXT COLLATE "C" NOT NULL,
    type            TEXT COLLATE "C" NOT NULL,
    schema          BIGINT NOT NULL,
    time            TEXT COLLATE "C" NOT NULL,
    organization_id TEXT COLLATE "C" NOT NULL,
    stream          TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    workflow_id     TEXT COLLATE "C",
    execution_id    TEXT COLLATE "C",
    data            BYTEA NOT NULL,
    metadata        BYTEA NOT NULL,
    digest          BYTEA NOT NULL,
    hash            BYTEA NOT NULL
);
CREATE UNIQUE INDEX events_id ON events (id);
CREATE UNIQUE INDEX events_stream ON events (stream, version);
CREATE INDEX events_execution ON events (execution_id, position) WHERE execution_id IS NOT NULL;
CREATE INDEX events_workflow_type ON events (workflow_id, type, position) WHERE workflow_id IS NOT NULL;
CREATE INDEX events_type ON events (type, position);
CREATE INDEX events_organization ON events (organization_id, position);
CREATE INDEX events_organization_type ON events (organization_id, type, position);

-- The end of the chain: one row, locked by whoever appends. `position` is the last that was ever given.
CREATE TABLE log (
    single   BOOLEAN PRIMARY KEY DEFAULT true CHECK (single),
    position BIGINT NOT NULL,
    time     TEXT COLLATE "C" NOT NULL,
    hash     BYTEA NOT NULL
);
INSERT INTO log (position, time, hash) VALUES (0, '', decode(repeat('00', 32), 'hex'));

-- What must be unique among all streams, and the stream that holds it.
CREATE TABLE names (
    name   TEXT COLLATE "C" PRIMARY KEY,
    stream TEXT COLLATE "C" NOT NULL
);

-- Rows: folded from the log, written in the transaction of the events.
CREATE TABLE workflows (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    category        TEXT COLLATE "C",
    tags            TEXT COLLATE "C" NOT NULL,
    search          TEXT COLLATE "C" NOT NULL,
    created_by      TEXT COLLATE "C" NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    updated_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX workflows_by_id ON workflows (organization_id, id);
CREATE INDEX workflows_by_age ON workflows (organization_id, created_at, id);

CREATE TABLE executions (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    workflow_id     TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    priority        BIGINT NOT NULL,
    tags            TEXT COLLATE "C" NOT NULL,
    created_by      TEXT COLLATE "C" NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    started_at      TEXT COLLATE "C",
    completed_at    TEXT COLLATE "C",
    runnable_at     TEXT COLLATE "C",
    engine          TEXT COLLATE "C",
    epoch           BIGINT NOT NULL,
    project_id      TEXT COLLATE "C",
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX executions_by_id ON executions (organization_id, id);
CREATE INDEX executions_by_age ON executions (organization_id, created_at, id);
CREATE INDEX executions_by_status ON executions (organization_id, status, id);
CREATE INDEX executions_by_workflow ON executions (workflow_id, id);
CREATE INDEX executions_stats ON executions (workflow_id, status, created_at);
CREATE INDEX executions_runnable ON executions (runnable_at, priority, id, engine) WHERE runnable_at IS NOT NULL;

CREATE TABLE components (
    execution_id    TEXT COLLATE "C" NOT NULL,
    component_id    TEXT COLLATE "C" NOT NULL,
    iteration       TEXT COLLATE "C" NOT NULL,
    generation      BIGINT NOT NULL,
    organization_id TEXT COLLATE "C" NOT NULL,
    sequence        BIGINT NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL,
    PRIMARY KEY (execution_id, component_id, iteration)
);

CREATE TABLE webhooks (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    url             TEXT COLLATE "C" NOT NULL,
    active          BIGINT NOT NULL,
    deleted         BIGINT NOT NULL,
    shard           BIGINT NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    updated_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX webhooks_by_id ON webhooks (organization_id, id);
CREATE INDEX webhooks_by_age ON webhooks (organization_id, created_at, id);
CREATE INDEX webhooks_by_shard ON webhooks (shard, id);

CREATE TABLE api_keys (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    digest          TEXT COLLATE "C" NOT NULL,
    revoked         BIGINT NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE UNIQUE INDEX api_keys_digest ON api_keys (digest);
CREATE INDEX api_keys_by_id ON api_keys (organization_id, id);
CREATE INDEX api_keys_by_age ON api_keys (organization_id, created_at, id);

-- Ledgers: true beside the log, never folded from it.
CREATE TABLE meta (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

CREATE TABLE engines (
    id         TEXT COLLATE "C" PRIMARY KEY,
    expires_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE organizations (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    sealed_key TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL
);

CREATE TABLE key_use (
    id      TEXT COLLATE "C" PRIMARY KEY,
    used_at TEXT COLLATE "C" NOT NULL
);

CREATE TABLE checkpoints (
    name     TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL
);

-- `due_at` is when somebody has to look at the delivery again: when its next attempt is due, or when the lease of
-- the one under way runs out; null once it has ended. Every index of the pump holds only what has not ended.
CREATE TABLE deliveries (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    webhook_id      TEXT COLLATE "C" NOT NULL,
    shard           BIGINT NOT NULL,
    event_id        TEXT COLLATE "C" NOT NULL,
    event           TEXT COLLATE "C" NOT NULL,
    position        BIGINT,
    status          TEXT COLLATE "C" NOT NULL,
    attempt_count   BIGINT NOT NULL,
    next_attempt_at TEXT COLLATE "C",
    created_at      TEXT COLLATE "C" NOT NULL,
    completed_at    TEXT COLLATE "C",
    lease_until     TEXT COLLATE "C",
    body            BYTEA,
    due_at          TEXT COLLATE "C"
);
CREATE INDEX deliveries_by_organization ON deliveries (organization_id, id);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_due ON deliveries (shard, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_claim ON deliveries (webhook_id, due_at, position NULLS FIRST, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, position NULLS FIRST, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_in_flight ON deliveries (webhook_id, due_at) WHERE status = 'in_flight';

CREATE TABLE attempts (
    delivery_id   TEXT COLLATE "C" NOT NULL,
    attempt       BIGINT NOT NULL,
    started_at    TEXT COLLATE "C" NOT NULL,
    duration_ms   BIGINT NOT NULL,
    status_code   BIGINT,
    error         TEXT COLLATE "C",
    response_body TEXT COLLATE "C",
    PRIMARY KEY (delivery_id, attempt)
);
-- Who does what only one process may do at a time. Lives and leases are measured by this server's clock.
CREATE TABLE leases (
    name       TEXT COLLATE "C" PRIMARY KEY,
    holder     TEXT COLLATE "C" NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
