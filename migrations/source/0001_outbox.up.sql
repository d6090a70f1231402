-- The transactional outbox: the application inserts here in the same transaction as its data.

-- A time-ordered UUID (version 7, RFC 9562): 48 bits of milliseconds, then random bits. Ids that rise with time keep
-- the indexes that hold them dense.
CREATE FUNCTION outbox_uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
              FROM 1 FOR 6),
      52, 1), 53, 1),
    'hex')::uuid
$$;

CREATE TABLE outbox_events (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id     uuid        NOT NULL DEFAULT outbox_uuid_v7() UNIQUE,
  topic        text        NOT NULL,
  key          text        NOT NULL,
  event_type   text        NOT NULL,
  payload      jsonb       NOT NULL,
  headers      jsonb       NOT NULL DEFAULT '{}',
  occurred_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  status       text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processed', 'failed')),
  processed_at timestamptz,
  attempts     int         NOT NULL DEFAULT 0,
  error        text
);

-- All that the relay ever scans.
CREATE INDEX outbox_events_pending ON outbox_events (id) WHERE status = 'pending';
CREATE INDEX outbox_events_failed ON outbox_events (id) WHERE status = 'failed';

-- Every row is updated once soon after its insert: vacuum often, in small helpings.
ALTER TABLE outbox_events SET (
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_analyze_scale_factor = 0.02
);
