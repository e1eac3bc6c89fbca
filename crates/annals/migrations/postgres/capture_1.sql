-- Capture in the database, version 1: triggers on an application's own tables that
-- enqueue one event a changed row, in the same transaction. They stand beside the
-- queue (queue_1.sql).
--
-- A trigger must never fail its statement for our sake, nor hold it up. So each
-- attached table gets a function of its own with plain SQL over the transition
-- tables, which PostgreSQL plans once; and where the columns are no longer what
-- they were when it was written, the same SQL is made anew for each statement.

CREATE TABLE annals_capture_head (
    one     integer PRIMARY KEY CHECK (one = 1),
    version integer NOT NULL
);
INSERT INTO annals_capture_head (one, version) VALUES (1, 1);

-- The attached tables, and how.
CREATE TABLE annals_attached (
    relation    regclass    PRIMARY KEY,
    -- As the catalog knew it then: in a restored database it is another one.
    number      oid         NOT NULL,
    function    text        NOT NULL UNIQUE,
    entity_type text        NOT NULL,
    -- Columns by name and by number, so that one that was renamed stays hidden.
    excluded    name[]      NOT NULL,
    excluded_no int2[]      NOT NULL,
    redacted    name[]      NOT NULL,
    redacted_no int2[]      NOT NULL,
    -- Of insert, update and delete. TRUNCATE counts as a delete.
    operations  text[]      NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT now(),
    attached_by text        NOT NULL DEFAULT session_user
);

-- What the columns of a table are now.
CREATE FUNCTION annals_columns_now(relation oid) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT string_agg(concat(attnum, ':', attname, ':', atttypid), ',' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped);
END
$$;

-- The columns that tell rows apart: of the primary key, else of a unique index
-- without gaps; in their order there.
CREATE FUNCTION annals_key_of(relation oid) RETURNS int2[] LANGUAGE sql STABLE AS $$
    SELECT (SELECT array_agg(k ORDER BY place) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (k, place)
            WHERE place <= i.indnkeyatts)
    FROM pg_index i
    WHERE i.indrelid = relation AND i.indisunique AND i.indimmediate AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation
            AND a.attnum = ANY (i.indkey::int2[]) AND NOT a.attnotnull)
        -- Rows of before a constraint may break it (PostgreSQL 18).
        AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = relation AND c.contype = 'n'
            AND NOT c.convalidated AND c.conkey && i.indkey::int2[])
    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1
$$;

-- The mark in the place of a value that was cut: its length in bytes and its hash.
CREATE FUNCTION annals_truncated(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{"$annals":{"kind":"truncated","length":%s,"sha256":"%s"}}',
        octet_length(value), encode(sha256(convert_to(value, 'UTF8')), 'hex'))
$$;

-- The same for bytes, of which a text would be twice as long, and perhaps longer than
-- any text may be.
CREATE FUNCTION annals_truncated(value bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{"$annals":{"kind":"truncated","length":%s,"sha256":"%s"}}',
        octet_length(value), encode(sha256(value), 'hex'))
$$;

-- An event whose values are too long together: the longest are cut, then shorter
-- ones, until it fits.
CREATE FUNCTION annals_cut(head text, old_values text, new_values text, tail text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    longest integer;
    body    text;
BEGIN
    FOREACH longest IN ARRAY ARRAY[8192, 1024, 100] LOOP
        SELECT head || coalesce(',"old_values":{' || o.cut || '}', '')
                || coalesce(',"new_values":{' || n.cut || '}', '') || tail INTO body
        FROM (SELECT string_agg(to_json(key)::text || ':' || CASE WHEN octet_length(value::text) > longest
                  THEN annals_truncated(value::text) ELSE value::text END, ',') AS cut
              FROM json_each(('{' || old_values || '}')::json)) o,
             (SELECT string_agg(to_json(key)::text || ':' || CASE WHEN octet_length(value::text) > longest
                  THEN annals_truncated(value::text) ELSE value::text END, ',') AS cut
              FROM json_each(('{' || new_values || '}')::json)) n;
        IF octet_length(body) <= 240000 THEN
            RETURN body;
        END IF;
    END LOOP;
    RAISE program_limit_exceeded;
EXCEPTION WHEN OTHERS THEN
    -- JSON into which PostgreSQL does not look.
    RETURN head || coalesce(',"old_values":{"everything":' || annals_truncated(old_values) || '}', '')
        || coalesce(',"new_values":{"everything":' || annals_truncated(new_values) || '}', '') || tail;
END
$$;

-- What the events of a statement have in common, as the end of their JSON: who,
-- from where, why. From `annals.context`, a JSON object with any of actor, context,
-- tenant, subject, reason, tags and metadata; else the role and the application's
-- name. Whoever holds the connection can set that, so session_user is always there.
CREATE FUNCTION annals_envelope(relation text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    given    text := nullif(current_setting('annals.context', true), '');
    actor    text := concat('{"type":"role","id":', to_json(coalesce(
                         nullif(current_setting('role'), 'none'), session_user)), '}');
    service  text := left(current_setting('application_name'), 60);
    origin   text := concat('{', '"service":' || to_json(nullif(service, '')) || ',',
                         '"transaction_id":"', pg_current_xact_id(), '"}');
    facts    text := concat('{"session_user":', to_json(session_user), ',"table":', to_json(relation));
    told     jsonb;
    more     text;
BEGIN
    IF given IS NULL THEN
        RETURN concat(',"actor":', actor, ',"context":', origin, ',"metadata":', facts, '}}');
    END IF;
    BEGIN
        told := jsonb_strip_nulls(given::jsonb);
        IF jsonb_typeof(told) <> 'object' OR EXISTS (
            SELECT FROM jsonb_each(told) WHERE jsonb_typeof(value) <> CASE
                WHEN key IN ('actor', 'context', 'metadata') THEN 'object' WHEN key = 'tags' THEN 'array' ELSE 'string' END)
        THEN
            RAISE invalid_parameter_value;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        -- The change is audited all the same, and what was said is kept.
        told := '{}';
        facts := concat(facts, ',"unreadable_context":', to_json(left(given, 1000)));
    END;
    SELECT string_agg(concat(',', to_json(key), ':', value), '') INTO more FROM jsonb_each(told)
        WHERE key IN ('tenant', 'subject', 'reason', 'tags');
    RETURN concat(',"actor":', coalesce(told ->> 'actor', actor),
        ',"context":', origin::jsonb || coalesce(told -> 'context', '{}')
            || jsonb_build_object('transaction_id', pg_current_xact_id()::text),
        ',"metadata":', coalesce(told -> 'metadata', '{}') || (facts || '}')::jsonb, more, '}');
END
$$;

-- The statement that enqueues the events of one operation on a table. `tail` names
-- the end of each event's JSON, `stamp` the first 8 bytes of their ids; annals_old and
-- annals_new are the transition tables.
CREATE FUNCTION annals_capture_sql(relation oid, operation text, tail text, stamp text) RETURNS text
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
    END IF;
    FOR one IN
        SELECT a.attname, format('%I', a.attname) AS name, quote_literal(to_json(a.attname)::text || ':') AS label,
            a.atttypid AS type, t.typlen AS length, a.attnum = ANY (key) AS in_key,
            a.attname = ANY (attached.excluded) OR a.attnum = ANY (attached.excluded_no) AS excluded,
            a.attname = ANY (attached.redacted) OR a.attnum = ANY (attached.redacted_no) AS redacted,
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

-- The text of the trigger function of an attached table.
CREATE FUNCTION annals_capture_function(relation oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    attached annals_attached;
    parent   oid := (SELECT inhparent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE inhrelid = annals_capture_function.relation AND c.relispartition);
BEGIN
    SELECT * INTO attached FROM annals_attached a WHERE a.relation = annals_capture_function.relation;
    RETURN format($function$#variable_conflict use_variable
DECLARE
    annals_tail  text;
    annals_stamp bytea;
    annals_count bigint;
BEGIN
    annals_tail := annals_envelope(format('%%I.%%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
    annals_stamp := annals_uuid7_stamp(clock_timestamp());
    IF TG_OP = 'TRUNCATE' THEN
        -- Of a partition that goes with the table that it is of, the table tells.
        IF EXISTS (SELECT FROM pg_locks WHERE relation = %1$L::oid AND pid = pg_backend_pid()
                   AND locktype = 'relation' AND mode = 'AccessExclusiveLock') THEN
            RETURN NULL;
        END IF;
        INSERT INTO annals_queue (id, raw, body)
            SELECT annals_uuid7(clock_timestamp()), true, convert_to(%2$L || annals_tail, 'UTF8');
    ELSIF annals_columns_now(TG_RELID) IS DISTINCT FROM %3$L THEN
        -- The columns are not those for which this was written: run annals attach again.
        EXECUTE annals_capture_sql(TG_RELID, TG_OP, '$1', '$2') USING annals_tail, annals_stamp;
    ELSIF TG_OP = 'INSERT' THEN
        %4$s;
    ELSIF TG_OP = 'UPDATE' THEN
        %5$s;
    ELSIF TG_OP = 'DELETE' THEN
        %6$s;
    END IF;
    GET DIAGNOSTICS annals_count = ROW_COUNT;
    IF annals_count > 0 AND EXISTS (SELECT FROM annals_idle WHERE until > clock_timestamp()) THEN
        PERFORM pg_notify('annals_queue', '');
    END IF;
    RETURN NULL;
END$function$,
        parent,
        '{"action":"truncated","entity":{"type":' || to_json(attached.entity_type)::text || '}',
        annals_columns_now(relation),
        annals_capture_sql(relation, 'INSERT', 'annals_tail', 'annals_stamp'),
        annals_capture_sql(relation, 'UPDATE', 'annals_tail', 'annals_stamp'),
        annals_capture_sql(relation, 'DELETE', 'annals_tail', 'annals_stamp'));
END
$$;

-- Attaches a table, or does it anew with other options; a partitioned one with its
-- partitions, for those who write into them directly. Answers the statements that
-- did it. Run by the owner of the table.
CREATE FUNCTION annals_attach(
    relation regclass, entity_type text, excluded text[], redacted text[], operations text[]
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
    SELECT string_agg(quote_ident(name), ', ') INTO missing FROM unnest(excluded || redacted) AS name
        WHERE NOT EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '% has no column %', relation, missing USING ERRCODE = 'AN001',
            HINT = (SELECT 'its columns are ' || string_agg(quote_ident(attname), ', ' ORDER BY attnum)
                    FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped);
    END IF;
    SELECT string_agg(quote_ident(attname), ', ') INTO missing FROM pg_attribute
        WHERE attrelid = relation AND attnum = ANY (key) AND attname = ANY (excluded || redacted);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'column % is in the key of %, which names the entity', missing, relation
            USING ERRCODE = 'AN001', HINT = 'leave key columns in';
    END IF;
    INSERT INTO annals_attached AS a (relation, number, function, entity_type,
            excluded, excluded_no, redacted, redacted_no, operations)
        SELECT relation, relation, 'annals_capture_' || left(class.relname, 30) || '_' || substr(md5(random()::text), 1, 8),
            annals_attach.entity_type,
            excluded, ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = ANY (excluded)),
            redacted, ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = ANY (redacted)),
            operations
        ON CONFLICT ON CONSTRAINT annals_attached_pkey DO UPDATE SET (number, entity_type, excluded, excluded_no,
            redacted, redacted_no, operations) = (excluded.number, excluded.entity_type, excluded.excluded,
            excluded.excluded_no, excluded.redacted, excluded.redacted_no, excluded.operations),
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
        RETURN QUERY SELECT annals_attach(partition, annals_attach.entity_type, excluded, redacted, operations);
    END LOOP;
END
$$;

-- Detaches a table and its partitions; answers the statements that did it. What is
-- captured already stays.
CREATE FUNCTION annals_detach(relation regclass) RETURNS SETOF text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    attached  annals_attached;
    statement text;
    partition regclass;
BEGIN
    DELETE FROM annals_attached a WHERE a.relation = annals_detach.relation RETURNING * INTO attached;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not attached', relation USING ERRCODE = 'AN001',
            HINT = '`annals attach --list` shows which tables are';
    END IF;
    FOR statement IN
        (SELECT format('DROP TRIGGER %I ON %s', tgname, relation) FROM pg_trigger
            WHERE tgrelid = relation AND tgname LIKE 'annals\_capture\_%' ORDER BY tgname)
        UNION ALL SELECT format('DROP FUNCTION IF EXISTS %I()', attached.function)
    LOOP
        RETURN NEXT statement;
        EXECUTE statement;
    END LOOP;
    FOR partition IN SELECT a.relation FROM annals_attached a JOIN pg_inherits i ON i.inhrelid = a.relation
        WHERE i.inhparent = annals_detach.relation
    LOOP
        RETURN QUERY SELECT annals_detach(partition);
    END LOOP;
END
$$;
