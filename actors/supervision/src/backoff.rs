//! Delays between restarts: exponential, with jitter, reset after a stable time.
//!
//! The only place that uses the `backoff` crate, and of it only `ExponentialBackoff::next_backoff()`: the
//! crate is unmaintained, its retry loop has a clock of its own, and by default it gives up after a quarter
//! of an hour, which a supervisor must not.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff as _};

/// How long a child stays down before each restart.
#[derive(Debug, Clone, PartialEq)]
pub struct BackoffPolicy {
    /// Delay before the first restart; zero restarts at once.
    pub initial: Duration,
    /// No delay is longer. A parked child is retried at this interval.
    pub max: Duration,
    /// Growth per consecutive failure, at least 1.
    pub multiplier: f64,
    /// Share by which a delay is randomly shortened or lengthened, 0 to 1.
    pub jitter: f64,
    /// A child that was up for this long starts over at `initial`, with no consecutive failures.
    pub reset_after: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            multiplier: 2.0,
            jitter: 0.2,
            reset_after: Duration::from_mins(1),
        }
    }
}

impl BackoffPolicy {
    /// Restarts at once, always, as OTP does. For tests, and for children that are cheap to start and whose
    /// failures the restart intensity alone should bound.
    #[must_use]
    pub fn immediate() -> Self {
        BackoffPolicy { initial: Duration::ZERO, jitter: 0.0, ..BackoffPolicy::default() }
    }

    /// What is wrong with the numbers, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if !(self.multiplier.is_finite() && self.multiplier >= 1.0) {
            Some("backoff.multiplier must be at least 1")
        } else if !(0.0..=1.0).contains(&self.jitter) {
            Some("backoff.jitter must be between 0 and 1")
        } else if self.initial > self.max {
            Some("backoff.initial must not be longer than backoff.max")
        } else {
            None
        }
    }
}

/// Delays of one policy, in order: between restarts of a child, or between attempts at anything else.
#[derive(Debug)]
pub struct Delays {
    max: Duration,
    exponential: ExponentialBackoff,
}

impl Delays {
    /// Starts at the initial delay.
    #[must_use]
    pub fn new(policy: &BackoffPolicy) -> Self {
        let exponential = ExponentialBackoff {
            current_interval: policy.initial,
            initial_interval: policy.initial,
            randomization_factor: policy.jitter,
            multiplier: policy.multiplier,
            max_interval: policy.max,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Delays { max: policy.max, exponential }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        self.exponential.next_backoff().unwrap_or(self.max).min(self.max)
    }

    /// Starts over at the initial delay.
    pub fn reset(&mut self) {
        self.exponential.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(jitter: f64) -> BackoffPolicy {
        BackoffPolicy {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(5),
            jitter,
            ..BackoffPolicy::default()
        }
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over_after_a_reset() {
        let mut delays = Delays::new(&policy(0.0));
        let seconds: Vec<_> = (0..4).map(|_| delays.next_delay().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5]);
        delays.reset();
        assert_eq!(delays.next_delay(), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_its_share_and_below_the_maximum() {
        for _ in 0..200 {
            let mut delays = Delays::new(&policy(0.5));
            let first = delays.next_delay();
            assert!(first >= Duration::from_millis(500) && first <= Duration::from_millis(1501), "{first:?}");
            for _ in 0..5 {
                assert!(delays.next_delay() <= Duration::from_secs(5));
            }
        }
    }

    #[test]
    fn an_immediate_policy_never_waits() {
        let mut delays = Delays::new(&BackoffPolicy::immediate());
        assert!((0..20).all(|_| delays.next_delay().is_zero()));
    }

    #[test]
    fn impossible_numbers_are_named() {
        assert_eq!(policy(0.2).fault(), None);
        assert!(policy(1.5).fault().unwrap().contains("jitter"));
        let shrinking = BackoffPolicy { multiplier: 0.5, ..policy(0.0) };
        assert!(shrinking.fault().unwrap().contains("multiplier"));
        let inverted = BackoffPolicy { max: Duration::ZERO, ..policy(0.0) };
        assert!(inverted.fault().unwrap().contains("initial"));
    }
}
