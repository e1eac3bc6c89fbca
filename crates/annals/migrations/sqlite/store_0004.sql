-- The keys of the subjects whose values are sealed, each wrapped by a master key.
CREATE TABLE annals_subject_keys (
    id        BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    -- NULL once it is destroyed.
    wrapped   BLOB,
    -- Microseconds since 1970, by the store's clock.
    made_at   INTEGER NOT NULL,
    erased_at INTEGER
) STRICT;
CREATE UNIQUE INDEX annals_subject_keys_live ON annals_subject_keys (tenant, subject) WHERE erased_at IS NULL;
