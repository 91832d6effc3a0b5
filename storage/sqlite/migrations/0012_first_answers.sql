-- Ledger: how requests with an Idempotency-Key were answered first; sealed, since an answer may hold a secret.
CREATE TABLE first_answers (
    organization_id TEXT NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    began_at        TEXT NOT NULL,
    expires_at      TEXT NOT NULL,
    status          INTEGER,
    sealed          TEXT NOT NULL,
    PRIMARY KEY (organization_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX first_answers_by_end ON first_answers (expires_at);
