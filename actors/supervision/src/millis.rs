//! Times as whole milliseconds in JSON: spans, and points in time since 1970.

use std::time::{Duration, SystemTime};

use serde::{Serialize as _, Serializer};

pub(crate) fn span<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    of(*time).serialize(to)
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
pub(crate) fn maybe_span<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(of).serialize(to)
}

pub(crate) fn since_1970<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    of_point(*time).serialize(to)
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
pub(crate) fn maybe_since_1970<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.map(of_point).serialize(to)
}

fn of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn of_point(time: SystemTime) -> u64 {
    of(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
