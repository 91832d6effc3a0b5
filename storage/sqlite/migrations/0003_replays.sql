-- Of an organization, or a workflow, the events of one type, in order: also where that type is common elsewhere.
CREATE INDEX events_organization_type ON events (organization_id, type);
DROP INDEX events_workflow;
CREATE INDEX events_workflow_type ON events (workflow_id, type) WHERE workflow_id IS NOT NULL;

-- Ledger: replays of the log. `position` is through where one has come; `last` the end of its span, inclusive.
CREATE TABLE replays (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    webhook_id      TEXT,
    first           INTEGER NOT NULL,
    last            INTEGER NOT NULL,
    types           TEXT NOT NULL,
    workflow_id     TEXT,
    execution_id    TEXT,
    status          TEXT NOT NULL,
    position        INTEGER NOT NULL,
    processed       INTEGER NOT NULL,
    error           TEXT,
    created_by      TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    completed_at    TEXT
) STRICT;
CREATE INDEX replays_by_organization ON replays (organization_id, id);
CREATE INDEX replays_open ON replays (id) WHERE completed_at IS NULL;

-- A delivery knows its replay. An ordered endpoint gets what is live in its order, and each replay in its own.
ALTER TABLE deliveries ADD COLUMN replay_id TEXT;
CREATE INDEX deliveries_of_replay ON deliveries (replay_id, due_at)
    WHERE replay_id IS NOT NULL AND due_at IS NOT NULL;
DROP INDEX deliveries_in_order;
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, replay_id, position, id) WHERE due_at IS NOT NULL;
