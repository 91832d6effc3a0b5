-- Ledger: executions whose events are blank in the log, and the file that has them. `version` is that of the stream.
CREATE TABLE archived_executions (
    execution_id    TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    workflow_id     TEXT NOT NULL,
    status          TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    completed_at    TEXT NOT NULL,
    version         INTEGER NOT NULL,
    first_position  INTEGER NOT NULL,
    last_position   INTEGER NOT NULL,
    archived_at     TEXT NOT NULL,
    file            TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX archived_of_organization ON archived_executions (organization_id, last_position);
CREATE INDEX archived_of_workflow ON archived_executions (workflow_id, last_position);
CREATE INDEX archived_stats ON archived_executions (workflow_id, status, created_at);

CREATE INDEX executions_ended ON executions (completed_at, id) WHERE completed_at IS NOT NULL;
