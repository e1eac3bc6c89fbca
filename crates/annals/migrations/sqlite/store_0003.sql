-- What was removed: which positions the event of a removal tells of, in parts, one after
-- the other (crate::log::Positions).
CREATE TABLE annals_removals (
    event     BLOB    NOT NULL,
    part      INTEGER NOT NULL,
    positions BLOB    NOT NULL,
    PRIMARY KEY (event, part)
) STRICT, WITHOUT ROWID;

-- What the log's key signed of it (crate::log::Removal): a signed note.
CREATE TABLE annals_removal_notes (
    event BLOB PRIMARY KEY,
    note  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
