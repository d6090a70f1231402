//! The integration tests, in one binary: against real databases and servers that they start themselves.
//!
//! # Layout
//!
//! - [`servers`]: throwaway PostgreSQL and Redis;
//! - [`conformance`]: one suite a port, run against every adapter;
//! - [`daemon`]: the real binary against real servers;
//! - [`faults`]: the same while everything around it fails;
//! - [`deploy`]: what is deployed with it: compose file, image, rules, dashboards, runbooks, scripts.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod servers;

mod conformance;

mod daemon;

mod faults;

mod deploy;
