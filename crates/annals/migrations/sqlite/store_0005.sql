-- Who may use the server. What an entry says, and what signs it, is not the database's to know.
CREATE TABLE annals_access (
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    -- Greater than that of all writes before.
    revision INTEGER NOT NULL UNIQUE,
    body     TEXT NOT NULL,
    mac      BLOB NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
