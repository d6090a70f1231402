//! The failure table: what must be seen when servers, the network, the disk, the clock or the process fail, with the
//! real binary and real servers.
//!
//! # Layout
//!
//! - `scene` is a daemon under `load`, and what must be true when a fault is over;
//! - a file for each kind of fault. Those that need failpoints are there only with the feature.

mod embedded;
mod load;
mod random;
mod scene;

#[cfg(feature = "failpoints")]
mod steps;

#[cfg(feature = "failpoints")]
mod refusals;

mod kills;

mod redis;

mod postgres;

mod network;

pub(crate) mod clock;

mod inputs;

mod pressure;

mod soak;
