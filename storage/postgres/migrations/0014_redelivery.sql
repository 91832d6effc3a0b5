-- Deliveries are found by their event, and an organization's that were given up without those that arrived.
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX deliveries_given_up ON deliveries (organization_id, id) WHERE status = 'exhausted';

-- What a job does: a replay, or a recovery of what failed or was never delivered.
ALTER TABLE replays ADD COLUMN kind TEXT NOT NULL DEFAULT 'replay';
