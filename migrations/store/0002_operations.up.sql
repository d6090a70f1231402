-- What working dead letters, retries and reconciling need.

-- The payload as it came, once somebody has edited it; and which reprocessing the letter was selected for last.
ALTER TABLE factline.dead_letters
  ADD COLUMN original_payload bytea,
  ADD COLUMN reprocess_run    uuid;
CREATE INDEX dead_letters_run ON factline.dead_letters (reprocess_run) WHERE reprocess_run IS NOT NULL;

ALTER TABLE factline.event_attempts
  ADD COLUMN first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- Since when something is known in full. An outbox row that was processed before one of these times may be missing in
-- the ledger without being lost: `ledger` rises when old ledger rows are deleted, `forgotten` is up to when they were,
-- `group:{name}` is when a group began.
CREATE TABLE factline.horizons (
  name text PRIMARY KEY,
  at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO factline.horizons (name) VALUES ('ledger');
