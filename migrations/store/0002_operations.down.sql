DROP TABLE factline.horizons;
ALTER TABLE factline.event_attempts DROP COLUMN first_failed_at;
DROP INDEX factline.dead_letters_run;
ALTER TABLE factline.dead_letters DROP COLUMN original_payload, DROP COLUMN reprocess_run;
