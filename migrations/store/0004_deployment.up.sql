-- What observing a deployment needs.

-- Tells this store from all others: whoever is asked says which one it works on. One row, made here.
CREATE TABLE factline.deployment (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid()
);
INSERT INTO factline.deployment DEFAULT VALUES;

-- Dead letters of late are counted without looking at the others.
CREATE INDEX dead_letters_dead_at ON factline.dead_letters (dead_at);
