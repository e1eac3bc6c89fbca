-- The MariaDB and MySQL store, version 1. Every name begins with annals_, so that a
-- store may live beside other tables. The server commits at each statement here: all
-- of this may be run again after an interruption, and the version comes last. Times
-- are microseconds since 1970. Texts are bytes, in UTF-8: they are compared byte by
-- byte, and a space at their end counts.

-- Facts about the store itself: `schema`, the number of the last migration, and
-- `uuid`, which the origin of its log ends with.
CREATE TABLE IF NOT EXISTS annals_store_meta (
    name  VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO annals_store_meta (name, value) VALUES ('uuid', UUID());

-- The events, by time, since their ids begin with it. `body` holds their exact bytes
-- and is never rewritten; the other columns are an index over it. A partition a month,
-- made long ahead; what is before the store's first month lies in `past`, and what is
-- beyond the last that was made in `future`.
CREATE TABLE IF NOT EXISTS annals_events (
    id          BINARY(16)     NOT NULL,
    -- By the producer's clock. By the store's: annals_appends.
    occurred_at BIGINT         NOT NULL,
    -- Which append brought it, and its place in that append: annals_appends gives the
    -- position in the log.
    append      BIGINT         NOT NULL,
    place       INT            NOT NULL,
    -- What the leaf's commitment is salted with; goes when the event is pruned.
    salt        BINARY(32)     NOT NULL,
    action      VARBINARY(255) NOT NULL,
    outcome     VARBINARY(255) NOT NULL,
    entity_type VARBINARY(255) NOT NULL,
    entity_id   VARBINARY(255),
    actor_type  VARBINARY(255),
    actor_id    VARBINARY(255),
    tenant      VARBINARY(255),
    request_id  VARBINARY(255),
    body        LONGBLOB       NOT NULL,
    PRIMARY KEY (id),
    KEY annals_events_entity (entity_type, entity_id, id),
    KEY annals_events_actor (actor_id, id),
    KEY annals_events_tenant (tenant, id),
    -- For those who read by position.
    KEY annals_events_append (append)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
PARTITION BY RANGE COLUMNS (id) (PARTITION future VALUES LESS THAN (MAXVALUE));

-- One row an append: the events of `number` have the positions from `first` on, by
-- place. Their ids lie from `lowest` to `highest`.
CREATE TABLE IF NOT EXISTS annals_appends (
    number      BIGINT     NOT NULL PRIMARY KEY,
    first       BIGINT     NOT NULL,
    events      INT        NOT NULL,
    appended_at BIGINT     NOT NULL,
    lowest      BINARY(16) NOT NULL,
    highest     BINARY(16) NOT NULL,
    UNIQUE KEY annals_appends_first (first)
) ENGINE = InnoDB;

-- Numbers of appends, given out in blocks, since an append has its number before it
-- has its place.
CREATE TABLE IF NOT EXISTS annals_append_blocks (
    one  INT    NOT NULL PRIMARY KEY CHECK (one = 1),
    next BIGINT NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO annals_append_blocks (one, next) VALUES (1, 0);

-- What pruning leaves behind: an event's id, and what its leaf commits to.
CREATE TABLE IF NOT EXISTS annals_tombstones (
    id         BINARY(16) NOT NULL PRIMARY KEY,
    position   BIGINT     NOT NULL,
    commitment BINARY(32) NOT NULL,
    UNIQUE KEY annals_tombstones_position (position)
) ENGINE = InnoDB;

-- Months that pruning took out of the events as a whole. From the moment a month is
-- listed, no event of its time is taken any more. What went with it has no tombstones:
-- its leaves are in the log's tiles.
CREATE TABLE IF NOT EXISTS annals_dropped (
    -- The first id after it, and the first in it.
    upper      BINARY(16) NOT NULL PRIMARY KEY,
    lower      BINARY(16) NOT NULL,
    -- The partition's name.
    name       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- What goes with it, once that is counted.
    events     BIGINT,
    bytes      BIGINT,
    -- When it had gone, and the head's figures said so. One at a time has none yet.
    dropped_at BIGINT
) ENGINE = InnoDB;

-- The Merkle log, as tiles of C2SP tlog-tiles: up to 256 hashes of 32 bytes, one after
-- the other. A tile that is not full is replaced by its longer self.
CREATE TABLE IF NOT EXISTS annals_log_tiles (
    level  TINYINT         NOT NULL,
    idx    BIGINT          NOT NULL,
    hashes VARBINARY(8192) NOT NULL,
    PRIMARY KEY (level, idx)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- One row: the log's size, and how many events and bytes of events are there. Who
-- appends or prunes locks it.
CREATE TABLE IF NOT EXISTS annals_log_head (
    one    INT    NOT NULL PRIMARY KEY CHECK (one = 1),
    size   BIGINT NOT NULL,
    events BIGINT NOT NULL,
    bytes  BIGINT NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO annals_log_head (one, size, events, bytes) VALUES (1, 0, 0, 0);

-- Makes the months up to three years ahead, once less than one year of them is left, and
-- for the empty table. Nobody calls it while events come in: a server that is killed while
-- it changes the partitions of a table may lose the table, or what was to be moved from
-- one partition to another (seen on MariaDB 10.11, in one of 60 such kills). So nothing is
-- ever moved: events that lie in `future` are in the way, and all is left as it is.
DROP PROCEDURE IF EXISTS annals_make_months;
CREATE PROCEDURE annals_make_months(OUT in_the_way BOOLEAN)
MODIFIES SQL DATA SQL SECURITY INVOKER
BEGIN
    DECLARE this, next, newest DATE;
    DECLARE made LONGTEXT CHARACTER SET ascii DEFAULT '';
    SET this = DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-01');
    SET newest = (SELECT MAX(STR_TO_DATE(CONCAT(SUBSTR(p.partition_name, 2), '_01'), '%Y_%m_%d'))
        FROM information_schema.partitions p
        WHERE p.table_schema = DATABASE() AND p.table_name = 'annals_events'
            AND p.partition_name REGEXP '^m[0-9]{4}_[0-9]{2}$');
    SET next = COALESCE(newest + INTERVAL 1 MONTH, this);
    SET in_the_way = FALSE;
    IF newest IS NULL OR newest < this + INTERVAL 12 MONTH THEN
        SET in_the_way = EXISTS (SELECT 1 FROM annals_events PARTITION (future));
    ELSE
        SET next = NULL;
    END IF;
    IF next IS NOT NULL AND NOT in_the_way THEN
        IF newest IS NULL THEN
            SET made = CONCAT('PARTITION past VALUES LESS THAN (X''',
                LPAD(HEX(TIMESTAMPDIFF(SECOND, '1970-01-01', this) * 1000), 12, '0'), REPEAT('0', 20), '''), ');
        END IF;
        WHILE next <= this + INTERVAL 36 MONTH DO
            SET made = CONCAT(made, 'PARTITION ', DATE_FORMAT(next, 'm%Y_%m'), ' VALUES LESS THAN (X''',
                LPAD(HEX(TIMESTAMPDIFF(SECOND, '1970-01-01', next + INTERVAL 1 MONTH) * 1000), 12, '0'),
                REPEAT('0', 20), '''), ');
            SET next = next + INTERVAL 1 MONTH;
        END WHILE;
        SET @annals_step = CONCAT('ALTER TABLE annals_events REORGANIZE PARTITION future INTO (', made,
            'PARTITION future VALUES LESS THAN (MAXVALUE))');
        PREPARE annals_step FROM @annals_step;
        EXECUTE annals_step;
        DEALLOCATE PREPARE annals_step;
    END IF;
END;

-- Takes the month that is listed and counted out of the events, and answers what went
-- with it; nothing if there is none, or somebody else was faster. Each statement that
-- changes a table is a commit, so that this may end between any two of them: whoever
-- calls it next goes on from there.
--
-- The month's rows change places with those of a table that holds only the events
-- which tell of removals. That is one step, and cheap however many there are: so no
-- reader misses an event that stays. One caller at a time, since rows that change
-- places twice are back again.
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
        SET @annals_step = CONCAT('SELECT EXISTS (SELECT 1 FROM annals_events PARTITION (', going, ')
            WHERE NOT (entity_type = ''store'' AND entity_id IS NULL AND action = ''annals.pruned'')) INTO @annals_there');
        PREPARE annals_step FROM @annals_step;
        EXECUTE annals_step;
        -- Else it has gone, and nobody came to say so.
        IF @annals_there THEN
            DROP TABLE IF EXISTS annals_events_gone;
            CREATE TABLE annals_events_gone LIKE annals_events;
            ALTER TABLE annals_events_gone REMOVE PARTITIONING;
            SET @annals_step = CONCAT('INSERT INTO annals_events_gone SELECT * FROM annals_events PARTITION (', going, ')
                FORCE INDEX (annals_events_entity)
                WHERE entity_type = ''store'' AND entity_id IS NULL AND action = ''annals.pruned''');
            PREPARE annals_step FROM @annals_step;
            EXECUTE annals_step;
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

-- The events for people and their SQL.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW annals_trail AS
    SELECT a.first + e.place AS position,
        INSERT(INSERT(INSERT(INSERT(LOWER(HEX(e.id)), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-') AS id,
        TIMESTAMPADD(MICROSECOND, e.occurred_at, '1970-01-01') AS occurred_at,
        TIMESTAMPADD(MICROSECOND, a.appended_at, '1970-01-01') AS appended_at,
        CONVERT(e.action USING utf8mb4) AS action, CONVERT(e.outcome USING utf8mb4) AS outcome,
        CONVERT(e.entity_type USING utf8mb4) AS entity_type, CONVERT(e.entity_id USING utf8mb4) AS entity_id,
        CONVERT(e.actor_type USING utf8mb4) AS actor_type, CONVERT(e.actor_id USING utf8mb4) AS actor_id,
        JSON_UNQUOTE(JSON_EXTRACT(CONVERT(e.body USING utf8mb4), '$.actor.name')) AS actor_name,
        CONVERT(e.tenant USING utf8mb4) AS tenant, CONVERT(e.request_id USING utf8mb4) AS request_id,
        JSON_UNQUOTE(JSON_EXTRACT(CONVERT(e.body USING utf8mb4), '$.reason')) AS reason,
        JSON_EXTRACT(CONVERT(e.body USING utf8mb4), '$.old_values') AS old_values,
        JSON_EXTRACT(CONVERT(e.body USING utf8mb4), '$.new_values') AS new_values,
        CONVERT(e.body USING utf8mb4) AS event
    FROM annals_events e JOIN annals_appends a ON a.number = e.append;

CALL annals_make_months(@annals_in_the_way);

INSERT IGNORE INTO annals_store_meta (name, value) VALUES ('schema', '1');
