-- The PostgreSQL store, version 7: counts of events by day and tenant, in parts that add up.
-- What a part says is not the database's to know.
CREATE TABLE annals_rollups (
    id     bigint PRIMARY KEY,
    -- Since 1970-01-01, in UTC.
    day    integer NOT NULL,
    tenant text COLLATE "C",
    -- How much there is to it.
    cells  bigint NOT NULL,
    body   bytea NOT NULL
);
CREATE INDEX annals_rollups_day ON annals_rollups (day, id) INCLUDE (tenant, cells);

-- Events below the position are counted; the id of the next part is greater than all before.
CREATE TABLE annals_rollup_head (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    position  bigint NOT NULL,
    next_part bigint NOT NULL
);
INSERT INTO annals_rollup_head (position, next_part) VALUES (0, 1);

-- Days from which events were removed: they are to be counted anew. Whoever removes marks
-- them, in the same transaction.
CREATE TABLE annals_rollup_stale (
    day  integer PRIMARY KEY,
    mark bigint NOT NULL
);

CREATE FUNCTION annals_rollup_day(at timestamptz) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT floor(extract(epoch FROM at) / 86400)::integer
$$;

CREATE FUNCTION annals_rollup_events_gone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO annals_rollup_stale AS s (day, mark)
        SELECT DISTINCT annals_rollup_day(g.occurred_at) AS day, 1 FROM gone g ORDER BY day
        ON CONFLICT (day) DO UPDATE SET mark = s.mark + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER annals_rollup_events_gone AFTER DELETE ON annals_events
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION annals_rollup_events_gone();

CREATE FUNCTION annals_rollup_month_gone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO annals_rollup_stale AS s (day, mark)
        SELECT day, 1 FROM generate_series(annals_rollup_day(annals_uuid_time(NEW.lower)),
            annals_rollup_day(annals_uuid_time(NEW.upper) - interval '1 millisecond')) AS day ORDER BY day
        ON CONFLICT (day) DO UPDATE SET mark = s.mark + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER annals_rollup_month_gone AFTER UPDATE OF dropped_at ON annals_partitions
    FOR EACH ROW WHEN (NEW.dropped_at IS NOT NULL AND NEW.upper IS NOT NULL)
    EXECUTE FUNCTION annals_rollup_month_gone();

UPDATE annals_store_meta SET value = '7' WHERE key = 'schema';
