//! The store's statements for a batch on one connection, without anything around them: what they cost by themselves.

use async_trait::async_trait;
use factline_pipeline::{ledger::Recording, outage::Error};
use sqlx::{Connection as _, PgConnection};

use super::{conversations, facts, failed, ledger_rows::LedgerRows, pool, unusable};
use crate::trial::BareStore;

/// A connection to the store.
pub struct Bare(PgConnection);

impl Bare {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let options = pool(url, 1).map_err(failed)?.connect_options();
        Ok(Self(PgConnection::connect_with(&options).await.map_err(failed)?))
    }
}

#[async_trait]
impl BareStore for Bare {
    async fn record(&mut self, group: &str, batch: &[Recording]) -> Result<(), Error> {
        let mut transaction = self.0.begin().await.map_err(failed)?;
        let all_new = LedgerRows::of_recordings(batch).insert_all(&mut transaction, group).await?;
        if !all_new {
            return Err(unusable("an event was recorded twice"));
        }
        let new: Vec<&Recording> = batch.iter().collect();
        facts::record(&mut transaction, &new).await?;
        conversations::update(&mut transaction, &new).await?;
        transaction.commit().await.map_err(failed)
    }
}
