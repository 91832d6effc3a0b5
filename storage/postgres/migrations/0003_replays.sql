-- Ledger: replays of the log. `position` is through where one has come; `last` the end of its span, inclusive.
CREATE TABLE replays (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    webhook_id      TEXT COLLATE "C",
    first           BIGINT NOT NULL,
    last            BIGINT NOT NULL,
    types           TEXT COLLATE "C" NOT NULL,
    workflow_id     TEXT COLLATE "C",
    execution_id    TEXT COLLATE "C",
    status          TEXT COLLATE "C" NOT NULL,
    position        BIGINT NOT NULL,
    processed       BIGINT NOT NULL,
    error           TEXT COLLATE "C",
    created_by      TEXT COLLATE "C" NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    completed_at    TEXT COLLATE "C"
);
CREATE INDEX replays_by_organization ON replays (organization_id, id);
CREATE INDEX replays_open ON replays (id) WHERE completed_at IS NULL;

-- A delivery knows its replay. An ordered endpoint gets what is live in its order, and each replay in its own.
ALTER TABLE deliveries ADD COLUMN replay_id TEXT COLLATE "C";
CREATE INDEX deliveries_of_replay ON deliveries (replay_id) WHERE replay_id IS NOT NULL AND due_at IS NOT NULL;
DROP INDEX deliveries_in_order;
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, replay_id NULLS FIRST, position NULLS FIRST, id)
    WHERE due_at IS NOT NULL;
