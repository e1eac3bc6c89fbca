-- Capture in the database, version 1: what the triggers on an application's own tables
-- need. They stand beside the queue (queue_1.sql). All of this may be run again after
-- an interruption, and the version comes last.

-- The attached tables, and how. Lists are JSON arrays.
CREATE TABLE IF NOT EXISTS annals_attached (
    name        VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    entity_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    excluded    LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    redacted    LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    operations  LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    -- The columns that the triggers were made for.
    columns     LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- One part of what the application said about who acts, if it is of the kind that an
-- event has there; else nothing.
DROP PROCEDURE IF EXISTS annals_capture;
DROP FUNCTION IF EXISTS annals_told;
CREATE FUNCTION annals_told(told LONGTEXT CHARACTER SET utf8mb4, part VARCHAR(32) CHARACTER SET utf8mb4, kind VARCHAR(16) CHARACTER SET utf8mb4)
RETURNS LONGTEXT CHARACTER SET utf8mb4 DETERMINISTIC NO SQL SQL SECURITY INVOKER
RETURN IF(JSON_TYPE(JSON_EXTRACT(told, CONCAT('$.', part))) = kind,
    CONCAT(',"', part, '":', JSON_EXTRACT(told, CONCAT('$.', part))), '');

-- Enqueues one event of a trigger: its fields so far, without the braces. The worker
-- reads it as it reads what annals_record took. Whoever is signed in is named beside
-- what the application said, since they cannot choose that.
CREATE PROCEDURE annals_capture(fields LONGTEXT CHARACTER SET utf8mb4, table_name VARCHAR(64) CHARACTER SET utf8mb4)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
    DECLARE now BIGINT DEFAULT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6));
    DECLARE told LONGTEXT CHARACTER SET utf8mb4 DEFAULT NULL;
    DECLARE unreadable LONGTEXT CHARACTER SET utf8mb4 DEFAULT NULL;
    -- Nothing of a session ends with its transaction: what the library told counts for
    -- a minute.
    IF @annals_context IS NOT NULL
        AND (@annals_context_at IS NULL OR @annals_context_at > UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE) THEN
        SET told = CONVERT(@annals_context USING utf8mb4);
        IF NOT JSON_VALID(told) OR OCTET_LENGTH(told) > 16384 OR JSON_TYPE(told) <> 'OBJECT' THEN
            SET unreadable = LEFT(told, 1000), told = NULL;
        END IF;
    END IF;
    INSERT INTO annals_queue (id, sent_at, raw, body) VALUES (
        UNHEX(CONCAT(LPAD(HEX(now DIV 1000), 12, '0'), '7', LPAD(HEX(now MOD 1000 * 4096 DIV 1000), 3, '0'),
            HEX(8 + FLOOR(RAND() * 4)), LEFT(SHA2(CONCAT(UUID(), RAND()), 256), 15))),
        now, TRUE,
        CONCAT('{', fields,
            IF(told IS NULL, '', CONCAT(
                annals_told(told, 'actor', 'OBJECT'), annals_told(told, 'context', 'OBJECT'),
                annals_told(told, 'tenant', 'STRING'), annals_told(told, 'subject', 'STRING'),
                annals_told(told, 'reason', 'STRING'), annals_told(told, 'tags', 'ARRAY'))),
            ',"source":"mysql","metadata":{"table":', JSON_QUOTE(table_name), ',"session_user":', JSON_QUOTE(USER()),
            IF(COALESCE(JSON_TYPE(JSON_EXTRACT(told, '$.metadata')), '') = 'OBJECT',
                CONCAT(',"told":', JSON_EXTRACT(told, '$.metadata')), ''),
            IF(unreadable IS NULL, '', CONCAT(',"unreadable_context":', JSON_QUOTE(unreadable))),
            '}}'));
END;

-- One row: which of these files made the tables.
CREATE TABLE IF NOT EXISTS annals_capture_head (
    one     INT NOT NULL PRIMARY KEY CHECK (one = 1),
    version INT NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO annals_capture_head (one, version) VALUES (1, 1);
