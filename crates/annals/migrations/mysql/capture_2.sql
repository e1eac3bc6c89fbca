-- Capture in the database, version 2: columns that are personal are marked, for the worker
-- to seal. All of this may be run again after an interruption, and the version comes last.

ALTER TABLE annals_attached ADD COLUMN IF NOT EXISTS
    personal LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '[]';

UPDATE annals_capture_head SET version = 2;
