-- The store's first schema. Every name begins with annals_, so that a store may
-- live beside other tables.

-- Facts about the store itself: `schema`, the number of the last migration, and
-- `uuid`, which the origin of its log ends with.
CREATE TABLE IF NOT EXISTS annals_store_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The events. `body` holds their exact bytes and is never rewritten; the columns
-- before it are an index over them, and stand first so that reading one of them
-- never follows a long body's chain of pages.
CREATE TABLE annals_events (
    -- The place in the log, from 0, without gaps: also the rowid, so every index
    -- below ends with it.
    position    INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    -- Microseconds since 1970, by the producer's clock and by the store's.
    occurred_at INTEGER NOT NULL,
    appended_at INTEGER NOT NULL,
    -- What the leaf's commitment is salted with; goes when the event is pruned.
    salt        BLOB NOT NULL,
    action      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id   TEXT,
    actor_type  TEXT,
    actor_id    TEXT,
    tenant      TEXT,
    request_id  TEXT,
    body        BLOB NOT NULL
) STRICT;

-- People read by (occurred_at, position): each index gives that order for its
-- filter without sorting. Events without an actor or a tenant are not in theirs.
CREATE INDEX annals_events_time ON annals_events (occurred_at);
CREATE INDEX annals_events_entity ON annals_events (entity_type, entity_id, occurred_at);
CREATE INDEX annals_events_actor ON annals_events (actor_id, occurred_at)
    WHERE actor_id IS NOT NULL;
CREATE INDEX annals_events_tenant ON annals_events (tenant, occurred_at)
    WHERE tenant IS NOT NULL;

-- What pruning leaves behind: the event's id, and what its leaf commits to.
CREATE TABLE annals_tombstones (
    position   INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    commitment BLOB NOT NULL
) STRICT;

-- The Merkle log, as tiles of C2SP tlog-tiles: up to 256 hashes of 32 bytes, one
-- after the other. A tile that is not full is replaced by its longer self.
CREATE TABLE annals_log_tiles (
    level  INTEGER NOT NULL,
    idx    INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT;

-- One row: the log's size, and how many events and bytes of events are there.
-- Kept by each append, so that neither is ever counted.
CREATE TABLE annals_log_head (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    size   INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT;
INSERT INTO annals_log_head (one, size, events, bytes) VALUES (1, 0, 0, 0);
