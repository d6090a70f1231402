//! Reading the times that producers really send.
//!
//! A JavaScript producer writes `Date.now() / 1000`, a Python one `time.time()`, a careful one RFC 3339. All of
//! them are times; refusing one of them once took a whole pipeline down.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// From this absolute value on a bare number counts milliseconds, below it seconds.
///
/// As seconds it is the year 5138; as milliseconds it is March 1973. Neither end is met in practice.
const FIRST_MILLISECOND_VALUE: f64 = 100_000_000_000.0;

/// Why a value is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is neither RFC 3339 nor a number.
    #[error("not a time: {0:?}; use RFC 3339 or Unix seconds or milliseconds")]
    NotATime(String),
    /// The number lies outside the calendar.
    #[error("time out of range: {0}")]
    OutOfRange(String),
}

/// Reads RFC 3339, or integer or float Unix seconds or milliseconds, from text.
pub fn parse(text: &str) -> Result<DateTime<Utc>, Error> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return storable(time.to_utc(), text);
    }
    match text.parse::<f64>() {
        Ok(number) => from_number(number),
        Err(_) => Err(Error::NotATime(text.chars().take(64).collect())),
    }
}

/// Reads Unix seconds or milliseconds; the fraction is kept to the microsecond.
pub fn from_number(number: f64) -> Result<DateTime<Utc>, Error> {
    let milliseconds = if number.abs() >= FIRST_MILLISECOND_VALUE { number } else { number * 1e3 };
    let microseconds = (milliseconds * 1e3).round();
    if !microseconds.is_finite() || microseconds.abs() > 8e18 {
        return Err(Error::OutOfRange(number.to_string()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie within i64 just above")]
    let time = DateTime::from_timestamp_micros(microseconds as i64);
    storable(time.ok_or_else(|| Error::OutOfRange(number.to_string()))?, &number.to_string())
}

/// Years that every store can hold, and that RFC 3339 can write.
fn storable(time: DateTime<Utc>, text: &str) -> Result<DateTime<Utc>, Error> {
    let storable = (1..=9999).contains(&time.year());
    storable.then_some(time).ok_or_else(|| Error::OutOfRange(text.chars().take(64).collect()))
}

/// For `#[serde(deserialize_with)]`: a time in any accepted form, or nothing.
pub fn deserialize_optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let parsed = match Option::<Value>::deserialize(deserializer)? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => parse(&text),
        Some(Value::Number(number)) => from_number(number.as_f64().unwrap_or(f64::NAN)),
        Some(other) => Err(Error::NotATime(other.to_string().chars().take(64).collect())),
    };
    parsed.map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        parse(text).unwrap().timestamp_micros()
    }

    #[test]
    fn every_accepted_form_is_the_same_instant() {
        let expected = 1_769_067_099_568_000;
        for text in ["2026-01-22T07:31:39.568Z", "1769067099.568", "1769067099568", "1769067099568.0"] {
            assert_eq!(micros(text), expected, "{text}");
        }
        assert_eq!(micros("1769067099"), 1_769_067_099_000_000);
    }

    #[test]
    fn what_is_no_time_says_so() {
        assert!(matches!(parse("yesterday"), Err(Error::NotATime(_))));
        assert!(matches!(parse("1e300"), Err(Error::OutOfRange(_))));
        assert!(matches!(parse("NaN"), Err(Error::OutOfRange(_))));
        for text in ["-300000000000000", "253402300800000", "0000-01-01T00:00:00Z"] {
            assert!(matches!(parse(text), Err(Error::OutOfRange(_))), "{text}");
        }
    }
}
