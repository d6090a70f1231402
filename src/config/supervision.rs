//! How supervisors and children are tuned, by path.

use std::{collections::BTreeMap, time::Duration};

use factline_pipeline::tree::Tuning;
use factline_supervision::{
    AutoShutdown, BackoffPolicy, ChildSpec, OnExhausted, Restart, Shutdown, Strategy, SupervisorSpec,
};
use serde::{Deserialize, Serialize};

use super::Config;

const MAX_RESTARTS: u32 = 5;
const WITHIN: Duration = Duration::from_secs(30);
const SHUTDOWN: Duration = Duration::from_secs(15);
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What the configuration says of one supervisor or child; what it leaves out has its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// `one_for_one`, `one_for_all` or `rest_for_one`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategyName>,
    /// More than so many restarts …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
    /// … within this time exhaust a supervisor.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// What happens then: `exit` or `park`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<Exhausted>,
    /// Whether it ends with its significant children: `never`, `any_significant` or `all_significant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_shutdown: Option<AutoShutdownName>,
    /// `permanent`, `transient` or `temporary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartName>,
    /// Whether its end counts for its supervisor's `auto_shutdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub significant: Option<bool>,
    /// How many restarts in a row exhaust its supervisor, however far apart they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_consecutive_failures: Option<u32>,
    /// How long a stop may take.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Duration>,
    /// How long a start may take.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Duration>,
    /// How long it may make no progress.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub stall_after: Option<Duration>,
    /// Messages that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<usize>,
    /// The first pause before a restart.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub backoff_initial: Option<Duration>,
    /// The longest one.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub backoff_max: Option<Duration>,
    /// The share by which each is randomly shorter or longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_jitter: Option<f64>,
    /// After how long without a failure the pauses begin anew.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub backoff_reset_after: Option<Duration>,
}

/// [`Strategy`] as the configuration spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    OneForOne,
    OneForAll,
    RestForOne,
}

/// [`Restart`] as the configuration spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartName {
    Permanent,
    Transient,
    Temporary,
}

/// [`OnExhausted`] as the configuration spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    Exit,
    Park,
}

/// [`AutoShutdown`] as the configuration spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdownName {
    Never,
    AnySignificant,
    AllSignificant,
}

/// All policies.
#[derive(Debug, Clone, Default)]
pub struct Policies(BTreeMap<String, Policy>);

impl Policies {
    fn of(&self, path: &str) -> Policy {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

impl Policy {
    fn backoff(&self) -> BackoffPolicy {
        let default = BackoffPolicy::default();
        BackoffPolicy {
            initial: self.backoff_initial.unwrap_or(default.initial),
            max: self.backoff_max.unwrap_or(default.max),
            jitter: self.backoff_jitter.unwrap_or(default.jitter),
            reset_after: self.backoff_reset_after.unwrap_or(default.reset_after),
            ..default
        }
    }

    fn restart(&self) -> Restart {
        match self.restart {
            None | Some(RestartName::Permanent) => Restart::Permanent,
            Some(RestartName::Transient) => Restart::Transient,
            Some(RestartName::Temporary) => Restart::Temporary,
        }
    }

    /// The first key that means nothing for this kind of path.
    fn misplaced(&self, supervisor: bool) -> Option<&'static str> {
        let of_supervisors = [
            ("strategy", self.strategy.is_some()),
            ("max_restarts", self.max_restarts.is_some()),
            ("within", self.within.is_some()),
            ("on_exhausted", self.on_exhausted.is_some()),
            ("auto_shutdown", self.auto_shutdown.is_some()),
        ];
        let of_children = [
            ("shutdown", self.shutdown.is_some()),
            ("start_timeout", self.start_timeout.is_some()),
            ("stall_after", self.stall_after.is_some()),
            ("mailbox", self.mailbox.is_some()),
        ];
        let misplaced = if supervisor { of_children.as_slice() } else { &of_supervisors };
        misplaced.iter().find_map(|(key, given)| given.then_some(*key))
    }
}

impl Tuning for Policies {
    fn supervisor(&self, path: &str, spec: SupervisorSpec) -> SupervisorSpec {
        let policy = self.of(path);
        let mut spec = spec
            .intensity(policy.max_restarts.unwrap_or(MAX_RESTARTS), policy.within.unwrap_or(WITHIN))
            .restart(policy.restart())
            .significant(policy.significant.unwrap_or(false))
            .max_consecutive_failures(policy.max_consecutive_failures)
            .backoff(policy.backoff());
        spec = spec.auto_shutdown(match policy.auto_shutdown {
            None | Some(AutoShutdownName::Never) => AutoShutdown::Never,
            Some(AutoShutdownName::AnySignificant) => AutoShutdown::AnySignificant,
            Some(AutoShutdownName::AllSignificant) => AutoShutdown::AllSignificant,
        });
        if let Some(strategy) = policy.strategy {
            spec = spec.strategy(match strategy {
                StrategyName::OneForOne => Strategy::OneForOne,
                StrategyName::OneForAll => Strategy::OneForAll,
                StrategyName::RestForOne => Strategy::RestForOne,
            });
        }
        match policy.on_exhausted {
            None => spec,
            Some(Exhausted::Exit) => spec.on_exhausted(OnExhausted::Exit),
            Some(Exhausted::Park) => spec.on_exhausted(OnExhausted::Park),
        }
    }

    fn child(&self, path: &str, spec: ChildSpec) -> ChildSpec {
        let policy = self.of(path);
        spec.restart(policy.restart())
            .shutdown(Shutdown::Timeout(policy.shutdown.unwrap_or(SHUTDOWN)))
            .start_timeout(policy.start_timeout.unwrap_or(START_TIMEOUT))
            .stall_after(policy.stall_after)
            .significant(policy.significant.unwrap_or(false))
            .max_consecutive_failures(policy.max_consecutive_failures)
            .backoff(policy.backoff())
    }

    fn mailbox(&self, path: &str) -> Option<usize> {
        self.of(path).mailbox
    }
}

impl Config {
    /// How the tree is tuned.
    #[must_use]
    pub fn policies(&self) -> Policies {
        Policies(self.supervision.clone())
    }

    /// The paths that can be tuned, and whether a supervisor stands there.
    fn paths(&self) -> Vec<(String, bool)> {
        let fixed = [
            ("root", true),
            ("root/relay", true),
            ("root/relay/stream_publisher", false),
            ("root/relay/outbox_poller", false),
            ("root/consumers", true),
            ("root/janitor", false),
            ("root/admin", false),
        ];
        let mut paths: Vec<(String, bool)> =
            fixed.into_iter().map(|(path, supervisor)| (path.to_owned(), supervisor)).collect();
        for group in &self.groups {
            let path = format!("root/consumers/{}", group.name);
            for child in ["ledger_writer", "fact_extractor", "consumer_group"] {
                paths.push((format!("{path}/{child}"), false));
            }
            paths.push((path, true));
        }
        paths
    }

    pub(super) fn check_policies(&self, wrong: &mut Vec<String>) {
        let paths = self.paths();
        for (path, policy) in &self.supervision {
            let Some((_, supervisor)) = paths.iter().find(|(known, _)| known == path) else {
                let known: Vec<&str> = paths.iter().map(|(path, _)| path.as_str()).collect();
                wrong.push(format!(
                    "supervision.\"{path}\": nothing is supervised there; name one of {}",
                    known.join(", ")
                ));
                continue;
            };
            if let Some(key) = policy.misplaced(*supervisor) {
                let kind = if *supervisor { "a supervisor" } else { "a child" };
                wrong.push(format!("supervision.\"{path}\".{key}: means nothing for {kind}: remove it"));
            }
            policy.check(path, wrong);
            self.check_significance(path, policy, wrong);
        }
    }

    /// As in OTP: a permanent child never ends by itself, and without auto-shutdown significance says nothing.
    fn check_significance(&self, path: &str, policy: &Policy, wrong: &mut Vec<String>) {
        if policy.significant != Some(true) {
            return;
        }
        if matches!(policy.restart, None | Some(RestartName::Permanent)) {
            wrong.push(format!(
                "supervision.\"{path}\".significant: a permanent child never ends by itself: set its restart to \
                 \"transient\" or \"temporary\""
            ));
        }
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let auto_shutdown = self.supervision.get(above).and_then(|policy| policy.auto_shutdown);
        if matches!(auto_shutdown, None | Some(AutoShutdownName::Never)) {
            wrong.push(format!(
                "supervision.\"{path}\".significant means nothing without auto_shutdown: set \
                 supervision.\"{above}\".auto_shutdown"
            ));
        }
    }
}

impl Policy {
    /// Values that no supervisor could work with.
    fn check(&self, path: &str, wrong: &mut Vec<String>) {
        let times = [
            ("within", self.within),
            ("start_timeout", self.start_timeout),
            ("stall_after", self.stall_after),
        ];
        for (key, _) in times.iter().filter(|(_, time)| time.is_some_and(|time| time.is_zero())) {
            wrong.push(format!("supervision.\"{path}\".{key} is 0: write \"30s\" or so"));
        }
        if self.mailbox == Some(0) {
            wrong.push(format!("supervision.\"{path}\".mailbox is 0: write 1 or more"));
        }
        let backoff = self.backoff();
        if backoff.initial > backoff.max {
            wrong.push(format!(
                "supervision.\"{path}\".backoff_initial is longer than backoff_max: swap them"
            ));
        }
        if !(0.0..=1.0).contains(&backoff.jitter) {
            wrong.push(format!(
                "supervision.\"{path}\".backoff_jitter is not between 0 and 1: write 0.2 or so"
            ));
        }
    }
}
