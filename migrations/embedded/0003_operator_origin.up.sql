-- From where whoever did something came: an address, or nothing for somebody at a prompt.
ALTER TABLE operator_log ADD COLUMN origin TEXT;
CREATE INDEX operator_log_target ON operator_log (target);
