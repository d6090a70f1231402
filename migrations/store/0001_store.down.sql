DROP TABLE factline.operator_log;
DROP TABLE factline.leases;
DROP TABLE factline.dead_letters;
DROP TABLE factline.event_attempts;
DROP TABLE factline.conversations;
DROP TABLE factline.facts;
DROP TABLE factline.event_ledger;
