//! What a tree is made of: children, their settings, and the supervisors above them.
//!
//! Specs are plain values; nothing runs until [`start`](crate::start), which first checks them.

mod check;

use std::time::Duration;

use actix::{Actor, Context};
use serde::Serialize;

pub use check::SpecError;
pub(crate) use check::check;

use crate::{
    backoff::BackoffPolicy,
    host::{Body, Made},
    lifeline::Lifeline,
    mailbox::Mailbox,
};

/// Which siblings share a child's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the dead child is restarted.
    #[default]
    OneForOne,
    /// All others are stopped, then all are restarted.
    OneForAll,
    /// Those started after it are stopped, then it and they are restarted.
    RestForOne,
}

/// After which exits a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// After every exit.
    #[default]
    Permanent,
    /// Only after an [abnormal](crate::Exit::is_abnormal) exit.
    Transient,
    /// Never, not even when a sibling's failure ended it.
    Temporary,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// It is asked to drain and killed if it has not ended within this time.
    Timeout(Duration),
    /// It is killed without being asked.
    Kill,
    /// It is asked to drain and waited for as long as it takes.
    Infinity,
}

/// Where a child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// On its supervisor's arbiter; at the root that is the thread that called [`start`](crate::start).
    #[default]
    Inherit,
    /// On a thread of its own, the only place where it may block. For a supervisor: one thread that its
    /// inheriting children share.
    OwnArbiter,
}

/// What a supervisor does when its restart intensity, or a child's limit, is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// It stops its children and exits as [`Exit::Escalated`](crate::Exit::Escalated). Default below the root.
    Exit,
    /// What the strategy would have restarted stays down and is retried at the backoff's maximum; everything
    /// else stays up. Default at the root.
    Park,
}

/// Whether a supervisor ends when [significant](ChildSpec::significant) children have ended by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// With the first one.
    AnySignificant,
    /// With the last one.
    AllSignificant,
}

/// Settings that actors and supervisors share.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) backoff: BackoffPolicy,
    pub(crate) significant: bool,
    pub(crate) stall_after: Option<Duration>,
    pub(crate) placement: Placement,
    pub(crate) max_consecutive_failures: Option<u32>,
}

impl Settings {
    fn of_an_actor() -> Self {
        Settings {
            restart: Restart::default(),
            shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            start_timeout: Some(Duration::from_secs(10)),
            backoff: BackoffPolicy::default(),
            significant: false,
            stall_after: None,
            placement: Placement::default(),
            max_consecutive_failures: None,
        }
    }

    /// As in OTP, a supervisor has all the time it needs: its children have limits of their own.
    fn of_a_supervisor() -> Self {
        Settings { shutdown: Shutdown::Infinity, start_timeout: None, ..Settings::of_an_actor() }
    }
}

/// An actor to be supervised.
pub struct ChildSpec {
    pub(crate) id: String,
    pub(crate) body: Box<dyn Body>,
    pub(crate) settings: Settings,
}

impl ChildSpec {
    /// An actor that `make` builds anew for every incarnation, on the arbiter it runs on.
    ///
    /// By default it is permanent, has ten seconds to become [ready](Lifeline::ready) and five to drain, and
    /// its liveness is not watched.
    pub fn actor<A, F>(id: impl Into<String>, mailbox: Mailbox<A>, make: F) -> Self
    where
        A: Actor<Context = Context<A>>,
        F: Fn(Lifeline) -> A + Send + 'static,
    {
        ChildSpec {
            id: id.into(),
            body: Box::new(Made::new(mailbox, make)),
            settings: Settings::of_an_actor(),
        }
    }

    /// How long it may take to become ready.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = Some(timeout);
        self
    }

    /// After how long without progress, while work is in flight, it counts as hung; `None`: never.
    #[must_use]
    pub fn stall_after(mut self, silence: Option<Duration>) -> Self {
        self.settings.stall_after = silence;
        self
    }
}

/// A supervisor and its children, in start order.
pub struct SupervisorSpec {
    pub(crate) id: String,
    pub(crate) settings: Settings,
    pub(crate) strategy: Strategy,
    pub(crate) max_restarts: u32,
    pub(crate) within: Duration,
    pub(crate) on_exhausted: Option<OnExhausted>,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<AnyChild>,
}

pub(crate) enum AnyChild {
    Actor(ChildSpec),
    Supervisor(SupervisorSpec),
}

impl SupervisorSpec {
    /// A supervisor with OTP's defaults: one for one, at most one restart within five seconds.
    pub fn new(id: impl Into<String>) -> Self {
        SupervisorSpec {
            id: id.into(),
            settings: Settings::of_a_supervisor(),
            strategy: Strategy::default(),
            max_restarts: 1,
            within: Duration::from_secs(5),
            on_exhausted: None,
            auto_shutdown: AutoShutdown::default(),
            children: Vec::new(),
        }
    }

    /// Which siblings share a child's fate.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// More than `max_restarts` within the time `within` exhaust this supervisor.
    #[must_use]
    pub fn intensity(mut self, max_restarts: u32, within: Duration) -> Self {
        self.max_restarts = max_restarts;
        self.within = within;
        self
    }

    /// What happens then.
    #[must_use]
    pub fn on_exhausted(mut self, reaction: OnExhausted) -> Self {
        self.on_exhausted = Some(reaction);
        self
    }

    /// Whether it ends with its significant children.
    #[must_use]
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        self.auto_shutdown = when;
        self
    }

    /// Adds an actor, started after those added before it.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(AnyChild::Actor(child));
        self
    }

    /// Adds a child supervisor, started after the children added before it.
    #[must_use]
    pub fn supervisor(mut self, child: SupervisorSpec) -> Self {
        self.children.push(AnyChild::Supervisor(child));
        self
    }
}

/// The builder methods that a supervisor has as a child of another one, too.
macro_rules! settings_of_a_child {
    ($spec:ty) => {
        impl $spec {
            /// After which exits it is restarted.
            #[must_use]
            pub fn restart(mut self, restart: Restart) -> Self {
                self.settings.restart = restart;
                self
            }

            /// How it is stopped.
            #[must_use]
            pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
                self.settings.shutdown = shutdown;
                self
            }

            /// How long it stays down before each restart.
            #[must_use]
            pub fn backoff(mut self, policy: BackoffPolicy) -> Self {
                self.settings.backoff = policy;
                self
            }

            /// Whether its end counts for its supervisor's [`AutoShutdown`].
            #[must_use]
            pub fn significant(mut self, significant: bool) -> Self {
                self.settings.significant = significant;
                self
            }

            /// Where it runs.
            #[must_use]
            pub fn placement(mut self, placement: Placement) -> Self {
                self.settings.placement = placement;
                self
            }

            /// How many restarts in a row, without a stable time in between, exhaust its supervisor even
            /// when they are too far apart for the restart window.
            #[must_use]
            pub fn max_consecutive_failures(mut self, limit: Option<u32>) -> Self {
                self.settings.max_consecutive_failures = limit;
                self
            }
        }
    };
}

settings_of_a_child!(ChildSpec);
settings_of_a_child!(SupervisorSpec);

impl AnyChild {
    pub(crate) fn id(&self) -> &str {
        match self {
            AnyChild::Actor(spec) => &spec.id,
            AnyChild::Supervisor(spec) => &spec.id,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        match self {
            AnyChild::Actor(spec) => &spec.settings,
            AnyChild::Supervisor(spec) => &spec.settings,
        }
    }
}
