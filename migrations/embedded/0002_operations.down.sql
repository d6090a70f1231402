DROP TABLE horizons;
ALTER TABLE event_attempts DROP COLUMN first_failed_at;
DROP INDEX dead_letters_run;
ALTER TABLE dead_letters DROP COLUMN reprocess_run;
ALTER TABLE dead_letters DROP COLUMN original_payload;
