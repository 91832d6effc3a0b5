CREATE TABLE agents (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    agent_type      TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    availability    TEXT COLLATE "C" NOT NULL,
    capabilities    TEXT COLLATE "C" NOT NULL,
    search          TEXT COLLATE "C" NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    updated_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX agents_by_name ON agents (organization_id, name, id);
CREATE INDEX agents_by_age ON agents (organization_id, created_at, id);
