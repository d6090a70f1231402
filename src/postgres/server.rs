//! What the server says of itself, and how many connections to it are in use.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{failed, outbox::Outbox, store::Store};
use crate::observation::{DatabaseServer, Holder, OldTransaction, PoolUse, PostgresServer, clock_ahead};

#[async_trait]
impl DatabaseServer for Store {
    async fn examine(&self) -> Result<Option<PostgresServer>, Error> {
        self.database.timely(examine).await.map(Some)
    }

    fn pool_use(&self) -> Option<PoolUse> {
        Some(self.database.pool_use())
    }
}

#[async_trait]
impl DatabaseServer for Outbox {
    async fn examine(&self) -> Result<Option<PostgresServer>, Error> {
        self.database.timely(examine).await.map(Some)
    }

    fn pool_use(&self) -> Option<PoolUse> {
        Some(self.database.pool_use())
    }
}

async fn examine(connection: &mut PgConnection) -> Result<PostgresServer, Error> {
    let oldest_transaction = what_holds_the_horizon_back(connection).await?;
    count_connections(connection, oldest_transaction).await
}

/// Whoever has not the role `pg_read_all_stats` sees other users' processes, but not what kind they are.
async fn count_connections(
    connection: &mut PgConnection,
    oldest_transaction: Option<OldTransaction>,
) -> Result<PostgresServer, Error> {
    let asked = Utc::now();
    let row = sqlx::query(
        "SELECT split_part(current_setting('server_version'), ' ', 1) AS version, clock_timestamp() AS now, \
         current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
           - coalesce(current_setting('reserved_connections', true)::bigint, 0) AS max_connections, \
         (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
           OR (backend_type IS NULL AND datid IS NOT NULL)) AS connections",
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let server = |row: &PgRow| {
        Ok(PostgresServer {
            version: row.try_get("version")?,
            clock_ahead_ms: clock_ahead(asked, row.try_get::<DateTime<Utc>, _>("now")?),
            connections: row.try_get("connections")?,
            max_connections: row.try_get("max_connections")?,
            oldest_transaction,
        })
    };
    server(&row).map_err(failed)
}

/// The transaction, prepared transaction or replication slot with the oldest snapshot of this database. Autovacuum and
/// our own transaction hold nothing back.
async fn what_holds_the_horizon_back(connection: &mut PgConnection) -> Result<Option<OldTransaction>, Error> {
    let row = sqlx::query(
        "SELECT * FROM ( \
           SELECT 'transaction' AS kind, pid, coalesce(application_name, '') AS application, \
             coalesce(state, backend_type, '') AS state, \
             xact_start AS since, extract(epoch FROM clock_timestamp() - xact_start)::double precision AS age_seconds, \
             greatest(age(backend_xmin), age(backend_xid))::bigint AS transactions \
           FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL) \
             AND backend_type IS DISTINCT FROM 'autovacuum worker' \
           UNION ALL SELECT 'prepared', NULL, gid, 'prepared', \
             prepared, extract(epoch FROM clock_timestamp() - prepared)::double precision, age(transaction)::bigint \
           FROM pg_prepared_xacts WHERE database = current_database() \
           UNION ALL SELECT 'slot', active_pid, slot_name, CASE WHEN active THEN 'active' ELSE 'inactive' END, \
             NULL, NULL, age(xmin)::bigint \
           FROM pg_replication_slots WHERE database IS NULL OR database = current_database()) AS holders \
         WHERE transactions IS NOT NULL ORDER BY transactions DESC, age_seconds DESC NULLS LAST LIMIT 1",
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.as_ref().map(old_transaction).transpose().map_err(failed)
}

fn old_transaction(row: &PgRow) -> Result<OldTransaction, sqlx::Error> {
    Ok(OldTransaction {
        kind: match row.try_get("kind")? {
            "prepared" => Holder::Prepared,
            "slot" => Holder::Slot,
            _ => Holder::Transaction,
        },
        pid: row.try_get("pid")?,
        application: row.try_get("application")?,
        state: row.try_get("state")?,
        since: row.try_get("since")?,
        age_seconds: row.try_get("age_seconds")?,
        transactions: row.try_get("transactions")?,
    })
}
