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

-- Legal holds: what fits one, in all that it names, is neither pruned nor erased. The
-- event of that id tells of it.
CREATE TABLE annals_holds (
    id          BLOB PRIMARY KEY,
    tenant      TEXT,
    entity_type TEXT,
    entity_id   TEXT,
    actor_type  TEXT,
    actor_id    TEXT,
    reason      TEXT    NOT NULL,
    -- Microseconds since 1970.
    placed_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
