-- The MariaDB and MySQL store, version 2: the log is signed. May be run again after an
-- interruption, as version 1.

-- Signed checkpoints of the log, one a size.
CREATE TABLE IF NOT EXISTS annals_log_checkpoints (
    size      BIGINT NOT NULL PRIMARY KEY,
    -- By the store's clock, in microseconds since 1970.
    signed_at BIGINT NOT NULL,
    -- A signed note (C2SP tlog-checkpoint), with the cosignatures that it got.
    note      MEDIUMBLOB NOT NULL,
    KEY annals_log_checkpoints_time (signed_at)
) ENGINE = InnoDB;

-- The verifier keys of those who may sign the log.
CREATE TABLE IF NOT EXISTS annals_log_keys (
    name VARBINARY(700) NOT NULL PRIMARY KEY
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- One row, which who signs holds locked: what told the database from a copy of it when
-- it was signed last.
CREATE TABLE IF NOT EXISTS annals_log_signer (
    one  INT NOT NULL PRIMARY KEY CHECK (one = 1),
    copy VARBINARY(700)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT IGNORE INTO annals_log_signer (one) VALUES (1);

UPDATE annals_store_meta SET value = '2' WHERE name = 'schema';
