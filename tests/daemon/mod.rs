//! The real daemon against real servers, from the outside.

mod cap;
mod command_line;
mod configuration;
mod crash;
mod custom_outbox;
mod dead_letters;
mod doctor;
mod doctor_servers;
pub(crate) mod drill;
mod embedded;
mod fleet;
mod http;
mod http_api;
mod lost_reply;
mod main_job;
mod metrics;
mod outage;
mod panics;
pub(crate) mod place;
mod poison;
mod readme;
mod reconcile;
mod signals;
pub(crate) mod stage;
mod telemetry;
mod two_daemons;
mod verify;
