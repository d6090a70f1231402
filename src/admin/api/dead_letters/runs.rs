//! Reprocessing runs of this daemon: the one that goes on, and what came of the last ones.
//!
//! They are kept in memory, for the store has all that matters: what a run has not come to waits there, selected,
//! until somebody resumes it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use factline_pipeline::extraction_thread::StuckThreads;
use serde::Serialize;
use tokio::sync::OnceCell;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    admin::problem::Problem,
    reprocessing::{GroupTools, Tally, Turn},
};

/// Runs that are remembered.
const KEPT: usize = 20;

/// Characters of what came of a letter.
const DETAIL: usize = 500;

/// How a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RunState {
    /// It goes on.
    Running,
    /// Every letter had its turn.
    Done,
    /// It ended before its last letter, as it was told to.
    Stopped,
    /// It could not go on.
    Failed,
}

/// A reprocessing run.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "a dry run is called so everywhere")]
pub(super) struct Run {
    /// Its id.
    pub(super) id: Uuid,
    /// Who wanted it.
    pub(super) by: String,
    /// Whether it only says what would come of it.
    pub(super) dry_run: bool,
    /// How it is.
    pub(super) state: RunState,
    /// Why it ended before its last letter.
    pub(super) reason: Option<String>,
    /// When it began.
    pub(super) started_at: DateTime<Utc>,
    /// When it ended.
    pub(super) ended_at: Option<DateTime<Utc>>,
    /// Runs that were not resumed, for somebody is at them.
    pub(super) attended: Vec<Uuid>,
    /// How many letters it is about.
    pub(super) selected: usize,
    /// What it has come to.
    pub(super) tally: Tally,
    /// What came of each letter that had its turn.
    pub(super) letters: Vec<LetterTurn>,
}

/// What came of a letter.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LetterTurn {
    /// The letter.
    letter: Uuid,
    /// `took_effect`, `known_before`, `republished`, `failed`, `unfit` or `settled`.
    outcome: &'static str,
    /// What else there is to say: the error, the state, the event's new id.
    detail: Option<String>,
    /// Facts that its event states.
    facts: usize,
}

impl LetterTurn {
    fn of(letter: Uuid, turn: &Turn) -> Self {
        let shortened = |text: &str| Some(text.chars().take(DETAIL).collect());
        let (outcome, detail, facts) = match turn {
            Turn::Took(facts) => ("took_effect", None, *facts),
            Turn::KnownBefore => ("known_before", None, 0),
            Turn::Republished(id) => ("republished", Some(id.to_string()), 0),
            Turn::Failed(failed) => ("failed", shortened(&failed.error), 0),
            Turn::Unfit(reason) => ("unfit", shortened(reason), 0),
            Turn::Settled(state) => ("settled", shortened(state), 0),
        };
        Self { letter, outcome, detail, facts }
    }
}

/// The runs of this daemon.
#[derive(Default)]
pub(in crate::admin) struct Runs {
    /// The process' own count of threads that it can't get back.
    pub(super) stuck: StuckThreads,
    /// Made when the first run needs them.
    pub(super) tools: OnceCell<Arc<GroupTools>>,
    kept: Mutex<VecDeque<Run>>,
}

impl Runs {
    /// None yet.
    pub(in crate::admin) fn new(stuck: StuckThreads) -> Self {
        Self { stuck, ..Self::default() }
    }

    /// A new run. One at a time: they would only be in each other's way, and in that of the events that come in.
    ///
    /// None, too, while so many threads are stuck that a few more would end the daemon.
    pub(super) fn begin(&self, id: Uuid, by: &str, dry_run: bool) -> Result<(), Problem> {
        if self.stuck.leave_little_room() {
            return Err(Problem::unavailable(
                "so many extractions have never ended that another one could end the daemon: restart it, or use \
                 `factline dlq reprocess`, which runs in a process of its own",
            ));
        }
        let mut kept = self.lock();
        if let Some(run) = kept.iter().find(|run| run.state == RunState::Running) {
            return Err(Problem::conflict(format!(
                "run {} goes on; look at /api/v1/dead-letters/runs/{} and try again when it has ended",
                run.id, run.id
            )));
        }
        kept.push_back(Run {
            id,
            by: by.to_owned(),
            dry_run,
            state: RunState::Running,
            reason: None,
            started_at: Utc::now(),
            ended_at: None,
            attended: Vec::new(),
            selected: 0,
            tally: Tally::default(),
            letters: Vec::new(),
        });
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(())
    }

    /// How the run is now.
    pub(super) fn get(&self, id: Uuid) -> Option<Run> {
        self.lock().iter().find(|run| run.id == id).cloned()
    }

    /// How many letters the run is about.
    pub(super) fn selected(&self, id: Uuid, letters: usize) {
        self.change(id, |run| run.selected = letters);
    }

    /// Runs that somebody else is at.
    pub(super) fn attended(&self, id: Uuid, others: Vec<Uuid>) {
        self.change(id, |run| run.attended = others);
    }

    /// What came of a letter.
    pub(super) fn told(&self, id: Uuid, letter: Uuid, turn: &Turn) {
        self.change(id, |run| {
            run.tally.count(turn);
            run.letters.push(LetterTurn::of(letter, turn));
        });
    }

    /// Letters that were put back.
    pub(super) fn put_back(&self, id: Uuid, letters: u64) {
        self.change(id, |run| run.tally.put_back = letters);
    }

    /// The run has ended; once it has, nothing else ends it.
    pub(super) fn end(&self, id: Uuid, state: RunState, reason: Option<String>) {
        self.change(id, |run| {
            if run.state == RunState::Running {
                run.state = state;
                run.reason = reason;
                run.ended_at = Some(Utc::now());
            }
        });
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.lock().iter_mut().find(|run| run.id == id) {
            change(run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Run>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_goes_on_at_a_time_and_the_last_ones_are_remembered() {
        let runs = Runs::default();
        let ids: Vec<Uuid> = (0..=KEPT).map(|_| Uuid::now_v7()).collect();
        for id in &ids {
            runs.begin(*id, "ada", false).unwrap();
            assert_eq!(runs.begin(Uuid::now_v7(), "bob", false).unwrap_err().status, 409);
            runs.told(*id, Uuid::nil(), &Turn::Took(2));
            runs.end(*id, RunState::Done, None);
            runs.end(*id, RunState::Failed, None);
        }
        assert!(runs.get(ids[0]).is_none());
        let last = runs.get(ids[KEPT]).unwrap();
        assert_eq!((last.state, last.tally.took_effect, last.tally.facts), (RunState::Done, 1, 2));
        assert!(last.ended_at.is_some());
    }

    #[test]
    fn no_run_begins_while_another_stuck_thread_could_end_the_daemon() {
        let runs = Runs::default();
        for _ in 0..=32 {
            assert!(!runs.stuck.leave_little_room());
            runs.stuck.add_one();
        }
        for dry_run in [true, false] {
            let refused = runs.begin(Uuid::now_v7(), "ada", dry_run).unwrap_err();
            assert_eq!(refused.status, 503);
            assert!(refused.detail.contains("factline dlq reprocess"), "{}", refused.detail);
        }
    }
}
