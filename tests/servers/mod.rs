//! Throwaway servers: started by the tests, on free ports, in temporary folders, and gone with the test process
//! however it ends.
//!
//! Most tests share one PostgreSQL and one Redis, each test with a database or a key prefix of its own. A test that
//! stops or kills a server starts its own.

mod collector;
mod postgres;
mod process;
mod prometheus;
mod proxy;
mod redis;

pub(crate) use collector::{Collector, Protocol, Seen};
pub(crate) use postgres::Postgres;
pub(crate) use prometheus::Prometheus;
pub(crate) use proxy::Proxy;
pub(crate) use redis::Redis;

use std::{
    net::TcpListener,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a server may take to start or stop, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A port that nobody uses. Somebody may take it before the server does: whoever starts one tries again.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Looks at the condition until it holds; says whether it ever did.
fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}
