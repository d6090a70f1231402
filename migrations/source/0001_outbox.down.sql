DROP TABLE outbox_events;
DROP FUNCTION outbox_uuid_v7();
