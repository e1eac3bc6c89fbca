-- The PostgreSQL store, version 3: removals are listed and signed.

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

-- Runs of positions, from `first` to before `last`, of the events that pruning would
-- remove; those that tell of removals are among them. Of a month that goes as a whole only
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

REVOKE ALL ON FUNCTION annals_prune_list(timestamptz, bigint), annals_removal_keep(uuid, bytea[], text),
    annals_removal_sign(uuid, text) FROM PUBLIC;

UPDATE annals_store_meta SET value = '3' WHERE key = 'schema';
