-- Ledger: how requests with an Idempotency-Key were answered first; sealed, since an answer may hold a secret.
CREATE TABLE first_answers (
    organization_id TEXT COLLATE "C" NOT NULL,
    key             TEXT COLLATE "C" NOT NULL,
    fingerprint     TEXT COLLATE "C" NOT NULL,
    began_at        TEXT COLLATE "C" NOT NULL,
    expires_at      TEXT COLLATE "C" NOT NULL,
    status          BIGINT,
    sealed          TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (organization_id, key)
);
CREATE INDEX first_answers_by_end ON first_answers (expires_at);
