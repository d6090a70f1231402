-- What observing a deployment needs.

-- Tells this file from all others: whoever is asked says which one it works on. One row, made here.
CREATE TABLE deployment (
  id TEXT PRIMARY KEY
) WITHOUT ROWID;
INSERT INTO deployment (id) VALUES (
  lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a' ||
        substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))
);

-- Dead letters of late are counted without looking at the others.
CREATE INDEX dead_letters_dead_at ON dead_letters (dead_at);
