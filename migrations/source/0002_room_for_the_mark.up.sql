-- Every row is updated once, when it is marked. With room on its page for the second version, a mark touches one page
-- instead of two, and writes less than half of the log. The price is space: rows that are kept after they were marked
-- take up to twice the pages, for new rows do not fill what the old versions leave.
ALTER TABLE outbox_events SET (fillfactor = 50);
