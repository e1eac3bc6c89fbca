-- The PostgreSQL store, version 1. Every name begins with annals_, so that a store
-- may live beside other tables. Functions run with the rights of who made them
-- and find these tables only (the migration pins their search_path): a role that
-- may call one needs no right to change the tables.

-- Facts about the store itself: `schema`, the number of the last migration, and
-- `uuid`, which the origin of its log ends with.
CREATE TABLE annals_store_meta (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO annals_store_meta (key, value)
VALUES ('schema', '1'), ('uuid', gen_random_uuid()::text);

-- The events, by time, since their ids begin with it. `body` holds their exact
-- bytes and is never rewritten; the other columns are an index over it, compared
-- byte by byte.
CREATE TABLE annals_events (
    id          uuid        NOT NULL,
    -- By the producer's clock. By the store's: annals_appends.
    occurred_at timestamptz NOT NULL,
    -- Which append brought it, and its place in that append: annals_appends gives
    -- the position in the log.
    append      bigint      NOT NULL,
    rank        integer     NOT NULL,
    -- What the leaf's commitment is salted with; goes when the event is pruned.
    salt        bytea       NOT NULL,
    action      text COLLATE "C" NOT NULL,
    outcome     text COLLATE "C" NOT NULL,
    entity_type text COLLATE "C" NOT NULL,
    entity_id   text COLLATE "C",
    actor_type  text COLLATE "C",
    actor_id    text COLLATE "C",
    tenant      text COLLATE "C",
    request_id  text COLLATE "C",
    body        text COLLATE "C" NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE INDEX annals_events_entity ON annals_events (entity_type, entity_id, id);
CREATE INDEX annals_events_actor ON annals_events (actor_id, id) WHERE actor_id IS NOT NULL;
CREATE INDEX annals_events_tenant ON annals_events (tenant, id) WHERE tenant IS NOT NULL;
-- For those who read by position; one entry an append, and its events behind it.
CREATE INDEX annals_events_append ON annals_events (append);

-- What lies outside of every month that has a partition.
CREATE TABLE annals_events_default PARTITION OF annals_events DEFAULT;

-- The partitions: a month each, and the default one, which has no bounds. The
-- figures are kept by each append, so that nothing is ever counted. A dropped one
-- stays listed: events of its time are known to have been pruned.
CREATE TABLE annals_partitions (
    name       text PRIMARY KEY,
    lower      uuid,
    upper      uuid,
    events     bigint NOT NULL DEFAULT 0,
    bytes      bigint NOT NULL DEFAULT 0,
    -- The highest position in it.
    last       bigint NOT NULL DEFAULT -1,
    -- When it was dropped, and how many of its events went with it.
    dropped_at timestamptz,
    dropped    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO annals_partitions (name) VALUES ('annals_events_default');

-- One row an append: the events of `number` have the positions from `first` on, by
-- rank. Their ids lie from `lowest` to `highest`.
CREATE TABLE annals_appends (
    number      bigint      PRIMARY KEY,
    first       bigint      NOT NULL UNIQUE,
    events      integer     NOT NULL,
    appended_at timestamptz NOT NULL,
    lowest      uuid        NOT NULL,
    highest     uuid        NOT NULL
);

-- Numbers of appends, given out in blocks, since an append has its number before
-- it has its place.
CREATE SEQUENCE annals_append_blocks;

-- What pruning leaves behind of an event that went alone: its id, and what its
-- leaf commits to.
CREATE TABLE annals_tombstones (
    id         uuid   PRIMARY KEY,
    position   bigint NOT NULL UNIQUE,
    commitment bytea  NOT NULL
);

-- The Merkle log, as tiles of C2SP tlog-tiles: up to 256 hashes of 32 bytes, one
-- after the other. A tile that is not full is replaced by its longer self.
CREATE TABLE annals_log_tiles (
    level  smallint NOT NULL,
    idx    bigint   NOT NULL,
    hashes bytea    NOT NULL,
    PRIMARY KEY (level, idx)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- Hashes do not compress.
ALTER TABLE annals_log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- One row: the log's size. Who appends or prunes locks it.
CREATE TABLE annals_log_head (
    one  integer PRIMARY KEY CHECK (one = 1),
    size bigint  NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO annals_log_head (one, size) VALUES (1, 0);

-- The smallest UUID of a time (RFC 9562, section 5.7, without version and variant).
CREATE FUNCTION annals_uuid_from(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT rpad(lpad(to_hex(greatest(0, floor(extract(epoch FROM moment) * 1000)::bigint)), 12, '0'), 32, '0')::uuid
$$;

-- The time of a UUIDv7, to the millisecond.
CREATE FUNCTION annals_uuid_time(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;

-- The partition in which events with that id are, made if need be: for months of
-- the last ten years and of the coming one; everything else is in the default one,
-- so that no client's clock makes tables without end. `dropped` tells that events
-- of that time were pruned.
CREATE FUNCTION annals_partition_of(
    id uuid, OUT name text, OUT lower uuid, OUT upper uuid, OUT dropped boolean
) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz := date_trunc('month', annals_uuid_time(id));
BEGIN
    SELECT p.name, p.lower, p.upper, p.dropped_at IS NOT NULL INTO name, lower, upper, dropped
        FROM annals_partitions p WHERE annals_partition_of.id >= p.lower AND annals_partition_of.id < p.upper;
    IF FOUND THEN
        RETURN;
    END IF;
    lower := annals_uuid_from(month);
    upper := annals_uuid_from(month + interval '1 month');
    dropped := false;
    IF month < now() - interval '10 years' OR month > now() + interval '1 month' THEN
        name := 'annals_events_default';
        RETURN;
    END IF;
    -- One at a time; whoever waited finds it made.
    PERFORM pg_advisory_xact_lock(x'616e6e616c73'::bigint);
    name := 'annals_events_' || to_char(month, 'YYYY_MM');
    IF EXISTS (SELECT FROM annals_partitions p WHERE p.name = annals_partition_of.name) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE annals_events INCLUDING DEFAULTS)', name);
    -- When these were appended, the month was still too far ahead.
    EXECUTE format(
        'WITH moved AS (DELETE FROM annals_events_default WHERE id >= $1 AND id < $2 RETURNING *)
         INSERT INTO %I SELECT * FROM moved', name) USING lower, upper;
    EXECUTE format('ALTER TABLE annals_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, lower, upper);
    EXECUTE format(
        'WITH counted AS (
             SELECT count(*) AS events, coalesce(sum(octet_length(body)), 0) AS bytes,
                 coalesce(max(first + rank), -1) AS last
             FROM %I e JOIN annals_appends a ON a.number = e.append
         ), less AS (
             UPDATE annals_partitions p SET events = p.events - c.events, bytes = p.bytes - c.bytes
             FROM counted c WHERE p.name = ''annals_events_default'' AND c.events > 0
         )
         INSERT INTO annals_partitions (name, lower, upper, events, bytes, last)
         SELECT $1, $2, $3, events, bytes, last FROM counted', name) USING name, lower, upper;
    -- Whoever may write into the events may write into these.
    EXECUTE (SELECT coalesce(string_agg(format('GRANT %s ON %I TO %s;', g.privilege_type, name,
                 CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END), ' '),
                 'SELECT')
             FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g
             WHERE c.oid = 'annals_events'::regclass AND g.grantee <> c.relowner);
END
$$;

-- Gives an append its positions, and locks the log until the transaction ends. The
-- events are there already, in these partitions. Answers the first position; the
-- tiles at the log's edge by level, unless the caller knows them, having appended
-- last, at size `known`; and the largest id that was pruned alone.
CREATE FUNCTION annals_append(
    number bigint, events integer, lowest uuid, highest uuid,
    partitions text[], counts integer[], sizes bigint[], known bigint,
    OUT first bigint, OUT edge bytea[], OUT pruned uuid
) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE annals_log_head h SET size = h.size + events RETURNING h.size - events INTO first;
    IF first <> known THEN
        edge := ARRAY(
            SELECT t.hashes FROM generate_series(0, 6) AS l (level) LEFT JOIN annals_log_tiles t
                ON t.level = l.level AND t.idx = first >> (8 * (l.level + 1))
            ORDER BY l.level);
    END IF;
    SELECT t.id INTO pruned FROM annals_tombstones t ORDER BY t.id DESC LIMIT 1;
    INSERT INTO annals_appends VALUES (number, first, events, clock_timestamp(), lowest, highest);
    UPDATE annals_partitions p
        SET events = p.events + n.events, bytes = p.bytes + n.bytes, last = first + annals_append.events - 1
        FROM (SELECT name, sum(u.events)::bigint AS events, sum(u.bytes)::bigint AS bytes
              FROM unnest(partitions, counts, sizes) AS u (name, events, bytes) GROUP BY name) n
        WHERE p.name = n.name;
END
$$;

-- Writes the tiles that an append touched. A tile's hashes stay: it only grows.
CREATE FUNCTION annals_log_extend(levels smallint[], places bigint[], tiles bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    written bigint;
BEGIN
    INSERT INTO annals_log_tiles AS t (level, idx, hashes)
        SELECT * FROM unnest(levels, places, tiles)
        ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes
        WHERE substring(excluded.hashes FOR octet_length(t.hashes)) = t.hashes;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(levels) THEN
        RAISE EXCEPTION 'annals_log_extend: a tile of the log would change' USING ERRCODE = 'data_corrupted';
    END IF;
END
$$;

-- The append and its tiles in one, by a caller who expects to be the next, at size
-- `known`, and whose events are in one partition. Refused as AN002 if somebody else
-- has appended meanwhile, or an event may have been pruned: then the tiles are not
-- right, or have to be thought about.
CREATE FUNCTION annals_append_next(
    number bigint, events integer, lowest uuid, highest uuid, partition text, bytes bigint, known bigint,
    levels smallint[], places bigint[], tiles bytea[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    placed record;
BEGIN
    SELECT * INTO placed FROM annals_append(
        number, events, lowest, highest, ARRAY[partition], ARRAY[events], ARRAY[bytes], known);
    IF placed.first <> known OR placed.pruned >= lowest THEN
        RAISE EXCEPTION 'annals_append_next: the log has changed' USING ERRCODE = 'AN002';
    END IF;
    PERFORM annals_log_extend(levels, places, tiles);
END
$$;

-- What pruning the events before a time would remove, and the log's size now. Of
-- months that go whole the figures are known; only where the line goes through a
-- month, and in the default partition, is anything counted.
CREATE FUNCTION annals_prune_plan(before timestamptz,
    OUT events bigint, OUT bytes bigint, OUT below bigint, OUT oldest timestamptz, OUT newest timestamptz
) LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    line    uuid := annals_uuid_from(before);
    beyond  uuid := annals_uuid_from(before + interval '1 millisecond');
    months  record;
    counted record;
BEGIN
    SELECT h.size INTO below FROM annals_log_head h;
    SELECT coalesce(sum(p.events), 0) AS events, coalesce(sum(p.bytes), 0) AS bytes,
            coalesce((array_agg(p.upper ORDER BY p.upper DESC))[1], annals_uuid_from('epoch')) AS upper
        INTO months FROM annals_partitions p WHERE p.upper <= line AND p.dropped_at IS NULL;
    SELECT count(*) AS events, coalesce(sum(octet_length(c.body)), 0) AS bytes INTO counted FROM (
        SELECT e.body FROM annals_events e
            WHERE e.id >= months.upper AND e.id < beyond AND e.occurred_at < before
                AND e.action <> 'annals.pruned' AND e.tableoid <> 'annals_events_default'::regclass
        UNION ALL
        SELECT e.body FROM annals_events_default e
            WHERE e.id < beyond AND e.occurred_at < before AND e.action <> 'annals.pruned'
    ) AS c;
    events := months.events + counted.events;
    bytes := months.bytes + counted.bytes;
    -- Those that tell of removals stay when their month goes.
    SELECT count(*) AS events, coalesce(sum(octet_length(e.body)), 0) AS bytes INTO counted
        FROM annals_events e
        WHERE e.entity_type = 'store' AND e.entity_id IS NULL AND e.id < months.upper
            AND e.action = 'annals.pruned' AND e.tableoid <> 'annals_events_default'::regclass;
    events := events - counted.events;
    bytes := bytes - counted.bytes;
    -- Within one millisecond ids are in no order of time.
    SELECT e.id INTO line FROM annals_events e WHERE e.action <> 'annals.pruned' ORDER BY e.id LIMIT 1;
    SELECT min(e.occurred_at) INTO oldest FROM annals_events e
        WHERE e.id >= line AND e.id < annals_uuid_from(annals_uuid_time(line) + interval '1 millisecond')
            AND e.occurred_at < before AND e.action <> 'annals.pruned';
    SELECT e.id INTO line FROM annals_events e
        WHERE e.id < beyond AND e.occurred_at < before AND e.action <> 'annals.pruned' ORDER BY e.id DESC LIMIT 1;
    SELECT max(e.occurred_at) INTO newest FROM annals_events e
        WHERE e.id >= annals_uuid_from(annals_uuid_time(line)) AND e.id <= line
            AND e.occurred_at < before AND e.action <> 'annals.pruned';
END
$$;

-- Drops the oldest partition that lies before a time and has no event at or above
-- position `below`, and answers what went with it; nothing if there is none. The
-- events that tell of removals stay, in the default partition.
CREATE FUNCTION annals_prune_partition(before timestamptz, below bigint, OUT events bigint, OUT bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    oldest annals_partitions;
    kept   record;
BEGIN
    SELECT * INTO oldest FROM annals_partitions p
        WHERE p.upper <= annals_uuid_from(before) AND p.last < below AND p.dropped_at IS NULL AND p.events > 0
        ORDER BY p.lower LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Appends to it are over, and none begins.
    EXECUTE format('LOCK TABLE ONLY annals_events, ONLY %I, ONLY annals_events_default IN ACCESS EXCLUSIVE MODE',
        oldest.name);
    PERFORM FROM annals_log_head FOR UPDATE;
    SELECT * INTO oldest FROM annals_partitions p WHERE p.name = oldest.name AND p.dropped_at IS NULL;
    IF NOT FOUND OR oldest.last >= below THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE annals_events DETACH PARTITION %I', oldest.name);
    EXECUTE format(
        'WITH kept AS (
             INSERT INTO annals_events_default SELECT * FROM %I
             WHERE entity_type = ''store'' AND entity_id IS NULL AND action = ''annals.pruned'' RETURNING body
         ) SELECT count(*) AS events, coalesce(sum(octet_length(body)), 0) AS bytes FROM kept', oldest.name)
        INTO kept;
    EXECUTE format('DROP TABLE %I', oldest.name);
    UPDATE annals_partitions p SET events = 0, bytes = 0, dropped_at = clock_timestamp(),
            dropped = oldest.events - kept.events
        WHERE p.name = oldest.name;
    UPDATE annals_partitions p SET events = p.events + kept.events, bytes = p.bytes + kept.bytes,
            last = greatest(p.last, CASE WHEN kept.events > 0 THEN oldest.last ELSE -1 END)
        WHERE p.name = 'annals_events_default';
    events := oldest.events - kept.events;
    bytes := oldest.bytes - kept.bytes;
END
$$;

-- Removes up to `most` events that occurred before a time and have a position below
-- `below`, oldest first, save those that tell of removals; leaves a tombstone of each.
CREATE FUNCTION annals_prune(before timestamptz, below bigint, most integer, OUT events bigint, OUT bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM annals_log_head FOR UPDATE;
    WITH old AS (
        SELECT e.id, a.first + e.rank AS position
        FROM annals_events e JOIN annals_appends a ON a.number = e.append
        WHERE e.id < annals_uuid_from(before + interval '1 millisecond') AND e.occurred_at < before
            AND e.action <> 'annals.pruned' AND a.first + e.rank < below
        ORDER BY e.id LIMIT most
    ), gone AS (
        DELETE FROM annals_events e USING old WHERE e.id = old.id
        RETURNING e.id, old.position, octet_length(e.body) AS bytes, e.tableoid::regclass::text AS name,
            -- crate::log::commitment
            sha256(convert_to(E'annals/leaf/v1\n', 'UTF8') || e.salt || convert_to(e.body, 'UTF8')) AS commitment
    ), buried AS (
        INSERT INTO annals_tombstones (id, position, commitment) SELECT id, position, commitment FROM gone
    ), less AS (
        UPDATE annals_partitions p SET events = p.events - n.events, bytes = p.bytes - n.bytes
        FROM (SELECT name, count(*) AS events, sum(gone.bytes) AS bytes FROM gone GROUP BY name) n
        WHERE p.name = n.name
    )
    SELECT count(*), coalesce(sum(gone.bytes), 0) INTO events, bytes FROM gone;
END
$$;

-- Nobody calls these who was not given the right (roles.sql).
REVOKE ALL ON FUNCTION annals_partition_of(uuid),
    annals_append(bigint, integer, uuid, uuid, text[], integer[], bigint[], bigint),
    annals_log_extend(smallint[], bigint[], bytea[]),
    annals_append_next(bigint, integer, uuid, uuid, text, bigint, bigint, smallint[], bigint[], bytea[]),
    annals_prune_partition(timestamptz, bigint), annals_prune(timestamptz, bigint, integer) FROM PUBLIC;

-- The text of an event as JSON that PostgreSQL can look into: it has no \u0000 and
-- no half of a surrogate pair, which are shown as U+FFFD here.
CREATE FUNCTION annals_json(body text) RETURNS json LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN body !~* '\\u(0000|d[89a-f])' THEN body ELSE regexp_replace(body,
        '(?<!\\)((?:\\\\)*)\\u(?:0000'
        '|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})'
        '|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})',
        '\1�', 'g') END::json
$$;

-- The events for people and their SQL. `event` is all of it, to be looked into with
-- -> and ->>.
CREATE VIEW annals_trail AS
    SELECT first + rank AS position, id, occurred_at, appended_at, action, outcome, entity_type, entity_id,
        actor_type, actor_id, event -> 'actor' ->> 'name' AS actor_name, tenant, request_id,
        event ->> 'reason' AS reason, event -> 'old_values' AS old_values, event -> 'new_values' AS new_values, event
    FROM annals_events e JOIN annals_appends a ON a.number = e.append
        CROSS JOIN LATERAL annals_json(e.body) AS event;
