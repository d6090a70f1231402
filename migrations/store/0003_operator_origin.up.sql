-- From where whoever did something came: an address, or nothing for somebody at a prompt.
ALTER TABLE factline.operator_log ADD COLUMN origin text;
CREATE INDEX operator_log_target ON factline.operator_log (target);
