-- The MariaDB and MySQL store, version 6: counts of events by day and tenant, in parts that
-- add up. What a part says is not the database's to know. May be run again after an
-- interruption, as version 1.
CREATE TABLE IF NOT EXISTS annals_rollups (
    id     BIGINT NOT NULL PRIMARY KEY,
    -- Since 1970-01-01, in UTC.
    day    INT NOT NULL,
    tenant VARBINARY(255) NULL,
    -- How much there is to it.
    cells  BIGINT NOT NULL,
    body   LONGBLOB NOT NULL,
    KEY annals_rollups_day (day, id, tenant, cells)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Events below the position are counted; the id of the next part is greater than all before.
CREATE TABLE IF NOT EXISTS annals_rollup_head (
    one       TINYINT NOT NULL PRIMARY KEY,
    position  BIGINT NOT NULL,
    next_part BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT IGNORE INTO annals_rollup_head (one, position, next_part) VALUES (1, 0, 1);

-- Days from which events were removed: they are to be counted anew. Whoever removes marks
-- them, in the same transaction.
CREATE TABLE IF NOT EXISTS annals_rollup_stale (
    day  INT NOT NULL PRIMARY KEY,
    mark BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- As before; and the days of a month that has gone are marked.
DROP PROCEDURE IF EXISTS annals_drop_partition;
CREATE PROCEDURE annals_drop_partition(OUT dropped_events BIGINT, OUT dropped_bytes BIGINT)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
    DECLARE going VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        ROLLBACK;
        DO RELEASE_LOCK(CONCAT('annals.prune.', MD5(DATABASE())));
        RESIGNAL;
    END;
    IF COALESCE(GET_LOCK(CONCAT('annals.prune.', MD5(DATABASE())), 10), 0) <> 1 THEN
        SIGNAL SQLSTATE 'AN003' SET MESSAGE_TEXT = 'annals_drop_partition: another prune is at it';
    END IF;
    -- The name becomes part of a statement.
    SET going = (SELECT d.name FROM annals_dropped d
        WHERE d.dropped_at IS NULL AND d.events IS NOT NULL AND d.name REGEXP '^m[0-9]{4}_[0-9]{2}$' LIMIT 1);
    IF going IS NOT NULL THEN
        SET @annals_there = FALSE;
        SET @annals_step = CONCAT('SELECT EXISTS (SELECT 1 FROM annals_events PARTITION (', going, ') e
            WHERE NOT (e.entity_type = ''store'' AND e.entity_id IS NULL AND e.action = ''annals.pruned'')
                AND NOT EXISTS (SELECT 1 FROM annals_holds h
                WHERE (h.tenant IS NULL OR h.tenant = e.tenant)
                    AND (h.entity_type IS NULL OR h.entity_type = e.entity_type)
                    AND (h.entity_id IS NULL OR h.entity_id = e.entity_id)
                    AND (h.actor_type IS NULL OR h.actor_type = e.actor_type)
                    AND (h.actor_id IS NULL OR h.actor_id = e.actor_id))) INTO @annals_there');
        PREPARE annals_step FROM @annals_step;
        EXECUTE annals_step;
        -- Else it has gone, and nobody came to say so.
        IF @annals_there THEN
            DROP TABLE IF EXISTS annals_events_gone;
            CREATE TABLE annals_events_gone LIKE annals_events;
            ALTER TABLE annals_events_gone REMOVE PARTITIONING;
            SET @annals_step = CONCAT('INSERT INTO annals_events_gone SELECT * FROM annals_events PARTITION (', going, ') e
                FORCE INDEX (annals_events_entity)
                WHERE e.entity_type = ''store'' AND e.entity_id IS NULL AND e.action = ''annals.pruned''');
            PREPARE annals_step FROM @annals_step;
            EXECUTE annals_step;
            IF EXISTS (SELECT 1 FROM annals_holds) THEN
                SET @annals_step = CONCAT('INSERT IGNORE INTO annals_events_gone SELECT e.*
                    FROM annals_events PARTITION (', going, ') e WHERE EXISTS (SELECT 1 FROM annals_holds h
                        WHERE (h.tenant IS NULL OR h.tenant = e.tenant)
                            AND (h.entity_type IS NULL OR h.entity_type = e.entity_type)
                            AND (h.entity_id IS NULL OR h.entity_id = e.entity_id)
                            AND (h.actor_type IS NULL OR h.actor_type = e.actor_type)
                            AND (h.actor_id IS NULL OR h.actor_id = e.actor_id))');
                PREPARE annals_step FROM @annals_step;
                EXECUTE annals_step;
            END IF;
            COMMIT;
            SET @annals_step = CONCAT('ALTER TABLE annals_events EXCHANGE PARTITION ', going,
                ' WITH TABLE annals_events_gone');
            PREPARE annals_step FROM @annals_step;
            EXECUTE annals_step;
        END IF;
        DEALLOCATE PREPARE annals_step;
        DROP TABLE IF EXISTS annals_events_gone;
        START TRANSACTION;
        SELECT d.events, d.bytes INTO dropped_events, dropped_bytes FROM annals_dropped d WHERE d.name = going;
        UPDATE annals_log_head SET events = events - dropped_events, bytes = bytes - dropped_bytes;
        UPDATE annals_dropped SET dropped_at = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
            WHERE name = going;
        -- The first 48 bits of an id are its milliseconds.
        INSERT INTO annals_rollup_stale (day, mark)
            WITH RECURSIVE days (day, beyond) AS (
                SELECT CAST(CONV(HEX(LEFT(d.lower, 6)), 16, 10) AS SIGNED) DIV 86400000,
                    CAST(CONV(HEX(LEFT(d.upper, 6)), 16, 10) AS SIGNED) DIV 86400000
                FROM annals_dropped d WHERE d.name = going
                UNION ALL SELECT n.day + 1, n.beyond FROM days n WHERE n.day + 1 < n.beyond
            ) SELECT n.day, 1 FROM days n
            ON DUPLICATE KEY UPDATE mark = annals_rollup_stale.mark + 1;
        COMMIT;
    END IF;
    DO RELEASE_LOCK(CONCAT('annals.prune.', MD5(DATABASE())));
END;

UPDATE annals_store_meta SET value = '6' WHERE name = 'schema';
