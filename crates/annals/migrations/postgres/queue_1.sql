-- The PostgreSQL transport, version 1. These tables may live in a database of
-- their own or beside an application's tables.

-- What waits for a worker, first in, first out. Rows are written once and deleted
-- once: whatever changes while an event waits stands in annals_delivery, so that
-- no body is ever written again.
CREATE TABLE annals_queue (
    seq     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      uuid        NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body    bytea       NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- A long body is not worth compressing for the moment that it waits.
ALTER TABLE annals_queue ALTER COLUMN body SET STORAGE EXTERNAL;

-- What a worker holds (lease is not 0), or what waits for its retry (lease is 0),
-- until due. Unlogged: a crash of the server ends every lease, and then an event
-- is delivered again, which the store's idempotence makes harmless.
CREATE UNLOGGED TABLE annals_delivery (
    seq      bigint      PRIMARY KEY,
    attempts integer     NOT NULL,
    lease    bigint      NOT NULL,
    due      timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- Workers that wait for the next event, until when. Whoever enqueues notifies
-- only if there is one: NOTIFY takes a lock of the whole server at commit.
CREATE UNLOGGED TABLE annals_idle (
    worker bigint      PRIMARY KEY,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Events that could not be stored, whole, with the reason. Never expired.
CREATE TABLE annals_failed (
    number    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id        uuid        NOT NULL,
    body      bytea       NOT NULL,
    reason    text        NOT NULL,
    attempts  integer     NOT NULL,
    failed_at timestamptz NOT NULL
);

CREATE INDEX annals_failed_id ON annals_failed (id);

-- One row: which of these files made the tables.
CREATE TABLE annals_queue_head (
    one     integer PRIMARY KEY CHECK (one = 1),
    version integer NOT NULL
);

INSERT INTO annals_queue_head (one, version) VALUES (1, 1);
