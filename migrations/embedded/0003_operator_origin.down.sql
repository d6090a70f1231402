DROP INDEX operator_log_target;
ALTER TABLE operator_log DROP COLUMN origin;
