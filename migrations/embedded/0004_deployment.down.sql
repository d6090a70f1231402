DROP INDEX dead_letters_dead_at;
DROP TABLE deployment;
