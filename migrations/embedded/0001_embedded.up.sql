-- Everything in one file: the outbox, the stream and the store. Times are RFC 3339 text in UTC with microseconds, so
-- that they sort; UUIDs are hyphenated text.

-- The transactional outbox: the application inserts here in the same transaction as its data.
CREATE TABLE outbox_events (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  -- A time-ordered UUID (version 7, RFC 9562): 48 bits of milliseconds, then random bits.
  event_id     TEXT NOT NULL UNIQUE COLLATE NOCASE DEFAULT (
    substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 1, 8) || '-' ||
    substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 9, 4) || '-7' ||
    substr(lower(hex(randomblob(2))), 2) || '-' ||
    substr('89ab', 1 + (random() & 3), 1) || substr(lower(hex(randomblob(2))), 2) || '-' ||
    lower(hex(randomblob(6)))
  ),
  topic        TEXT NOT NULL,
  key          TEXT NOT NULL,
  event_type   TEXT NOT NULL,
  payload      TEXT NOT NULL CHECK (json_valid(payload)),
  headers      TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(headers)),
  occurred_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  status       TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processed', 'failed')),
  processed_at TEXT,
  attempts     INTEGER NOT NULL DEFAULT 0,
  error        TEXT
);

-- All that the relay ever scans.
CREATE INDEX outbox_events_pending ON outbox_events (id) WHERE status = 'pending';
CREATE INDEX outbox_events_failed ON outbox_events (id) WHERE status = 'failed';

-- What every process has to agree on before it uses the stream.
CREATE TABLE stream_meta (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;

-- The streams of all topics: a column for each CloudEvents attribute. Another program may append too, so nothing is
-- asked of the attributes here; the reader judges them. An entry's number is never used again.
CREATE TABLE stream_entries (
  entry           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (entry > 0),
  topic           TEXT    NOT NULL,
  partition       INTEGER NOT NULL,
  specversion     TEXT,
  id              TEXT,
  source          TEXT,
  type            TEXT,
  subject         TEXT,
  time            TEXT,
  datacontenttype TEXT,
  partitionkey    TEXT,
  sequence        TEXT,
  traceparent     TEXT,
  tracestate      TEXT,
  data            BLOB,
  appended_at     TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
);
CREATE INDEX stream_entries_partition ON stream_entries (topic, partition, entry);

-- How long each partition is, so that nobody has to count; it stays when its last entry goes.
CREATE TABLE stream_partitions (
  topic     TEXT    NOT NULL,
  partition INTEGER NOT NULL,
  length    INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

CREATE TRIGGER stream_entries_appended AFTER INSERT ON stream_entries BEGIN
  INSERT INTO stream_partitions (topic, partition, length) VALUES (new.topic, new.partition, 1)
  ON CONFLICT (topic, partition) DO UPDATE SET length = length + 1;
END;

CREATE TRIGGER stream_entries_deleted AFTER DELETE ON stream_entries BEGIN
  UPDATE stream_partitions SET length = length - 1 WHERE topic = old.topic AND partition = old.partition;
END;

-- Up to where each group has been given the entries of a partition.
CREATE TABLE stream_groups (
  group_name     TEXT    NOT NULL,
  topic          TEXT    NOT NULL,
  partition      INTEGER NOT NULL,
  last_delivered INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;

-- Entries that were delivered and not acknowledged.
CREATE TABLE stream_pending (
  group_name   TEXT    NOT NULL,
  topic        TEXT    NOT NULL,
  partition    INTEGER NOT NULL,
  entry        INTEGER NOT NULL,
  consumer     TEXT    NOT NULL,
  delivered_at TEXT    NOT NULL,
  deliveries   INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (group_name, topic, partition, entry)
) WITHOUT ROWID;

-- One row an event and group: what makes every effect happen once. As in PostgreSQL, text with a NUL is refused:
-- SQLite would keep it, but most of its functions would stop there.
CREATE TABLE event_ledger (
  consumer_group TEXT    NOT NULL,
  event_id       TEXT    NOT NULL,
  topic          TEXT    NOT NULL,
  partition      INTEGER,
  position       TEXT,
  event_type     TEXT    NOT NULL,
  outcome        TEXT    NOT NULL CHECK (outcome IN ('processed', 'dead_lettered', 'discarded')),
  facts          INTEGER NOT NULL,
  attempts       INTEGER NOT NULL DEFAULT 1,
  occurred_at    TEXT,
  processed_at   TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  traceparent    TEXT,
  PRIMARY KEY (consumer_group, event_id),
  CHECK (instr(topic || event_type || coalesce(traceparent, ''), char(0)) = 0)
);

CREATE TABLE facts (
  id                TEXT PRIMARY KEY,
  -- What makes two statements the same fact, hashed: see Fact::identity.
  identity          TEXT    NOT NULL,
  subject           TEXT    NOT NULL,
  predicate         TEXT    NOT NULL,
  object            TEXT    NOT NULL,
  confidence        REAL    NOT NULL,
  valid_from        TEXT    NOT NULL,
  valid_to          TEXT,
  recorded_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  superseded_by     TEXT,
  event_id          TEXT    NOT NULL,
  conversation_id   TEXT    NOT NULL,
  message_id        TEXT    NOT NULL,
  quote             TEXT    NOT NULL,
  span_start        INTEGER NOT NULL,
  span_end          INTEGER NOT NULL,
  extractor         TEXT    NOT NULL,
  extractor_version INTEGER NOT NULL,
  CHECK (instr(subject || predicate || object || conversation_id || message_id || quote, char(0)) = 0)
);
-- One row for each fact that no newer value has replaced: a repeated one meets it.
CREATE UNIQUE INDEX facts_current ON facts (identity) WHERE superseded_by IS NULL;
CREATE INDEX facts_subject ON facts (subject, predicate);
CREATE INDEX facts_event ON facts (event_id);

CREATE TABLE conversations (
  conversation_id TEXT PRIMARY KEY CHECK (instr(conversation_id, char(0)) = 0),
  title           TEXT CHECK (instr(title, char(0)) = 0),
  title_source    TEXT,
  message_count   INTEGER NOT NULL,
  checksum        INTEGER NOT NULL,
  watermark_ms    INTEGER NOT NULL,
  updated_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
);

CREATE TABLE event_attempts (
  consumer_group  TEXT    NOT NULL,
  event_id        TEXT    NOT NULL,
  attempts        INTEGER NOT NULL DEFAULT 0,
  suspect_count   INTEGER NOT NULL DEFAULT 0,
  last_error      TEXT,
  next_attempt_at TEXT,
  PRIMARY KEY (consumer_group, event_id)
);

CREATE TABLE dead_letters (
  id              TEXT PRIMARY KEY,
  consumer_group  TEXT    NOT NULL,
  stage           TEXT    NOT NULL,
  event_id        TEXT    NOT NULL,
  topic           TEXT    NOT NULL,
  partition       INTEGER,
  position        TEXT,
  key             TEXT,
  event_type      TEXT,
  payload         BLOB    NOT NULL,
  headers         TEXT    NOT NULL DEFAULT '{}',
  error_kind      TEXT    NOT NULL,
  error           TEXT    NOT NULL,
  fingerprint     TEXT    NOT NULL,
  attempts        INTEGER NOT NULL DEFAULT 1,
  first_failed_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  dead_at         TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  status          TEXT    NOT NULL DEFAULT 'open'
                  CHECK (status IN ('open', 'reprocessing', 'resolved', 'discarded')),
  resolved_by     TEXT,
  resolved_at     TEXT,
  note            TEXT
);
CREATE INDEX dead_letters_open ON dead_letters (dead_at) WHERE status = 'open';
CREATE INDEX dead_letters_event ON dead_letters (event_id);

CREATE TABLE leases (
  name       TEXT PRIMARY KEY,
  holder     TEXT    NOT NULL,
  token      INTEGER NOT NULL,
  expires_at TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TABLE operator_log (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at     TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
  who    TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '{}'
);
