//! Factline's daemon: adapters, configuration, commands and wiring around the pipeline.
//!
//! # Layout
//!
//! - [`config`] says how, [`app`] builds it: the adapters and the tree; [`reprocessing`] runs parts of it by hand;
//! - the adapters: [`postgres`], [`sqlite`], [`redis`], [`extract`], and what they share: [`outbox_table`],
//!   [`records`], [`dead_letters`], [`operator_log`], [`evidence`], [`migrations`];
//! - [`observation`]: one look at all of it, for health, metrics, `status` and `doctor`; [`health`]: the verdict on it;
//!   [`stream_users`]: which daemons use which streams;
//! - [`doctor`]: what is wrong, and what to type;
//! - [`incoming`]: events as producers send them; [`story`]: what became of one;
//! - [`verification`]: whether every event took effect once and in order;
//! - the ways in: [`cli`], [`admin`]; what is said on the way: [`telemetry`];
//! - where tests make it fail: [`failpoints`].

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod dead_letters;
pub mod doctor;
pub mod evidence;
pub mod extract;
pub mod failpoints;
pub mod health;
pub mod incoming;
pub mod migrations;
mod nul;
pub mod observation;
pub mod operator_log;
pub mod outbox_table;
pub mod postgres;
pub mod records;
pub mod redis;
pub mod reprocessing;
pub mod sqlite;
pub mod story;
pub mod stream_users;
pub mod telemetry;
pub mod trial;
pub mod verification;
