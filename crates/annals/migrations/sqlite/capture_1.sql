-- Capture in the database, version 1: what the triggers on an application's own
-- tables need. They stand beside the queue (queue_1.sql).

-- The attached tables, and how. Lists are JSON arrays.
CREATE TABLE annals_attached (
    name        TEXT PRIMARY KEY,
    entity_type TEXT NOT NULL,
    excluded    TEXT NOT NULL,
    redacted    TEXT NOT NULL,
    operations  TEXT NOT NULL,
    -- The columns that the triggers were made for.
    columns     TEXT NOT NULL
) STRICT;

-- Who acts, from where, why: a JSON object with any of actor, context, tenant,
-- subject, reason, tags and metadata. SQLite has nothing that ends with a
-- transaction, so it counts until `until`, in seconds since 1970.
CREATE TABLE annals_context (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    told  TEXT    NOT NULL,
    until INTEGER NOT NULL
) STRICT;
