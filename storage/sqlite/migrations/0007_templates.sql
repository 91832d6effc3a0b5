CREATE TABLE templates (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    template_id     TEXT NOT NULL,
    deleted         INTEGER NOT NULL,
    created_at      TEXT NOT NULL,
    version         INTEGER NOT NULL,
    document        BLOB NOT NULL
) STRICT;
CREATE INDEX templates_by_id ON templates (organization_id, template_id);

-- How often a template was used is how many workflows were made from it.
ALTER TABLE workflows ADD COLUMN template_id TEXT;
CREATE INDEX workflows_by_template ON workflows (organization_id, template_id) WHERE template_id IS NOT NULL;
