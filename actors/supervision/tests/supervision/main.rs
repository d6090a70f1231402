//! The supervisor with real actors, in virtual time wherever one thread is enough.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

mod start;

mod stop;

mod restart;

mod strategies;

mod escalation;

mod significant;

mod mailbox;

mod liveness;

mod placement;

mod control;

mod observe;

mod log;
