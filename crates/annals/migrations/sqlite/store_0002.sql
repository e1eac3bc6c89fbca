-- Signed checkpoints of the log, one a size.
CREATE TABLE annals_log_checkpoints (
    size      INTEGER PRIMARY KEY,
    -- Microseconds since 1970, by the store's clock.
    signed_at INTEGER NOT NULL,
    -- A signed note (C2SP tlog-checkpoint), with the cosignatures that it got.
    note      TEXT NOT NULL
) STRICT;
CREATE INDEX annals_log_checkpoints_time ON annals_log_checkpoints (signed_at);

-- One row: what told the file from a copy of it when it was signed last.
CREATE TABLE annals_log_signer (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    copy TEXT
) STRICT;
INSERT INTO annals_log_signer (one) VALUES (1);

-- The verifier keys of those who may sign the log.
CREATE TABLE annals_log_keys (
    key TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
