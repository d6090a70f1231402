//! The store's statements for a batch on one connection, without anything around them: what they cost by themselves.

use async_trait::async_trait;
use factline_pipeline::{ledger::Recording, outage::Error};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{effects::Effects, failed, ledger_rows::LedgerRows, pool, store::SETTINGS};
use crate::trial::BareStore;

/// A connection to the store.
pub struct Bare(PgConnection);

impl Bare {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let options = pool(url, 1).map_err(failed)?.connect_options();
        let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
        connection.execute(SETTINGS).await.map_err(failed)?;
        Ok(Self(connection))
    }
}

#[async_trait]
impl BareStore for Bare {
    async fn record(&mut self, group: &str, batch: &[Recording]) -> Result<(), Error> {
        Effects::of(batch).take(&mut self.0, &[], group, &LedgerRows::of_recordings(batch)).await
    }
}
