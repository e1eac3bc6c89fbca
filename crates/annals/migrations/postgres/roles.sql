-- The roles, made and given their rights as often as wanted. They cannot log in:
-- grant them to the roles that do. Rights go to the tables that are there.
--
--     annals_enqueue   puts events into the queue, and reads none
--     annals_work      takes them out and appends them; changes and deletes no stored event
--     annals_read      reads
--     annals_prune     removes old events and destroys keys of subjects, by functions that leave the log whole
--     annals_admit     writes who may use the server: for a server at which people sign in, beside annals_read

DO $roles$
DECLARE
    wanted record;
    home   text := current_schema();
BEGIN
    FOR wanted IN SELECT unnest(ARRAY['annals_enqueue', 'annals_work', 'annals_read', 'annals_prune', 'annals_admit']) AS name LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.name);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', home, wanted.name);
    END LOOP;
    FOR wanted IN
        SELECT kind, object, rights, role FROM (VALUES
            ('TABLE', 'annals_queue', 'INSERT', 'annals_enqueue'),
            ('TABLE', 'annals_idle', 'SELECT', 'annals_enqueue'),
            ('TABLE', 'annals_queue_head', 'SELECT', 'annals_enqueue, annals_work, annals_read'),
            -- Of UPDATE no more than the right to lock a row.
            ('TABLE', 'annals_queue', 'SELECT, INSERT, DELETE, UPDATE (seq)', 'annals_work'),
            ('TABLE', 'annals_delivery', 'SELECT, INSERT, UPDATE, DELETE', 'annals_work'),
            ('TABLE', 'annals_idle', 'SELECT, INSERT, UPDATE, DELETE', 'annals_work'),
            ('TABLE', 'annals_failed', 'SELECT, INSERT, DELETE', 'annals_work'),
            ('TABLE', 'annals_queue', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_delivery', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_failed', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_store_meta', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_events', 'SELECT, INSERT', 'annals_work, annals_prune'),
            ('TABLE', 'annals_events', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_partitions', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_appends', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_tombstones', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_log_tiles', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_log_head', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_log_checkpoints', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_log_keys', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_log_signer', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_removals', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_removal_notes', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_holds', 'SELECT', 'annals_work, annals_read, annals_prune'),
            ('TABLE', 'annals_subject_keys', 'SELECT', 'annals_work, annals_read, annals_prune'),
            -- What a server must know to let anybody in: keyed hashes, and no key.
            ('TABLE', 'annals_access', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_access', 'SELECT, INSERT, UPDATE', 'annals_admit'),
            ('TABLE', 'annals_access_head', 'SELECT, UPDATE', 'annals_admit'),
            ('TABLE', 'annals_rollups', 'SELECT, INSERT, DELETE', 'annals_work'),
            ('TABLE', 'annals_rollup_head', 'SELECT, UPDATE', 'annals_work'),
            ('TABLE', 'annals_rollup_stale', 'SELECT, DELETE', 'annals_work'),
            ('TABLE', 'annals_rollups', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_rollup_head', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_rollup_stale', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_trail', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_attached', 'SELECT', 'annals_read'),
            ('TABLE', 'annals_capture_head', 'SELECT', 'annals_read'),
            ('SEQUENCE', 'annals_append_blocks', 'USAGE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_partition_of', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_append', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_log_extend', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_append_next', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_log_copy', 'EXECUTE', 'annals_work, annals_read, annals_prune'),
            ('FUNCTION', 'annals_log_lock', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_log_sign', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_log_cosign', 'EXECUTE', 'annals_work'),
            ('FUNCTION', 'annals_removal_keep', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_removal_sign', 'EXECUTE', 'annals_work, annals_prune'),
            ('FUNCTION', 'annals_prune_list', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_held', 'EXECUTE', 'annals_read, annals_prune'),
            ('FUNCTION', 'annals_held_events', 'EXECUTE', 'annals_read, annals_prune'),
            ('FUNCTION', 'annals_keep_subject_keys', 'EXECUTE', 'annals_work'),
            ('FUNCTION', 'annals_destroy_subject_key', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_prune_plan', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_prune_partition', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_prune', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_prune_month', 'EXECUTE', 'annals_prune'),
            ('FUNCTION', 'annals_prune_events', 'EXECUTE', 'annals_prune')
        ) AS grants (kind, object, rights, role)
        WHERE EXISTS (SELECT FROM pg_class c WHERE c.relname = object AND c.relnamespace = home::regnamespace)
            OR EXISTS (SELECT FROM pg_proc p WHERE p.proname = object AND p.pronamespace = home::regnamespace)
    LOOP
        EXECUTE format('GRANT %s ON %s %I.%I TO %s', wanted.rights, wanted.kind, home, wanted.object, wanted.role);
    END LOOP;
    -- The partitions that are there; later ones get what the whole has.
    FOR wanted IN SELECT inhrelid::regclass AS name FROM pg_inherits
        WHERE inhparent = to_regclass(format('%I.annals_events', home))
    LOOP
        EXECUTE format('GRANT SELECT, INSERT ON %s TO annals_work, annals_prune', wanted.name);
        EXECUTE format('GRANT SELECT ON %s TO annals_read', wanted.name);
    END LOOP;
    -- Row-level security: a server says in `annals.tenants` whose data a statement may see,
    -- and whatever the statement asks for, the database hands out no other. Where that is not
    -- set all is seen, and whoever owns the tables sees all in any case. What is selected is
    -- read once a statement, and not once a row.
    FOR wanted IN SELECT name FROM unnest(ARRAY['annals_events', 'annals_rollups']) AS t (name)
        WHERE to_regclass(format('%I.%I', home, name)) IS NOT NULL
    LOOP
        EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', home, wanted.name);
        EXECUTE format('DROP POLICY IF EXISTS annals_seen ON %I.%I', home, wanted.name);
        EXECUTE format('DROP POLICY IF EXISTS annals_written ON %I.%I', home, wanted.name);
        EXECUTE format('DROP POLICY IF EXISTS annals_changed ON %I.%I', home, wanted.name);
        EXECUTE format('DROP POLICY IF EXISTS annals_removed ON %I.%I', home, wanted.name);
        EXECUTE format(
            $policy$
                CREATE POLICY annals_seen ON %I.%I FOR SELECT USING (
                    (SELECT coalesce(current_setting('annals.tenants', true), '') = '')
                    OR tenant = ANY ((
                        SELECT nullif(current_setting('annals.tenants', true), '')::text[]
                    )::text[])
                )
            $policy$, home, wanted.name);
        -- Who may write is for the rights above to say.
        EXECUTE format('CREATE POLICY annals_written ON %I.%I FOR INSERT WITH CHECK (true)', home, wanted.name);
        EXECUTE format('CREATE POLICY annals_changed ON %I.%I FOR UPDATE USING (true)', home, wanted.name);
        EXECUTE format('CREATE POLICY annals_removed ON %I.%I FOR DELETE USING (true)', home, wanted.name);
    END LOOP;
END
$roles$;
