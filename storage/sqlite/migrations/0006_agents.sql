CREATE TABLE agents (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    name            TEXT NOT NULL,
    agent_type      TEXT NOT NULL,
    status          TEXT NOT NULL,
    availability    TEXT NOT NULL,
    capabilities    TEXT NOT NULL,
    search          TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE INDEX agents_by_name ON agents (organization_id, name, id);
CREATE INDEX agents_by_age ON agents (organization_id, created_at, id);
