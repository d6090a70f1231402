-- What working dead letters, retries and reconciling need.

-- The payload as it came, once somebody has edited it; and which reprocessing the letter was selected for last.
ALTER TABLE dead_letters ADD COLUMN original_payload BLOB;
ALTER TABLE dead_letters ADD COLUMN reprocess_run TEXT;
CREATE INDEX dead_letters_run ON dead_letters (reprocess_run) WHERE reprocess_run IS NOT NULL;

-- Written at every failure; SQLite adds no column whose default is the present.
ALTER TABLE event_attempts ADD COLUMN first_failed_at TEXT;

-- Since when something is known in full. An outbox row that was processed before one of these times may be missing in
-- the ledger without being lost: `ledger` rises when old ledger rows are deleted, `forgotten` is up to when they were,
-- `group:{name}` is when a group began.
CREATE TABLE horizons (
  name TEXT PRIMARY KEY,
  at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
) WITHOUT ROWID;
INSERT INTO horizons (name) VALUES ('ledger');
