//! Lengths of time and rates as people write them on the command line.

use std::time::Duration;

/// `90min`, `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "not a length of time; write 90min, 24h or 7d".to_owned())
}

/// `5/s`, or `5`: so many a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().unwrap_or_default();
    let sound = number > 0.0 && Duration::try_from_secs_f64(number.recip()).is_ok();
    sound.then_some(number).ok_or_else(|| "not a rate; write 5/s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!(rate("5/s"), Ok(5.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["", "0", "-1/s", "fast", "5/m", "NaN", "1e-300"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_told_how_to_write_one() {
        assert_eq!(duration("90min"), Ok(Duration::from_mins(90)));
        for wrong in ["", "90", "soon", "1 day ago"] {
            assert!(duration(wrong).unwrap_err().contains("write 90min, 24h or 7d"), "{wrong}");
        }
    }
}
