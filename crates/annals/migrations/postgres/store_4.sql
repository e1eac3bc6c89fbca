-- The PostgreSQL store, version 4: the keys of the subjects whose values are sealed, each
-- wrapped by a master key.
CREATE TABLE annals_subject_keys (
    id        uuid PRIMARY KEY,
    tenant    text COLLATE "C" NOT NULL,
    subject   text COLLATE "C" NOT NULL,
    -- NULL once it is destroyed.
    wrapped   bytea,
    -- By the store's clock.
    made_at   timestamptz NOT NULL,
    erased_at timestamptz
);
CREATE UNIQUE INDEX annals_subject_keys_live ON annals_subject_keys (tenant, subject) WHERE erased_at IS NULL;

-- Keeps new keys; where a subject has a live one, that one stays.
CREATE FUNCTION annals_keep_subject_keys(ids uuid[], tenants text[], subjects text[], wrapped bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO annals_subject_keys (id, tenant, subject, wrapped, made_at)
        SELECT k.*, clock_timestamp() FROM unnest(ids, tenants, subjects, wrapped) k
        ON CONFLICT DO NOTHING;
END
$$;

-- Destroys a subject's live key; answers how many there were.
CREATE FUNCTION annals_destroy_subject_key(whose_tenant text, whose_subject text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    destroyed bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE annals_subject_keys SET wrapped = NULL, erased_at = clock_timestamp()
        WHERE tenant = whose_tenant AND subject = whose_subject AND erased_at IS NULL;
    GET DIAGNOSTICS destroyed = ROW_COUNT;
    RETURN destroyed;
END
$$;

REVOKE ALL ON FUNCTION annals_keep_subject_keys(uuid[], text[], text[], bytea[]),
    annals_destroy_subject_key(text, text) FROM PUBLIC;

UPDATE annals_store_meta SET value = '4' WHERE key = 'schema';
