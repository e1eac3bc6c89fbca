-- The MariaDB and MySQL transport, version 1. These tables may live in a database of
-- their own or beside an application's tables. The server commits at each statement
-- here: all of this may be run again after an interruption, and the version comes
-- last. Times are microseconds since 1970.

-- What waits for a worker, first in, first out. The lease stands in the row itself:
-- numbers of fixed length are changed in their place, and the body is not written
-- again. There is no other index, so that everybody meets these rows in one order,
-- that of their numbers.
CREATE TABLE IF NOT EXISTS annals_queue (
    seq      BIGINT     NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id       BINARY(16) NOT NULL,
    sent_at  BIGINT     NOT NULL,
    -- Whether the body is JSON as someone wrote it (annals_record), which is checked
    -- and encoded when it is received; the id is then what it gets if it brings none.
    raw      BOOLEAN    NOT NULL DEFAULT FALSE,
    -- Who holds it (lease is not 0), or that it waits for its retry (lease is 0),
    -- until due.
    lease    BIGINT     NOT NULL DEFAULT 0,
    due      BIGINT     NOT NULL DEFAULT 0,
    attempts INT        NOT NULL DEFAULT 0,
    body     LONGBLOB   NOT NULL,
    -- Four times what an event may have: what no worker could take out of here does
    -- not get in.
    CONSTRAINT annals_event_has_at_most_1_mib CHECK (OCTET_LENGTH(body) <= 1048576)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Events that could not be stored, whole, with the reason. Never expired.
CREATE TABLE IF NOT EXISTS annals_failed (
    number    BIGINT     NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id        BINARY(16) NOT NULL,
    raw       BOOLEAN    NOT NULL,
    body      LONGBLOB   NOT NULL,
    reason    LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    attempts  INT        NOT NULL,
    failed_at BIGINT     NOT NULL,
    KEY annals_failed_id (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Enqueues one event in the caller's own transaction: commit and it is there, roll
-- back and it is not. For any language that can run a statement:
--
--     CALL annals_record('{"action":"paid","entity":{"type":"order","id":"42"}}');
--
-- The event is a JSON object as POST /v1/events takes it. Without an id, or an id of
-- another kind in source_id, it gets a new one, and without a time the time of the
-- call. What no worker could ever take is refused here; what else is wrong with it is
-- found by the worker, and goes to failed. A procedure, since a server with a binary
-- log lets only its administrators make functions that write.
DROP PROCEDURE IF EXISTS annals_record;
CREATE PROCEDURE annals_record(event LONGTEXT CHARACTER SET utf8mb4)
MODIFIES SQL DATA SQL SECURITY INVOKER
BEGIN
    DECLARE now BIGINT DEFAULT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6));
    IF event IS NULL OR NOT JSON_VALID(event) OR JSON_TYPE(event) <> 'OBJECT' THEN
        SIGNAL SQLSTATE '22023' SET MESSAGE_TEXT = 'annals_record: expected a JSON object';
    END IF;
    IF OCTET_LENGTH(event) > 1048576 THEN
        SIGNAL SQLSTATE '22023'
            SET MESSAGE_TEXT = 'annals_record: the event is over the limit of 1048576 bytes';
    END IF;
    IF COALESCE(JSON_TYPE(JSON_EXTRACT(event, '$.action')) <> 'STRING', TRUE)
        OR COALESCE(JSON_TYPE(JSON_EXTRACT(event, '$.entity')) <> 'OBJECT', TRUE) THEN
        SIGNAL SQLSTATE '22023' SET MESSAGE_TEXT =
            'annals_record: an event needs an action and an entity, such as {"action":"paid","entity":{"type":"order"}}';
    END IF;
    -- A UUIDv7 (RFC 9562, section 5.7): milliseconds, the version, the fraction of the
    -- millisecond, the variant, and what nobody else has.
    INSERT INTO annals_queue (id, sent_at, raw, body) VALUES (
        UNHEX(CONCAT(LPAD(HEX(now DIV 1000), 12, '0'), '7', LPAD(HEX(now MOD 1000 * 4096 DIV 1000), 3, '0'),
            HEX(8 + FLOOR(RAND() * 4)), LEFT(SHA2(CONCAT(UUID(), RAND()), 256), 15))),
        now, TRUE, event);
END;

-- Acknowledges the events that are still held under receipts, `[[number, lease], …]`
-- in order of their numbers.
DROP PROCEDURE IF EXISTS annals_acknowledge;
CREATE PROCEDURE annals_acknowledge(receipts LONGTEXT CHARACTER SET utf8mb4)
MODIFIES SQL DATA SQL SECURITY INVOKER
DELETE q FROM JSON_TABLE(receipts, '$[*]' COLUMNS (seq BIGINT PATH '$[0]', lease BIGINT PATH '$[1]')) r
    STRAIGHT_JOIN annals_queue q FORCE INDEX (PRIMARY) ON q.seq = r.seq AND q.lease = r.lease;

-- One row: which of these files made the tables.
CREATE TABLE IF NOT EXISTS annals_queue_head (
    one     INT NOT NULL PRIMARY KEY CHECK (one = 1),
    version INT NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO annals_queue_head (one, version) VALUES (1, 1);
