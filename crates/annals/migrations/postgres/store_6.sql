-- The PostgreSQL store, version 6: who may use the server. What an entry says, and what
-- signs it, is not the database's to know.
CREATE TABLE annals_access (
    kind     text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    -- Greater than that of all writes before.
    revision bigint NOT NULL UNIQUE,
    body     text COLLATE "C" NOT NULL,
    mac      bytea NOT NULL CHECK (octet_length(mac) = 32),
    PRIMARY KEY (kind, id)
);

-- The last revision: whoever writes locks it until the end, so that revisions become
-- visible in their order.
CREATE TABLE annals_access_head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);
INSERT INTO annals_access_head (revision) VALUES (0);

UPDATE annals_store_meta SET value = '6' WHERE key = 'schema';
