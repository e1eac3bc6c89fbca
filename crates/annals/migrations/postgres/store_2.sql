-- The PostgreSQL store, version 2: the log is signed.

-- Signed checkpoints of the log, one a size.
CREATE TABLE annals_log_checkpoints (
    size      bigint      PRIMARY KEY,
    -- By the store's clock.
    signed_at timestamptz NOT NULL,
    -- A signed note (C2SP tlog-checkpoint), with the cosignatures that it got.
    note      text        NOT NULL
);
CREATE INDEX annals_log_checkpoints_time ON annals_log_checkpoints (signed_at);

-- The verifier keys of those who may sign the log.
CREATE TABLE annals_log_keys (
    key text PRIMARY KEY
);

-- One row, which who signs holds locked: what told the database from a copy of it when
-- it was signed last.
CREATE TABLE annals_log_signer (
    one  integer PRIMARY KEY CHECK (one = 1),
    copy text
) WITH (fillfactor = 10);
INSERT INTO annals_log_signer (one) VALUES (1);

-- What tells this database from a copy of it: the cluster that it was made in, its own
-- number, and how often a server took over from another.
CREATE FUNCTION annals_log_copy() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT format('system %s, database %s; timeline %s',
        (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END)
$$;

-- Lets one signer at a time go on, until its transaction ends.
CREATE FUNCTION annals_log_lock() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM annals_log_signer FOR UPDATE;
END
$$;

-- Keeps what a signer made; a `uuid` begins another log. Of the checkpoints that are over an hour old the last of
-- each hour stays. Once this is committed, so is all that was signed, whatever the
-- session says of waiting for the disk.
CREATE FUNCTION annals_log_sign(size bigint, note text, keys text[], copy text, uuid text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    before timestamptz := coalesce((SELECT max(signed_at) FROM annals_log_checkpoints), '-infinity');
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF uuid IS NOT NULL THEN
        UPDATE annals_store_meta SET value = uuid WHERE key = 'uuid';
        DELETE FROM annals_log_keys;
        DELETE FROM annals_log_checkpoints;
    END IF;
    INSERT INTO annals_log_keys SELECT unnest(keys) ON CONFLICT DO NOTHING;
    UPDATE annals_log_signer s SET copy = annals_log_sign.copy WHERE s.copy IS DISTINCT FROM annals_log_sign.copy;
    IF note IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO annals_log_checkpoints VALUES (size, clock_timestamp(), note);
    DELETE FROM annals_log_checkpoints c
        WHERE c.signed_at > before - interval '2 hours' AND c.signed_at <= now() - interval '1 hour'
            AND date_trunc('hour', c.signed_at) = (SELECT date_trunc('hour', n.signed_at)
                FROM annals_log_checkpoints n WHERE n.size > c.size ORDER BY n.size LIMIT 1);
END
$$;

-- Puts a checkpoint with more signatures in the place of the one of its size.
CREATE FUNCTION annals_log_cosign(size bigint, note text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE annals_log_checkpoints c SET note = annals_log_cosign.note WHERE c.size = annals_log_cosign.size
$$;

REVOKE ALL ON FUNCTION annals_log_copy(), annals_log_lock(), annals_log_sign(bigint, text, text[], text, text),
    annals_log_cosign(bigint, text) FROM PUBLIC;

UPDATE annals_store_meta SET value = '2' WHERE key = 'schema';
