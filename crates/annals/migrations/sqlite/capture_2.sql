-- Capture in the database, version 2: columns that are personal are marked, for the worker
-- to seal.

ALTER TABLE annals_attached ADD COLUMN personal TEXT NOT NULL DEFAULT '[]';
