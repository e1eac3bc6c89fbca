-- The PostgreSQL store, version 3: removals are listed and signed, and holds keep events from
-- being removed.

-- What was removed: which positions the event of a removal tells of, in parts, one after
-- the other (crate::log::Positions).
CREATE TABLE annals_removals (
    event     uuid    NOT NULL,
    part      integer NOT NULL,
    positions bytea   NOT NULL,
    PRIMARY KEY (event, part)
);

-- What the log's key signed of it (crate::log::Removal): a signed note.
CREATE TABLE annals_removal_notes (
    event uuid PRIMARY KEY,
    note  text NOT NULL
);

-- Legal holds: what fits one, in all that it names, is neither pruned nor erased. The
-- event of that id tells of it.
CREATE TABLE annals_holds (
    id          uuid PRIMARY KEY,
    tenant      text COLLATE "C",
    entity_type text COLLATE "C",
    entity_id   text COLLATE "C",
    actor_type  text COLLATE "C",
    actor_id    text COLLATE "C",
    reason      text        NOT NULL,
    placed_at   timestamptz NOT NULL
);

-- Whether an event is under a hold.
CREATE FUNCTION annals_held(tenant text, entity_type text, entity_id text, actor_type text, actor_id text)
RETURNS boolean LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT FROM annals_holds h
        WHERE (h.tenant IS NULL OR h.tenant = annals_held.tenant)
            AND (h.entity_type IS NULL OR h.entity_type = annals_held.entity_type)
            AND (h.entity_id IS NULL OR h.entity_id = annals_held.entity_id)
            AND (h.actor_type IS NULL OR h.actor_type = annals_held.actor_type)
            AND (h.actor_id IS NULL OR h.actor_id = annals_held.actor_id))
$$;

-- The events under a hold, each once, found by the index that fits the hold; `elsewhere` if
-- it lies in no month of its own.
CREATE FUNCTION annals_held_events()
RETURNS TABLE (id uuid, "position" bigint, occurred_at timestamptz, action text, bytes bigint, elsewhere boolean)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT DISTINCT ON (e.id) e.id, a.first + e.rank, e.occurred_at, e.action, octet_length(e.body)::bigint,
        e.tableoid = 'annals_events_default'::regclass
    FROM annals_holds h CROSS JOIN LATERAL (
        SELECT e.*, e.tableoid FROM annals_events e
            WHERE h.entity_type IS NOT NULL AND h.entity_id IS NOT NULL
                AND e.entity_type = h.entity_type AND e.entity_id = h.entity_id
        UNION ALL SELECT e.*, e.tableoid FROM annals_events e
            WHERE h.entity_type IS NOT NULL AND h.entity_id IS NULL AND e.entity_type = h.entity_type
        UNION ALL SELECT e.*, e.tableoid FROM annals_events e
            WHERE h.entity_type IS NULL AND h.actor_id IS NOT NULL AND e.actor_id = h.actor_id
        UNION ALL SELECT e.*, e.tableoid FROM annals_events e
            WHERE h.entity_type IS NULL AND h.actor_id IS NULL AND e.tenant = h.tenant
    ) e JOIN annals_appends a ON a.number = e.append
    WHERE (h.tenant IS NULL OR h.tenant = e.tenant) AND (h.actor_type IS NULL OR h.actor_type = e.actor_type)
        AND (h.actor_id IS NULL OR h.actor_id = e.actor_id)
    ORDER BY e.id
$$;

-- As before, but for what is held.
CREATE OR REPLACE FUNCTION annals_prune_plan(before timestamptz,
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
                AND e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
                AND e.tableoid <> 'annals_events_default'::regclass
        UNION ALL
        SELECT e.body FROM annals_events_default e
            WHERE e.id < beyond AND e.occurred_at < before AND e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
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
    -- And so does what is held.
    SELECT count(*) AS events, coalesce(sum(e.bytes), 0) AS bytes INTO counted FROM annals_held_events() e
        WHERE e.id < months.upper AND e.action <> 'annals.pruned' AND NOT e.elsewhere;
    events := events - counted.events;
    bytes := bytes - counted.bytes;
    -- Within one millisecond ids are in no order of time.
    SELECT e.id INTO line FROM annals_events e WHERE e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id) ORDER BY e.id LIMIT 1;
    SELECT min(e.occurred_at) INTO oldest FROM annals_events e
        WHERE e.id >= line AND e.id < annals_uuid_from(annals_uuid_time(line) + interval '1 millisecond')
            AND e.occurred_at < before AND e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id);
    SELECT e.id INTO line FROM annals_events e
        WHERE e.id < beyond AND e.occurred_at < before AND e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
        ORDER BY e.id DESC LIMIT 1;
    SELECT max(e.occurred_at) INTO newest FROM annals_events e
        WHERE e.id >= annals_uuid_from(annals_uuid_time(line)) AND e.id <= line
            AND e.occurred_at < before AND e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id);
END
$$;

CREATE OR REPLACE FUNCTION annals_prune_partition(before timestamptz, below bigint, OUT events bigint, OUT bytes bigint)
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
             INSERT INTO annals_events_default SELECT * FROM %I e
             WHERE e.entity_type = ''store'' AND e.entity_id IS NULL AND e.action = ''annals.pruned''
                 OR $1 AND annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
             RETURNING body
         ) SELECT count(*) AS events, coalesce(sum(octet_length(body)), 0) AS bytes FROM kept', oldest.name)
        INTO kept USING EXISTS (SELECT FROM annals_holds);
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

CREATE OR REPLACE FUNCTION annals_prune(before timestamptz, below bigint, most integer, OUT events bigint, OUT bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM annals_log_head FOR UPDATE;
    WITH old AS (
        SELECT e.id, a.first + e.rank AS position
        FROM annals_events e JOIN annals_appends a ON a.number = e.append
        WHERE e.id < annals_uuid_from(before + interval '1 millisecond') AND e.occurred_at < before
            AND e.action <> 'annals.pruned' AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
            AND a.first + e.rank < below
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

-- Runs of positions, from `first` to before `last`, of the events that pruning would
-- remove; those that tell of removals and those that are held
-- are among them. Of a month that goes as a whole only
-- those appends are looked into of which some events are not in it any more or never were.
CREATE FUNCTION annals_prune_list(before timestamptz, below bigint) RETURNS TABLE (first bigint, last bigint)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
SET enable_seqscan = on SET enable_sort = on SET enable_bitmapscan = on AS $$
DECLARE
    runs constant text := 'SELECT min(r.position), max(r.position) + 1 FROM (
        SELECT p.position, p.position - row_number() OVER (ORDER BY p.position) AS run
        FROM (SELECT a.first + e.rank AS position
              FROM %I e JOIN annals_appends a ON a.number = e.append WHERE %s) p) r GROUP BY r.run';
    line    uuid := annals_uuid_from(before);
    beyond  uuid := annals_uuid_from(before + interval '1 millisecond');
    part    annals_partitions;
    partial bigint[];
BEGIN
    FOR part IN SELECT * FROM annals_partitions p
        WHERE p.dropped_at IS NULL AND p.events > 0 AND (p.lower IS NULL OR p.lower < beyond)
    LOOP
        IF part.upper <= line AND part.last < below THEN
            RETURN QUERY SELECT a.first, a.first + a.events FROM annals_appends a
                WHERE a.lowest >= part.lower AND a.highest < part.upper AND NOT EXISTS (
                    SELECT FROM annals_tombstones t WHERE t.position >= a.first AND t.position < a.first + a.events);
            partial := ARRAY(SELECT a.number FROM annals_appends a
                WHERE a.lowest < part.upper AND a.highest >= part.lower
                    AND (a.lowest < part.lower OR a.highest >= part.upper OR EXISTS (
                        SELECT FROM annals_tombstones t
                        WHERE t.position >= a.first AND t.position < a.first + a.events)));
            RETURN QUERY EXECUTE format(runs, part.name, 'e.append = ANY ($1)') USING partial;
        ELSE
            RETURN QUERY EXECUTE format(runs, part.name,
                'e.id < $1 AND e.occurred_at < $2 AND a.first + e.rank < $3') USING beyond, before, below;
        END IF;
    END LOOP;
END
$$;

-- Keeps what a removal is about to remove.
CREATE FUNCTION annals_removal_keep(event uuid, parts bytea[], note text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO annals_removals SELECT annals_removal_keep.event, p.part, p.positions
        FROM unnest(parts) WITH ORDINALITY AS p (positions, part);
    IF note IS NOT NULL THEN
        INSERT INTO annals_removal_notes VALUES (annals_removal_keep.event, annals_removal_keep.note);
    END IF;
END
$$;

-- Puts a note in the place of one that another key has signed.
CREATE FUNCTION annals_removal_sign(event uuid, note text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO annals_removal_notes AS n VALUES (annals_removal_sign.event, annals_removal_sign.note)
        ON CONFLICT ON CONSTRAINT annals_removal_notes_pkey DO UPDATE SET note = excluded.note
$$;

REVOKE ALL ON FUNCTION annals_held(text, text, text, text, text), annals_held_events(), annals_prune_list(timestamptz, bigint), annals_removal_keep(uuid, bytea[], text),
    annals_removal_sign(uuid, text) FROM PUBLIC;

UPDATE annals_store_meta SET value = '3' WHERE key = 'schema';
