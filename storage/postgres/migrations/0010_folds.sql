-- A cache: how far folds of long streams have come. What is in it follows from the log.
CREATE TABLE folds (
    stream   TEXT COLLATE "C" PRIMARY KEY,
    version  BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    state    BYTEA NOT NULL
);
