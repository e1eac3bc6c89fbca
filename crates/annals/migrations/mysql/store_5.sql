-- The MariaDB and MySQL store, version 5: who may use the server. What an entry says, and
-- what signs it, is not the database's to know. May be run again after an interruption, as
-- version 1.
CREATE TABLE IF NOT EXISTS annals_access (
    kind     VARBINARY(32) NOT NULL,
    id       VARBINARY(255) NOT NULL,
    -- Greater than that of all writes before.
    revision BIGINT NOT NULL,
    body     MEDIUMBLOB NOT NULL,
    mac      BINARY(32) NOT NULL,
    PRIMARY KEY (kind, id),
    UNIQUE KEY annals_access_revision (revision)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The last revision: whoever writes locks it until the end, so that revisions become
-- visible in their order.
CREATE TABLE IF NOT EXISTS annals_access_head (
    one      TINYINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT IGNORE INTO annals_access_head (one, revision) VALUES (1, 0);

UPDATE annals_store_meta SET value = '5' WHERE name = 'schema';
