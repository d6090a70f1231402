//! How much one client may ask.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use actix_web::http::{
    StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

use super::{clients::whole_client, problem::Problem};

/// After so many requests those clients are forgotten that could ask at their full rate again.
const FORGET_EVERY: u32 = 1024;

/// Whom a rate is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Token(String),
    Address(IpAddr),
}

/// What the clients have asked lately.
pub(super) struct Rates {
    limiter: DefaultKeyedRateLimiter<Key>,
    asked: AtomicU32,
}

impl Rates {
    /// So many requests of one client in a second; in one instant twice as many.
    pub(super) fn new(per_second: u32) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self { limiter: RateLimiter::keyed(quota), asked: AtomicU32::new(0) }
    }

    /// Refuses a client that has asked too much: whoever has a token shares its rate with nobody who has none.
    pub(super) fn check(&self, client: IpAddr, token: Option<&str>) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.limiter.retain_recent();
        }
        let key =
            token.map_or_else(|| Key::Address(whole_client(client)), |token| Key::Token(token.to_owned()));
        let refused = self.limiter.check_key(&key).err();
        refused.map_or(Ok(()), |until| Err(too_many(until.wait_time_from(self.limiter.clock().now()))))
    }
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!("too many requests; try again in {seconds} s, or raise admin.rate"),
    );
    match HeaderValue::from_str(&seconds.to_string()) {
        Ok(value) => problem.with_header(RETRY_AFTER, value),
        Err(_) => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_has_its_own_rate() {
        let rates = Rates::new(1);
        let greedy = address("10.0.0.1");
        assert!(rates.check(greedy, None).is_ok() && rates.check(greedy, None).is_ok());
        assert_eq!(rates.check(greedy, None).unwrap_err().status, 429);
        assert!(rates.check(address("10.0.0.2"), None).is_ok());
        assert!(rates.check(greedy, Some("kim")).is_ok(), "a token has its own");
    }

    #[test]
    fn clients_are_forgotten() {
        let rates = Rates::new(1_000_000);
        for bits in 0..10 * FORGET_EVERY {
            assert!(rates.check(IpAddr::V4(bits.into()), None).is_ok());
        }
        assert!(rates.limiter.len() < 3 * FORGET_EVERY as usize, "{}", rates.limiter.len());
    }
}
