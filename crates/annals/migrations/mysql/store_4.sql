-- The MariaDB and MySQL store, version 4: the keys of the subjects whose values are
-- sealed, each wrapped by a master key. May be run again after an interruption, as
-- version 1.
CREATE TABLE IF NOT EXISTS annals_subject_keys (
    id        BINARY(16) NOT NULL PRIMARY KEY,
    tenant    VARBINARY(255) NOT NULL,
    subject   VARBINARY(600) NOT NULL,
    -- NULL once it is destroyed.
    wrapped   VARBINARY(4096),
    -- 1, and NULL once it is destroyed: a subject has one live key.
    live      TINYINT,
    -- In microseconds since 1970, by the store's clock.
    made_at   BIGINT NOT NULL,
    erased_at BIGINT,
    UNIQUE KEY annals_subject_keys_live (tenant, subject, live)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

UPDATE annals_store_meta SET value = '4' WHERE name = 'schema';
