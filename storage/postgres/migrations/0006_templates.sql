CREATE TABLE templates (
    id              TEXT COLLATE "C" PRIMARY KEY,
    organization_id TEXT COLLATE "C" NOT NULL,
    template_id     TEXT COLLATE "C" NOT NULL,
    deleted         BIGINT NOT NULL,
    created_at      TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    document        BYTEA NOT NULL
);
CREATE INDEX templates_by_id ON templates (organization_id, template_id);

-- How often a template was used is how many workflows were made from it.
ALTER TABLE workflows ADD COLUMN template_id TEXT COLLATE "C";
CREATE INDEX workflows_by_template ON workflows (organization_id, template_id) WHERE template_id IS NOT NULL;
