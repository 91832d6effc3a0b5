-- Of an organization, or a workflow, the events of one type, in order: also where that type is common elsewhere.
CREATE INDEX events_organization_type ON events (organization_id, type);
DROP INDEX events_workflow;
CREATE INDEX events_workflow_type ON events (workflow_id, type) WHERE workflow_id IS NOT NULL;
