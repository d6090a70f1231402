ALTER TABLE factline.conversations RESET (fillfactor);
