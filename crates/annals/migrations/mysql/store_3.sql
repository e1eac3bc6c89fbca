-- The MariaDB and MySQL store, version 3: removals are listed and signed,
-- and holds keep events from being removed. May be run again after an interruption, as version 1.

-- What was removed: which positions the event of a removal tells of, in parts, one after
-- the other (crate::log::Positions).
CREATE TABLE IF NOT EXISTS annals_removals (
    event     BINARY(16) NOT NULL,
    part      INT        NOT NULL,
    positions MEDIUMBLOB NOT NULL,
    PRIMARY KEY (event, part)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What the log's key signed of it (crate::log::Removal): a signed note.
CREATE TABLE IF NOT EXISTS annals_removal_notes (
    event BINARY(16) NOT NULL PRIMARY KEY,
    note  MEDIUMBLOB NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Legal holds: what fits one, in all that it names, is neither pruned nor erased. The
-- event of that id tells of it. Times are microseconds since 1970.
CREATE TABLE IF NOT EXISTS annals_holds (
    id          BINARY(16)      NOT NULL PRIMARY KEY,
    tenant      VARBINARY(255),
    entity_type VARBINARY(255),
    entity_id   VARBINARY(255),
    actor_type  VARBINARY(255),
    actor_id    VARBINARY(255),
    reason      VARBINARY(4096) NOT NULL,
    placed_at   BIGINT          NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- As before; and what a hold covers stays as well, for which the month is read once if
-- there are any.
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
        COMMIT;
    END IF;
    DO RELEASE_LOCK(CONCAT('annals.prune.', MD5(DATABASE())));
END;

UPDATE annals_store_meta SET value = '3' WHERE name = 'schema';
