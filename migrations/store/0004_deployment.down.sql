DROP INDEX factline.dead_letters_dead_at;
DROP TABLE factline.deployment;
