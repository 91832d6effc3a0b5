-- A cache: how far folds of long streams have come. What is in it follows from the log.
CREATE TABLE folds (
    stream   TEXT PRIMARY KEY,
    version  INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    state    BLOB NOT NULL
) STRICT;
