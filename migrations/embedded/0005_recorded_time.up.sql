-- When an event's outbox row was inserted, where that was not when it happened: what latency is measured from.
ALTER TABLE stream_entries ADD COLUMN recordedtime TEXT;
