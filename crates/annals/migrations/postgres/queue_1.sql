-- The PostgreSQL transport, version 1. These tables may live in a database of
-- their own or beside an application's tables.

-- What waits for a worker, first in, first out. Rows are written once and deleted
-- once: whatever changes while an event waits stands in annals_delivery, so that
-- no body is ever written again.
CREATE TABLE annals_queue (
    seq     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      uuid        NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whether the body is JSON as someone wrote it (annals_record), which is
    -- checked and encoded when it is received; the id is then what it gets if it
    -- brings none.
    raw     boolean     NOT NULL DEFAULT false,
    -- Four times what an event may have: what no worker could take out of here
    -- does not get in.
    body    bytea       NOT NULL CONSTRAINT annals_event_has_at_most_1_mib CHECK (octet_length(body) <= 1048576)
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
    raw       boolean     NOT NULL,
    body      bytea       NOT NULL,
    reason    text        NOT NULL,
    attempts  integer     NOT NULL,
    failed_at timestamptz NOT NULL
);

CREATE INDEX annals_failed_id ON annals_failed (id);

-- The first 8 bytes of a UUIDv7 (RFC 9562, section 5.7) of a moment: its
-- milliseconds, the version, and the fraction of the millisecond.
CREATE FUNCTION annals_uuid7_stamp(moment timestamptz) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    micros bigint := extract(epoch FROM moment) * 1000000;
BEGIN
    RETURN int8send((micros / 1000) << 16 | 28672 | micros % 1000 * 4096 / 1000);
END
$$;

-- A UUIDv7 of a moment; the rest of it is random.
CREATE FUNCTION annals_uuid7(moment timestamptz) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN encode(overlay(uuid_send(gen_random_uuid())
        PLACING annals_uuid7_stamp(moment) FROM 1 FOR 8), 'hex')::uuid;
END
$$;

-- Enqueues one event in the caller's own transaction: commit and it is there, roll
-- back and it is not. For any language that can run a statement:
--
--     SELECT annals_record('{"action":"paid","entity":{"type":"order","id":"42"}}');
--
-- The event is a JSON object as POST /v1/events takes it. Without an id, or an id
-- of another kind in source_id, it gets the one that is answered, and without a
-- time the time of the call. What no worker could ever take is refused here; what
-- else is wrong with it is found by the worker, and goes to failed.
CREATE FUNCTION annals_record(event json) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    label uuid  := annals_uuid7(clock_timestamp());
    body  bytea := convert_to(event::text, 'UTF8');
BEGIN
    -- Not by looking fields up, which PostgreSQL does not do in JSON that holds
    -- \u0000 anywhere.
    IF event IS NULL OR json_typeof(event) <> 'object' THEN
        RAISE EXCEPTION 'annals_record: expected a JSON object, found %',
            coalesce(json_typeof(event), 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(body) > 1048576 THEN
        RAISE EXCEPTION 'annals_record: the event has % bytes, over the limit of 1048576',
            octet_length(body) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF event::text !~ '"action"\s*:\s*"[^"]' OR event::text !~ '"entity"\s*:\s*\{' THEN
        RAISE EXCEPTION 'annals_record: an event needs an action and an entity'
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'such as {"action":"paid","entity":{"type":"order","id":"42"}}';
    END IF;
    INSERT INTO annals_queue (id, raw, body) VALUES (label, true, body);
    IF EXISTS (SELECT FROM annals_idle WHERE until > clock_timestamp()) THEN
        PERFORM pg_notify('annals_queue', '');
    END IF;
    RETURN label;
END
$$;

-- Acknowledges the events that are still held under the receipts, numbers and leases;
-- answers how many. Rows are locked in order of their numbers, and no plan compares
-- every receipt with every event: PostgreSQL does not know how many an array holds.
CREATE FUNCTION annals_acknowledge(numbers bigint[], leases bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    acknowledged bigint;
BEGIN
    WITH event AS (
        SELECT q.seq FROM annals_queue q WHERE q.seq = ANY (numbers) ORDER BY q.seq FOR UPDATE
    ), ended AS (
        DELETE FROM annals_delivery d USING unnest(numbers, leases) AS r (seq, lease)
        WHERE (SELECT count(*) FROM event) > 0 AND d.seq = r.seq AND d.lease = r.lease
        RETURNING d.seq
    )
    DELETE FROM annals_queue q USING ended WHERE q.seq = ended.seq;
    GET DIAGNOSTICS acknowledged = ROW_COUNT;
    RETURN acknowledged;
END
$$;

-- One row: which of these files made the tables.
CREATE TABLE annals_queue_head (
    one     integer PRIMARY KEY CHECK (one = 1),
    version integer NOT NULL
);

INSERT INTO annals_queue_head (one, version) VALUES (1, 1);
