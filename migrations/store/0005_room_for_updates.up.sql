-- A conversation is updated with every batch that has a message of it, and no index holds what changes: with room on
-- its page, the new version needs no new entry in the primary key.
ALTER TABLE factline.conversations SET (fillfactor = 50);
