//! Factline's daemon: adapters, configuration, commands and wiring around the pipeline.
//!
//! # Layout
//!
//! - [`config`] says how, [`app`] builds it: the adapters and the tree;
//! - the adapters: [`postgres`], [`sqlite`], [`redis`], [`extract`], and what they share: [`outbox_table`],
//!   [`records`], [`migrations`];
//! - the ways in: [`cli`], [`admin`]; what is said on the way: [`telemetry`];
//! - where tests make it fail: [`failpoints`].

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod extract;
pub mod failpoints;
pub mod migrations;
mod nul;
pub mod outbox_table;
pub mod postgres;
pub mod records;
pub mod redis;
pub mod sqlite;
pub mod telemetry;
