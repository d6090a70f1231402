//! The statements of the relay's way through the outbox on one connection, without anything around them: what they
//! cost by themselves.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, postgres::PgRow};

use super::{Outbox, SETTINGS, query, statements::Statements};
use crate::{
    outbox_table::OutboxTable,
    postgres::{failed, pool},
    trial::BareOutbox,
};

/// An outbox whose rows are numbered.
pub struct Bare {
    connection: PgConnection,
    statements: Statements,
    after: i64,
}

impl Bare {
    /// Looks the table up, and connects.
    pub async fn connect(url: &str, table: &OutboxTable) -> Result<Self, Error> {
        let pool = pool(url, 1).map_err(failed)?;
        let Outbox { statements, .. } = Outbox::open(pool.clone(), table).await?;
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await.map_err(failed)?;
        pool.close().await;
        connection.execute(SETTINGS).await.map_err(failed)?;
        Ok(Self { connection, statements, after: i64::MIN })
    }
}

#[async_trait]
impl BareOutbox for Bare {
    async fn claim(&mut self, limit: usize) -> Result<Vec<i64>, Error> {
        let claim = query(&self.statements.claim_after).bind(self.after);
        let claim = claim.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = claim.fetch_all(&mut self.connection).await.map_err(failed)?;
        let number = |row: &PgRow| row.try_get("row_id");
        let numbers: Vec<i64> = rows.iter().map(number).collect::<Result<_, _>>().map_err(failed)?;
        self.after = numbers.last().copied().unwrap_or(self.after);
        Ok(numbers)
    }

    async fn mark(&mut self, rows: &[i64]) -> Result<(), Error> {
        let mark = query(&self.statements.mark_processed).bind(rows.to_vec());
        mark.execute(&mut self.connection).await.map_err(failed)?;
        Ok(())
    }
}
