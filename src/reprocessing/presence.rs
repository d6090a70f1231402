//! Who is at a run: whoever works one is a member of its club, and stays so for as long as the process lives.
//!
//! Resuming leaves a run alone that somebody is at. It would do no harm, for each letter's turn is taken once, but an
//! operator who is slow on purpose should not be helped.

use std::{collections::BTreeSet, time::Duration};

use factline_pipeline::outage::{self, Error};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Reprocessor, patiently};
use crate::dead_letters::Selected;

/// Between two looks whether somebody is still at a run.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Reprocessor {
    /// Those of these letters whose runs nobody is at, and the runs that somebody is at.
    ///
    /// Whoever was killed is known to be gone only when its membership ends: that is waited for.
    pub async fn unattended(&self, mut letters: Vec<Selected>) -> Result<(Vec<Selected>, Vec<Uuid>), Error> {
        let mut attended = Vec::new();
        let deadline = Instant::now() + self.keeper.ttl + self.keeper.interval();
        for run in runs_of(&letters) {
            let club = club(run);
            while patiently(|| self.keeper.join(&club)).await?.len() > 1 {
                if Instant::now() >= deadline {
                    patiently(|| self.keeper.leave(&club)).await?;
                    attended.push(run);
                    break;
                }
                sleep(LOOK_EVERY).await;
            }
        }
        letters.retain(|selected| !attended.contains(&selected.run));
        Ok((letters, attended))
    }

    /// Does the work, and says meanwhile, and only then, that somebody is at these letters' runs.
    pub(super) async fn attending<T>(&self, letters: &[Selected], work: impl Future<Output = T>) -> T {
        let clubs: Vec<String> = runs_of(letters).into_iter().map(club).collect();
        let done = tokio::select! {
            done = work => done,
            never = self.stay_in(&clubs) => match never {},
        };
        for club in &clubs {
            if let Err(error) = self.keeper.leave(club).await {
                tracing::debug!(error = %outage::chain(&error), "the membership ends by itself");
            }
        }
        done
    }

    async fn stay_in(&self, clubs: &[String]) -> std::convert::Infallible {
        loop {
            for club in clubs {
                if let Err(error) = self.keeper.join(club).await {
                    tracing::debug!(error = %outage::chain(&error), "nobody can be told who is at the run");
                }
            }
            sleep(self.keeper.interval()).await;
        }
    }
}

fn runs_of(letters: &[Selected]) -> BTreeSet<Uuid> {
    letters.iter().map(|selected| selected.run).collect()
}

fn club(run: Uuid) -> String {
    format!("reprocess:{run}")
}
