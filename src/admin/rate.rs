//! How much one client may ask.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use actix_web::http::{
    StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

use super::problem::Problem;

/// After so many requests those clients are forgotten that could ask at their full rate again.
const FORGET_EVERY: u32 = 1024;

/// What the clients have asked lately.
pub(super) struct Rates {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
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

    /// Refuses a client that has asked too much.
    pub(super) fn check(&self, client: IpAddr) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.limiter.retain_recent();
        }
        let refused = self.limiter.check_key(&whole_client(client)).err();
        refused.map_or(Ok(()), |until| Err(too_many(until.wait_time_from(self.limiter.clock().now()))))
    }
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!("too many requests from this address; try again in {seconds} s, or raise admin.rate"),
    );
    match HeaderValue::from_str(&seconds.to_string()) {
        Ok(value) => problem.with_header(RETRY_AFTER, value),
        Err(_) => problem,
    }
}

/// Whoever has one address of IPv6 has its whole /64.
fn whole_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
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
        assert!(rates.check(greedy).is_ok() && rates.check(greedy).is_ok());
        assert_eq!(rates.check(greedy).unwrap_err().status, 429);
        assert!(rates.check(address("10.0.0.2")).is_ok());
    }

    #[test]
    fn a_client_has_a_network_of_ipv6() {
        assert_eq!(whole_client(address("2001:db8::1")), whole_client(address("2001:db8::2:1")));
        assert_ne!(whole_client(address("2001:db8::1")), whole_client(address("2001:db8:0:1::1")));
        assert_eq!(whole_client(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn clients_are_forgotten() {
        let rates = Rates::new(1_000_000);
        for bits in 0..10 * FORGET_EVERY {
            assert!(rates.check(IpAddr::V4(bits.into())).is_ok());
        }
        assert!(rates.limiter.len() < 3 * FORGET_EVERY as usize, "{}", rates.limiter.len());
    }
}
