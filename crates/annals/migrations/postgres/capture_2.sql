-- Capture in the database, version 2: columns that are personal are marked, for the worker
-- to seal.

ALTER TABLE annals_attached
    ADD COLUMN personal    name[] NOT NULL DEFAULT '{}',
    ADD COLUMN personal_no int2[] NOT NULL DEFAULT '{}';

-- As before, but for what is personal.
CREATE OR REPLACE FUNCTION annals_capture_sql(relation oid, operation text, tail text, stamp text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    attached annals_attached;
    key      int2[] := annals_key_of(relation);
    one      record;
    value    text;
    differs  text;
    part     text;
    old_key  text;
    new_key  text;
    no_old   text;
    no_new   text;
    olds     text[] := '{}';
    news     text[] := '{}';
    changed  text[] := '{}';
    joined   text[] := '{}';
    pairs    text[] := '{}';
    count    integer := 0;
    rows     text;
BEGIN
    SELECT * INTO attached FROM annals_attached a WHERE a.relation = annals_capture_sql.relation;
    IF attached.number <> relation THEN
        attached.excluded_no := '{}';
        attached.redacted_no := '{}';
        attached.personal_no := '{}';
    END IF;
    FOR one IN
        SELECT a.attname, format('%I', a.attname) AS name, quote_literal(to_json(a.attname)::text || ':') AS label,
            a.atttypid AS type, t.typlen AS length, a.attnum = ANY (key) AS in_key,
            a.attname = ANY (attached.excluded) OR a.attnum = ANY (attached.excluded_no) AS excluded,
            a.attname = ANY (attached.redacted) OR a.attnum = ANY (attached.redacted_no) AS redacted,
            a.attname = ANY (attached.personal) OR a.attnum = ANY (attached.personal_no) AS personal,
            t.typnamespace = 'pg_catalog'::regnamespace AS builtin
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
            -- A virtual column has no value in a trigger (PostgreSQL 18).
            AND a.attgenerated <> 'v'
        ORDER BY array_position(key, a.attnum), a.attnum
    LOOP
        -- How a value becomes JSON, how a key becomes text (%1$s is where it stands), and
        -- how two are told apart. Equality of types that are not PostgreSQL's own may be
        -- anything, and that of numerics takes 1.0 for 1.00: there the bytes are compared.
        CASE
            WHEN one.type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'bool'::regtype) THEN
                value := '%1$s::text';
                part := '%1$s::text';
                differs := 'o.%1$s IS DISTINCT FROM n.%1$s';
            WHEN one.type IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN
                value := 'CASE WHEN octet_length(%1$s) > 65536 THEN annals_truncated(%1$s::text) ELSE to_json(%1$s)::text END';
                part := '%1$s::text';
                differs := 'o.%1$s COLLATE "C" IS DISTINCT FROM n.%1$s COLLATE "C"';
            WHEN one.type = 'bytea'::regtype THEN
                value := 'CASE WHEN octet_length(%1$s) > 32768 THEN annals_truncated(%1$s) ELSE to_json(%1$s)::text END';
                part := '%1$s::text';
                differs := 'o.%1$s IS DISTINCT FROM n.%1$s';
            WHEN one.type IN ('uuid'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
                value := 'to_json(%1$s)::text';
                part := '(to_json(%1$s) #>> ''{}'')';
                differs := 'o.%1$s IS DISTINCT FROM n.%1$s';
            ELSE
                value := 'to_json(%1$s)::text';
                part := '(to_json(%1$s) #>> ''{}'')';
                differs := 'record_image_ne(ROW (o.%1$s), ROW (n.%1$s))';
                IF one.type = 'numeric'::regtype THEN
                    -- No reader of JSON keeps larger ones as numbers.
                    value := 'CASE WHEN abs(%1$s) < 1e300 THEN %1$s::text ELSE to_json(%1$s::text)::text END';
                ELSIF one.type = 'json'::regtype THEN
                    -- Its text may hold a key twice, or what no other JSON may.
                    value := 'to_json(%1$s::text)::text';
                ELSIF one.type = 'jsonb'::regtype THEN
                    value := 'CASE WHEN strpos(%1$s::text, ''"$annals"'') > 0 THEN to_json(%1$s::text)::text ELSE %1$s::text END';
                END IF;
                IF one.length < 0 THEN
                    value := 'CASE WHEN pg_column_size(%1$s) > 16384 AND octet_length(%1$s::text) > 65536'
                        ' THEN annals_truncated(%1$s::text) ELSE ' || value || ' END';
                END IF;
        END CASE;
        IF one.in_key THEN
            no_old := coalesce(no_old, format('o.%s IS NULL', one.name));
            no_new := coalesce(no_new, format('n.%s IS NULL', one.name));
            joined := joined || format(CASE WHEN one.builtin THEN 'o.%1$s = n.%1$s'
                ELSE 'o.%1$s::text = n.%1$s::text' END, one.name);
            IF cardinality(key) > 1 THEN
                part := 'replace(replace(' || part || ', ''%%'', ''%%25''), '','', ''%%2C'')';
            END IF;
            old_key := concat_ws(' || '','' || ', old_key, format(part, 'o.' || one.name));
            new_key := concat_ws(' || '','' || ', new_key, format(part, 'n.' || one.name));
        END IF;
        CONTINUE WHEN one.excluded;
        value := CASE WHEN one.redacted THEN quote_literal('{"$annals":{"kind":"redacted"}}')
            ELSE 'coalesce(' || value || ', ''null'')' END;
        -- The mark of crate::event::personal, to the byte.
        IF one.personal AND NOT one.redacted THEN
            value := quote_literal('{"$annals":{"kind":"personal","value":') || ' || ' || value || ' || ' || quote_literal('}}');
        END IF;
        IF operation = 'UPDATE' THEN
            count := count + 1;
            pairs := pairs || format('o.%1$s AS o%2$s, n.%1$s AS n%2$s, %3$s AS d%2$s',
                one.name, count, format(differs, one.name));
            changed := changed || ('d' || count);
            olds := olds || format('CASE WHEN no_new OR d%s THEN %s || %s END', count, one.label, format(value, 'o' || count));
            news := news || format('CASE WHEN no_old OR d%s THEN %s || %s END', count, one.label, format(value, 'n' || count));
        ELSE
            olds := olds || (one.label || ' || ' || format(value, 'o.' || one.name));
            news := news || (one.label || ' || ' || format(value, 'n.' || one.name));
        END IF;
    END LOOP;
    rows := CASE operation
        WHEN 'INSERT' THEN '''created'' AS action, ' || new_key || ' AS key, NULL::text AS olds,
            concat_ws('','', ' || array_to_string(news, ', ') || ') AS news FROM annals_new n'
        WHEN 'DELETE' THEN '''deleted'' AS action, ' || old_key || ' AS key,
            concat_ws('','', ' || array_to_string(olds, ', ') || ') AS olds, NULL::text AS news FROM annals_old o'
        -- A row whose key changed has no other side. OFFSET 0, so that each pair is
        -- compared once.
        ELSE 'CASE WHEN no_old THEN ''created'' WHEN no_new THEN ''deleted'' ELSE ''updated'' END AS action, key,
            CASE WHEN NOT no_old THEN concat_ws('','', ' || array_to_string(olds, ', ') || ') END AS olds,
            CASE WHEN NOT no_new THEN concat_ws('','', ' || array_to_string(news, ', ') || ') END AS news
            FROM (
                SELECT coalesce(' || new_key || ', ' || old_key || ') AS key, ' || no_old || ' AS no_old, ' || no_new || ' AS no_new,
                    ' || array_to_string(pairs, ', ') || '
                FROM annals_old o FULL JOIN annals_new n ON ' || array_to_string(joined, ' AND ') || ' OFFSET 0
            ) AS pairs WHERE no_old OR no_new OR ' || array_to_string(changed, ' OR ')
        END;
    RETURN 'INSERT INTO annals_queue (id, raw, body)
        SELECT encode(overlay(uuid_send(gen_random_uuid()) PLACING ' || stamp || ' FROM 1 FOR 8), ''hex'')::uuid, true,
            convert_to(CASE WHEN octet_length(body) <= 240000 THEN body ELSE annals_cut(head, olds, news, ' || tail || ') END, ''UTF8'')
        FROM (
            SELECT head, olds, news,
                concat(head, '',"old_values":{'' || olds || ''}'', '',"new_values":{'' || news || ''}'', ' || tail || ') AS body
            FROM (
                SELECT ''{"action":"'' || action || '
                || quote_literal('","entity":{"type":' || to_json(attached.entity_type)::text || ',"id":')
                || ' || to_json(CASE WHEN octet_length(key) > 255
                        THEN left(key, 40) || ''~'' || encode(sha256(convert_to(key, ''UTF8'')), ''hex'') ELSE key END)::text || ''}'' AS head,
                    olds, news
                FROM (SELECT ' || rows || ') AS rows
            ) AS texts
        ) AS bodies';
END
$$;

DROP FUNCTION annals_attach(regclass, text, text[], text[], text[]);

-- As before, with the columns that are personal.
CREATE FUNCTION annals_attach(
    relation regclass, entity_type text, excluded text[], redacted text[], personal text[], operations text[]
) RETURNS SETOF text LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    class     pg_class;
    attached  annals_attached;
    key       int2[] := annals_key_of(relation);
    missing   text;
    operation text;
    statement text;
    partition regclass;
BEGIN
    SELECT * INTO class FROM pg_class WHERE oid = relation;
    IF class.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', relation USING ERRCODE = 'AN001',
            HINT = 'attach the tables behind it';
    ELSIF class.relpersistence = 't' THEN
        RAISE EXCEPTION '% is a temporary table', relation USING ERRCODE = 'AN001',
            HINT = 'attach tables that stay';
    ELSIF class.relname LIKE 'annals\_%' THEN
        RAISE EXCEPTION '% belongs to annals', relation USING ERRCODE = 'AN001',
            HINT = 'attach the tables of your application';
    ELSIF key IS NULL THEN
        RAISE EXCEPTION '% has no primary key, so that its rows cannot be told apart', relation
            USING ERRCODE = 'AN001',
            HINT = format('add one: ALTER TABLE %s ADD PRIMARY KEY (…), or a unique index on columns that are NOT NULL', relation);
    END IF;
    entity_type := coalesce(entity_type, class.relname);
    IF entity_type = '' OR strpos(entity_type, ':') > 0 OR octet_length(entity_type) > 255 THEN
        RAISE EXCEPTION 'the entity type % is not 1 to 255 bytes without ":"', quote_literal(entity_type)
            USING ERRCODE = 'AN001', HINT = 'choose another with --entity-type';
    END IF;
    SELECT string_agg(quote_ident(name), ', ') INTO missing FROM unnest(excluded || redacted || personal) AS name
        WHERE NOT EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '% has no column %', relation, missing USING ERRCODE = 'AN001',
            HINT = (SELECT 'its columns are ' || string_agg(quote_ident(attname), ', ' ORDER BY attnum)
                    FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped);
    END IF;
    SELECT string_agg(quote_ident(attname), ', ') INTO missing FROM pg_attribute
        WHERE attrelid = relation AND attnum = ANY (key) AND attname = ANY (excluded || redacted || personal);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'column % is in the key of %, which names the entity', missing, relation
            USING ERRCODE = 'AN001', HINT = 'leave key columns in';
    END IF;
    INSERT INTO annals_attached AS a (relation, number, function, entity_type,
            excluded, excluded_no, redacted, redacted_no, personal, personal_no, operations)
        SELECT relation, relation, 'annals_capture_' || left(class.relname, 30) || '_' || substr(md5(random()::text), 1, 8),
            annals_attach.entity_type,
            excluded, ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = ANY (excluded)),
            redacted, ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = ANY (redacted)),
            personal, ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = ANY (personal)),
            operations
        ON CONFLICT ON CONSTRAINT annals_attached_pkey DO UPDATE SET (number, entity_type, excluded, excluded_no,
            redacted, redacted_no, personal, personal_no, operations) = (excluded.number, excluded.entity_type, excluded.excluded,
            excluded.excluded_no, excluded.redacted, excluded.redacted_no, excluded.personal, excluded.personal_no,
            excluded.operations),
            attached_at = now(), attached_by = session_user
        RETURNING * INTO attached;
    -- What the function needs to find, wherever it is called from, and one way of
    -- writing values, whatever the session's.
    statement := format(
        'CREATE OR REPLACE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT '
        'SET plan_cache_mode = force_generic_plan SET enable_nestloop = off SET jit = off SET timezone = ''UTC'' SET intervalstyle = ''iso_8601'' SET bytea_output = ''hex'' '
        'SET extra_float_digits = 1 AS %L', attached.function, annals_capture_function(relation));
    RETURN NEXT statement;
    EXECUTE statement;
    statement := format('REVOKE ALL ON FUNCTION %I() FROM PUBLIC', attached.function);
    RETURN NEXT statement;
    EXECUTE statement;
    FOREACH operation IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND tgname = 'annals_capture_' || operation) THEN
            statement := format('DROP TRIGGER %I ON %s', 'annals_capture_' || operation, relation);
            RETURN NEXT statement;
            EXECUTE statement;
        END IF;
        CONTINUE WHEN NOT CASE operation WHEN 'truncate' THEN 'delete' ELSE operation END = ANY (operations);
        statement := format('CREATE TRIGGER %I AFTER %s ON %s%s FOR EACH STATEMENT EXECUTE FUNCTION %I()',
            'annals_capture_' || operation, upper(operation), relation,
            CASE operation
                WHEN 'insert' THEN ' REFERENCING NEW TABLE AS annals_new'
                WHEN 'update' THEN ' REFERENCING OLD TABLE AS annals_old NEW TABLE AS annals_new'
                WHEN 'delete' THEN ' REFERENCING OLD TABLE AS annals_old'
                ELSE '' END,
            attached.function);
        RETURN NEXT statement;
        EXECUTE statement;
    END LOOP;
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE inhparent = relation AND c.relispartition AND c.relkind IN ('r', 'p') ORDER BY 1
    LOOP
        RETURN QUERY SELECT annals_attach(partition, annals_attach.entity_type, excluded, redacted, personal, operations);
    END LOOP;
END
$$;

UPDATE annals_capture_head SET version = 2;
