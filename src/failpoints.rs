//! Points at which a test has the process die, or a server refuse: before and after each step of an event.
//!
//! They are there only with the feature `failpoints`, which no release has; without it `pass` is nothing at all. With
//! it, `FAILPOINTS` in the environment says what happens where: `after_append=2*off->return` kills the process at the
//! third batch that was appended, before anybody knows that it was, as `kill -9` would; and
//! `before_commit=5*return(disk full)` has the store refuse five times.

use factline_pipeline::outage::Error;

macro_rules! steps {
    ($($(#[$meta:meta])* $step:ident = $name:literal,)*) => {
        /// Where an event may be on its way when something happens.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step {
            $($(#[$meta])* $step,)*
        }

        impl Step {
            /// All of them, in the order in which an event meets them.
            pub const ALL: &[Self] = &[$(Self::$step),*];

            /// As `FAILPOINTS` calls it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// Rows were claimed, and nothing is done with them yet.
    AfterClaim = "after_claim",
    /// A batch is about to be appended to the stream.
    BeforeAppend = "before_append",
    /// The stream has a batch, and nobody knows.
    AfterAppend = "after_append",
    /// Rows that the stream has are about to be marked.
    BeforeMark = "before_mark",
    /// Rows are marked, and nobody knows.
    AfterMark = "after_mark",
    /// New entries are pending for a reader that has not seen them.
    AfterRead = "after_read",
    /// Pending entries were taken over by a reader that has not seen them.
    AfterTakeOver = "after_take_over",
    /// A recording transaction has done everything, and is about to commit; one of a single statement is about to be sent.
    BeforeCommit = "before_commit",
    /// A recording transaction is committed, and nobody knows.
    AfterCommit = "after_commit",
    /// Entries that are recorded are about to be acknowledged.
    BeforeAcknowledge = "before_acknowledge",
    /// Entries are acknowledged, and nobody knows.
    AfterAcknowledge = "after_acknowledge",
    /// What to trim is known, and nothing is trimmed yet.
    BeforeTrim = "before_trim",
    /// A stream was trimmed.
    AfterTrim = "after_trim",
    /// Leases were taken or renewed, and their holder does not know.
    AfterRenewal = "after_renewal",
}

/// An adapter passes this step, unless `FAILPOINTS` says otherwise.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(step: Step) -> Result<(), Error> {
    static CONFIGURED: std::sync::Once = std::sync::Once::new();
    // What is configured stays until the process ends, however it ends.
    CONFIGURED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    fail::fail_point!(step.name(), |refusal: Option<String>| match refusal {
        Some(refusal) => Err(Error::Unavailable { service: "failpoint", source: refusal.into() }),
        None => std::process::abort(),
    });
    Ok(())
}

/// An adapter passes this step.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
pub(crate) const fn pass(_: Step) -> Result<(), Error> {
    Ok(())
}
