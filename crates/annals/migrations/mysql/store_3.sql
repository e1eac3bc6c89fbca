-- The MariaDB and MySQL store, version 3: removals are listed and signed. May be run again
-- after an interruption, as version 1.

-- What was removed: which positions the event of a removal tells of, in parts, one after
-- the other (crate::log::Positions).
CREATE TABLE IF NOT EXISTS annals_removals (
    event     BINARY(16) NOT NULL,
    part      INT        NOT NULL,
    positions MEDIUMBLOB NOT NULL,
    PRIMARY KEY (event, part)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What the log's key signed of it (crate::log::Removal): a signed note.
CREATE TABLE IF NOT EXISTS annals_removal_notes (
    event BINARY(16) NOT NULL PRIMARY KEY,
    note  MEDIUMBLOB NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

UPDATE annals_store_meta SET value = '3' WHERE name = 'schema';
