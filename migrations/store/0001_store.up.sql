-- Factline's own tables. The schema itself is made, and kept, by whoever runs the migrations.

-- One row an event and group: what makes every effect happen once.
CREATE TABLE factline.event_ledger (
  consumer_group text        NOT NULL,
  event_id       uuid        NOT NULL,
  topic          text        NOT NULL,
  partition      int,
  position       text,
  event_type     text        NOT NULL,
  outcome        text        NOT NULL CHECK (outcome IN ('processed', 'dead_lettered', 'discarded')),
  facts          int         NOT NULL,
  attempts       int         NOT NULL DEFAULT 1,
  occurred_at    timestamptz,
  processed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  traceparent    text,
  PRIMARY KEY (consumer_group, event_id)
);
CREATE INDEX event_ledger_processed_at ON factline.event_ledger USING brin (processed_at);

CREATE TABLE factline.facts (
  id                uuid PRIMARY KEY,
  -- What makes two statements the same fact, hashed: see Fact::identity.
  identity          uuid        NOT NULL,
  subject           text        NOT NULL,
  predicate         text        NOT NULL,
  object            text        NOT NULL,
  confidence        real        NOT NULL,
  valid_from        timestamptz NOT NULL,
  valid_to          timestamptz,
  recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  superseded_by     uuid,
  event_id          uuid        NOT NULL,
  conversation_id   text        NOT NULL,
  message_id        text        NOT NULL,
  quote             text        NOT NULL,
  span_start        int         NOT NULL,
  span_end          int         NOT NULL,
  extractor         text        NOT NULL,
  extractor_version smallint    NOT NULL
);
-- One row for each fact that no newer value has replaced: a repeated one meets it.
CREATE UNIQUE INDEX facts_current ON factline.facts (identity) WHERE superseded_by IS NULL;
CREATE INDEX facts_subject ON factline.facts (subject, predicate);
CREATE INDEX facts_event ON factline.facts (event_id);

CREATE TABLE factline.conversations (
  conversation_id text PRIMARY KEY,
  title           text,
  title_source    text,
  message_count   bigint      NOT NULL,
  checksum        bigint      NOT NULL,
  watermark_ms    bigint      NOT NULL,
  updated_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE factline.event_attempts (
  consumer_group  text        NOT NULL,
  event_id        text        NOT NULL,
  attempts        int         NOT NULL DEFAULT 0,
  suspect_count   int         NOT NULL DEFAULT 0,
  last_error      text,
  next_attempt_at timestamptz,
  PRIMARY KEY (consumer_group, event_id)
);

CREATE TABLE factline.dead_letters (
  id              uuid PRIMARY KEY,
  consumer_group  text        NOT NULL,
  stage           text        NOT NULL,
  event_id        text        NOT NULL,
  topic           text        NOT NULL,
  partition       int,
  position        text,
  key             text,
  event_type      text,
  payload         bytea       NOT NULL,
  headers         jsonb       NOT NULL DEFAULT '{}',
  error_kind      text        NOT NULL,
  error           text        NOT NULL,
  fingerprint     text        NOT NULL,
  attempts        int         NOT NULL DEFAULT 1,
  first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  dead_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  status          text        NOT NULL DEFAULT 'open'
                  CHECK (status IN ('open', 'reprocessing', 'resolved', 'discarded')),
  resolved_by     text,
  resolved_at     timestamptz,
  note            text
);
CREATE INDEX dead_letters_open ON factline.dead_letters (dead_at) WHERE status = 'open';
-- A hash, for an id may be longer than what a btree takes.
CREATE INDEX dead_letters_event ON factline.dead_letters USING hash (event_id);

CREATE TABLE factline.leases (
  name       text PRIMARY KEY,
  holder     text        NOT NULL,
  token      bigint      NOT NULL,
  expires_at timestamptz NOT NULL
);

CREATE TABLE factline.operator_log (
  id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  who    text        NOT NULL,
  action text        NOT NULL,
  target text        NOT NULL,
  detail jsonb       NOT NULL DEFAULT '{}'
);
