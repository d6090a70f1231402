-- Every row is updated once, when it is marked. With room on its page for the second version, a mark touches one page
-- instead of two, and writes a third of the log. It costs no space: the second version would only stand elsewhere.
ALTER TABLE outbox_events SET (fillfactor = 50);
