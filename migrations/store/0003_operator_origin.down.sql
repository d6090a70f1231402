DROP INDEX factline.operator_log_target;
ALTER TABLE factline.operator_log DROP COLUMN origin;
