//! An extractor that misbehaves on command, for tests and drills; it finds nothing.
//!
//! It is there only where the configuration names it. A message whose content is `misbehave: ` and one of
//! [`Misdeed`]'s words does that; any other message is left alone. What it does is what foreign code does: it takes
//! its event, its thread, or the whole process with it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use factline_pipeline::{
    chat::Message,
    event::Event,
    extractor::{Error, Extractor},
    fact::Extraction,
};
use uuid::Uuid;

/// The kind in the configuration.
pub(super) const NAME: &str = "misbehave";

/// What comes before the word.
const MARK: &str = "misbehave: ";

/// How long `slow` takes.
const SLOW: Duration = Duration::from_millis(300);

/// Memory taken at a time.
const GULP: usize = 64 << 20;

/// What a message may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misdeed {
    /// Panics.
    Panic,
    /// Waits for ever.
    Hang,
    /// Holds its thread for ever.
    Block,
    /// Ends the process.
    Abort,
    /// Takes memory until there is none; only in a process whose address space is limited.
    Exhaust,
    /// Fails for now, the first time.
    ErrorOnce,
    /// Fails for now, every time.
    ErrorAlways,
    /// Fails for good.
    Fail,
    /// Takes its time.
    Slow,
}

impl Misdeed {
    fn of(content: &str) -> Option<Self> {
        Some(match content.strip_prefix(MARK)?.trim() {
            "panic" => Self::Panic,
            "hang" => Self::Hang,
            "block" => Self::Block,
            "abort" => Self::Abort,
            "exhaust" => Self::Exhaust,
            "error once" => Self::ErrorOnce,
            "error always" => Self::ErrorAlways,
            "fail" => Self::Fail,
            "slow" => Self::Slow,
            _ => return None,
        })
    }
}

/// The extractor.
#[derive(Debug, Default)]
pub struct Misbehave {
    /// The events that have failed once.
    failed: Mutex<HashSet<Uuid>>,
}

impl Misbehave {
    fn is_first_time(&self, event_id: Uuid) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(event_id)
    }
}

#[async_trait]
impl Extractor for Misbehave {
    fn name(&self) -> &'static str {
        NAME
    }

    #[expect(clippy::panic, reason = "that is what it is for")]
    async fn extract(&self, event: &Event, message: &Message) -> Result<Extraction, Error> {
        match Misdeed::of(&message.content) {
            None => {}
            Some(Misdeed::Panic) => panic!("misbehaved as told"),
            Some(Misdeed::Hang) => std::future::pending().await,
            Some(Misdeed::Block) => loop {
                std::thread::park();
            },
            Some(Misdeed::Abort) => std::process::abort(),
            Some(Misdeed::Exhaust) => exhaust_memory(),
            Some(Misdeed::ErrorOnce) if !self.is_first_time(event.id) => {}
            Some(Misdeed::ErrorOnce | Misdeed::ErrorAlways) => {
                return Err(Error::Retryable("misbehaved as told".into()));
            }
            Some(Misdeed::Fail) => return Err(Error::Permanent("misbehaved as told".into())),
            Some(Misdeed::Slow) => tokio::time::sleep(SLOW).await,
        }
        Ok(Extraction::default())
    }
}

/// An allocation that fails aborts the process. Without a limit it would be the machine's end instead.
fn exhaust_memory() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find(|line| line.starts_with("Max address space"));
    // An operator's mistake costs this event alone.
    let is_limited = limit.is_some_and(|limit| !limit.contains("unlimited"));
    assert!(is_limited, "this process has no limit to its address space; start it under `ulimit -v`");
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; GULP]);
        std::hint::black_box(&taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_message_asks_for_anything() {
        assert_eq!(Misdeed::of("misbehave: error once"), Some(Misdeed::ErrorOnce));
        assert_eq!(Misdeed::of("misbehave: dance"), None);
        assert_eq!(Misdeed::of("I said misbehave: abort"), None);
    }
}
