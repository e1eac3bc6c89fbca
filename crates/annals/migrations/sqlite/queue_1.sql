-- The SQLite transport, version 1. These tables may live in a database of their
-- own or beside an application's tables.

-- What waits for a worker, first in, first out. Numbers are given by the sender
-- (see annals_queue_head) and never used twice.
CREATE TABLE annals_queue (
    seq     INTEGER PRIMARY KEY,
    id      BLOB    NOT NULL,
    sent_at INTEGER NOT NULL, -- microseconds since 1970
    body    BLOB    NOT NULL
) STRICT;

-- What a worker holds (lease is not 0), or what waits for its retry (lease is 0),
-- until due. Beside the queue, so that leasing an event does not write its body
-- again.
CREATE TABLE annals_delivery (
    seq      INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL,
    lease    INTEGER NOT NULL,
    due      INTEGER NOT NULL -- microseconds since 1970
) STRICT;

-- One row: the highest number that was ever leased. Above it every number is
-- there and nobody has it, so that neither counting nor receiving has to look.
CREATE TABLE annals_queue_head (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    leased  INTEGER NOT NULL
) STRICT;

-- Events that could not be stored, whole, with the reason. Never expired.
CREATE TABLE annals_failed (
    number    INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL,
    body      BLOB    NOT NULL,
    reason    TEXT    NOT NULL,
    attempts  INTEGER NOT NULL,
    failed_at INTEGER NOT NULL -- microseconds since 1970
) STRICT;

CREATE INDEX annals_failed_id ON annals_failed (id);

INSERT INTO annals_queue_head (one, version, leased) VALUES (1, 1, 0);
