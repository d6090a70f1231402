//! The dead letters that a drill makes, and their end: a deployment must have as many open ones afterwards as before.

use anyhow::bail;
use chrono::{DateTime, Utc};
use factline_pipeline::outbox::NewEvent;
use uuid::Uuid;

use super::{by, journal::Journal, scene::Scene};
use crate::{
    dead_letters::End,
    records::{DeadLetterFilter, DeadLetterRecord},
};

/// More letters than any drill makes.
const LIMIT: u32 = 1_000;

impl Scene<'_> {
    /// The letters of one event: one for each group, or the relay's.
    pub(super) async fn letters_of(&self, event: &NewEvent) -> anyhow::Result<Vec<DeadLetterRecord>> {
        let id = event.event_id.as_ref().map(Uuid::to_string);
        let filter = DeadLetterFilter { event_id: id, limit: LIMIT, ..DeadLetterFilter::default() };
        Ok(self.adapters.databases.records.dead_letters(&filter).await?)
    }

    /// Discards whatever letters the drill has made since then and not dealt with.
    pub(super) async fn discard_own_letters(
        &self,
        journal: &mut Journal,
        since: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let run = self.events.run();
        let filter = DeadLetterFilter {
            text: Some(run.clone()),
            since: Some(since),
            limit: LIMIT,
            ..DeadLetterFilter::default()
        };
        let letters = self.adapters.databases.records.dead_letters(&filter).await?;
        let open = letters.iter().filter(|letter| letter.is_unfinished());
        let open: Vec<Uuid> = open.map(|letter| letter.id).collect();
        journal.step(format!("discarding the drill's own dead letters, {} of them", open.len()));
        let note = format!("made by factline drill, {run}");
        let ended = self.adapters.databases.dead_letters.end(&by(), &open, End::Discarded, &note).await?;
        journal.figure("letters_discarded", ended.len());
        if ended.len() < open.len() {
            bail!("{} of its dead letters are still open", open.len() - ended.len());
        }
        Ok(())
    }
}
