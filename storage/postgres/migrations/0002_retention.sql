-- Ledger: executions whose events are blank in the log, and the file that has them. `version` is that of the stream.
CREATE TABLE archived_executions (
    execution_id    TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    workflow_id     TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    completed_at    TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    first_position  BIGINT NOT NULL,
    last_position   BIGINT NOT NULL,
    archived_at     TEXT COLLATE "C" NOT NULL,
    file            TEXT COLLATE "C" NOT NULL
);
CREATE INDEX archived_of_organization ON archived_executions (organization_id, last_position);
CREATE INDEX archived_of_workflow ON archived_executions (workflow_id, last_position);
CREATE INDEX archived_stats ON archived_executions (workflow_id, status, created_at);

CREATE INDEX executions_ended ON executions (completed_at, id) WHERE completed_at IS NOT NULL;
