-- The PostgreSQL store, version 5: events go by rules of retention.

-- Drops the table of one month, save what tells of removals and what is held; nothing if it
-- has gone, or an event at or above position `below` is in it.
CREATE FUNCTION annals_prune_month(month text, below bigint, OUT events bigint, OUT bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    going annals_partitions;
    kept  record;
BEGIN
    PERFORM FROM annals_partitions p
        WHERE p.name = month AND p.upper IS NOT NULL AND p.last < below AND p.dropped_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Appends to it are over, and none begins.
    EXECUTE format('LOCK TABLE ONLY annals_events, ONLY %I, ONLY annals_events_default IN ACCESS EXCLUSIVE MODE', month);
    PERFORM FROM annals_log_head FOR UPDATE;
    SELECT * INTO going FROM annals_partitions p WHERE p.name = month AND p.dropped_at IS NULL;
    IF NOT FOUND OR going.last >= below THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE annals_events DETACH PARTITION %I', going.name);
    EXECUTE format(
        'WITH kept AS (
             INSERT INTO annals_events_default SELECT * FROM %I e
             WHERE e.entity_type = ''store'' AND e.entity_id IS NULL AND e.action = ''annals.pruned''
                 OR $1 AND annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
             RETURNING body
         ) SELECT count(*) AS events, coalesce(sum(octet_length(body)), 0) AS bytes FROM kept', going.name)
        INTO kept USING EXISTS (SELECT FROM annals_holds);
    EXECUTE format('DROP TABLE %I', going.name);
    UPDATE annals_partitions p SET events = 0, bytes = 0, dropped_at = clock_timestamp(),
            dropped = going.events - kept.events
        WHERE p.name = going.name;
    UPDATE annals_partitions p SET events = p.events + kept.events, bytes = p.bytes + kept.bytes,
            last = greatest(p.last, CASE WHEN kept.events > 0 THEN going.last ELSE -1 END)
        WHERE p.name = 'annals_events_default';
    events := going.events - kept.events;
    bytes := going.bytes - kept.bytes;
END
$$;

-- As before: the oldest of those that lie before a time.
CREATE OR REPLACE FUNCTION annals_prune_partition(before timestamptz, below bigint, OUT events bigint, OUT bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    oldest text;
BEGIN
    SELECT p.name INTO oldest FROM annals_partitions p
        WHERE p.upper <= annals_uuid_from(before) AND p.last < below AND p.dropped_at IS NULL AND p.events > 0
        ORDER BY p.lower LIMIT 1;
    IF FOUND THEN
        SELECT m.events, m.bytes INTO events, bytes FROM annals_prune_month(oldest, below) m;
    END IF;
END
$$;

-- Removes events by their ids, save what tells of removals and what is held.
CREATE FUNCTION annals_prune_events(ids uuid[], OUT events bigint, OUT bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM annals_log_head FOR UPDATE;
    WITH listed AS (
        SELECT e.id, a.first + e.rank AS position
        FROM unnest(ids) AS i (id) JOIN annals_events e ON e.id = i.id JOIN annals_appends a ON a.number = e.append
        WHERE e.action <> 'annals.pruned'
            AND NOT annals_held(e.tenant, e.entity_type, e.entity_id, e.actor_type, e.actor_id)
    ), gone AS (
        DELETE FROM annals_events e USING listed WHERE e.id = listed.id
        RETURNING e.id, listed.position, octet_length(e.body) AS bytes, e.tableoid::regclass::text AS name,
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

REVOKE ALL ON FUNCTION annals_prune_month(text, bigint), annals_prune_events(uuid[]) FROM PUBLIC;

UPDATE annals_store_meta SET value = '5' WHERE key = 'schema';
