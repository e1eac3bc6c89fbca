-- Counts of events by day and tenant, in parts that add up. What a part says is not the
-- database's to know.
CREATE TABLE annals_rollups (
    id     INTEGER PRIMARY KEY,
    -- Since 1970-01-01, in UTC.
    day    INTEGER NOT NULL,
    tenant TEXT,
    -- How much there is to it.
    cells  INTEGER NOT NULL,
    body   BLOB NOT NULL
) STRICT;
CREATE INDEX annals_rollups_day ON annals_rollups (day, id, tenant, cells);

-- Events below the position are counted; the id of the next part is greater than all before.
CREATE TABLE annals_rollup_head (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    position  INTEGER NOT NULL,
    next_part INTEGER NOT NULL
) STRICT;
INSERT INTO annals_rollup_head (one, position, next_part) VALUES (1, 0, 1);

-- Days from which events were removed: they are to be counted anew.
CREATE TABLE annals_rollup_stale (
    day  INTEGER PRIMARY KEY,
    mark INTEGER NOT NULL
) STRICT;
