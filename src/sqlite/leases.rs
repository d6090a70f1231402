//! The leases, on SQLite's clock.

use std::time::Duration;

use async_trait::async_trait;
use factline_pipeline::{
    lease::{Fence, Lease, Leases, membership},
    outage::Error,
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{failed, json, store::Store};
use crate::failpoints::{self, Step};

/// Longer than any lease; SQLite's calendar ends in the year 9999.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// A lease that is to last so much longer than ours was taken before the clock was set back, and is free.
const IMPLAUSIBLE: Duration = Duration::from_mins(1);

#[async_trait]
impl Leases for Store {
    async fn acquire(&self, names: &[String], holder: &str, ttl: Duration) -> Result<Vec<Fence>, Error> {
        let mut transaction = self.database.write().await?;
        let fences = take_free_and_renew_own(&mut transaction, &json(names)?, holder, ttl).await?;
        transaction.commit().await.map_err(failed)?;
        failpoints::pass(Step::AfterRenewal)?;
        Ok(fences)
    }

    async fn release(&self, names: &[String], holder: &str) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        sqlx::query(concat!(
            "UPDATE leases SET expires_at = ",
            now!(),
            " WHERE holder = ?1 AND name IN (SELECT value FROM json_each(?2))",
        ))
        .bind(holder)
        .bind(json(names)?)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn join(&self, club: &str, holder: &str, ttl: Duration) -> Result<Vec<String>, Error> {
        let mut transaction = self.database.write().await?;
        take_free_and_renew_own(&mut transaction, &json(&[membership(club, holder)])?, holder, ttl).await?;
        sqlx::query(concat!(
            "DELETE FROM leases WHERE substr(name, 1, length(?1)) = ?1 AND holder <> ?2 AND (expires_at <= ",
            now!(),
            " OR expires_at > strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ?3))",
        ))
        .bind(membership(club, ""))
        .bind(holder)
        .bind(after(ttl.min(LONGEST) + IMPLAUSIBLE))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let members = sqlx::query_scalar(
            "SELECT holder FROM leases WHERE substr(name, 1, length(?1)) = ?1 ORDER BY holder",
        )
        .bind(membership(club, ""))
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(members)
    }

    async fn leave(&self, club: &str, holder: &str) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        sqlx::query("DELETE FROM leases WHERE name = ?1")
            .bind(membership(club, holder))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn list(&self) -> Result<Vec<Lease>, Error> {
        let rows = sqlx::query(concat!(
            "SELECT name, holder, token, expires_at > ",
            now!(),
            " AS held FROM leases ORDER BY name",
        ))
        .fetch_all(self.database.reader())
        .await
        .map_err(failed)?;
        let lease = |row: &SqliteRow| {
            Ok(Lease {
                name: row.try_get("name")?,
                holder: row.try_get("holder")?,
                token: row.try_get("token")?,
                held: row.try_get("held")?,
            })
        };
        rows.iter().map(lease).collect::<Result<_, _>>().map_err(failed)
    }
}

/// How SQLite writes a time that far from now.
fn after(time: Duration) -> String {
    format!("+{:.3} seconds", time.min(LONGEST).as_secs_f64())
}

/// The token rises with the holder's change, and never falls.
async fn take_free_and_renew_own(
    connection: &mut SqliteConnection,
    names: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Vec<Fence>, Error> {
    let rows = sqlx::query(concat!(
        "INSERT INTO leases AS l (name, holder, token, expires_at) \
         SELECT value, ?2, 1, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ?3) FROM json_each(?1) WHERE true \
         ON CONFLICT (name) DO UPDATE SET token = l.token + (l.holder <> excluded.holder), \
         holder = excluded.holder, expires_at = excluded.expires_at \
         WHERE l.holder = excluded.holder OR l.expires_at <= ",
        now!(),
        " OR l.expires_at > strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ?4) RETURNING name, token",
    ))
    .bind(names)
    .bind(holder)
    .bind(after(ttl))
    .bind(after(ttl.min(LONGEST) + IMPLAUSIBLE))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let fence = |row: &SqliteRow| Ok(Fence { name: row.try_get("name")?, token: row.try_get("token")? });
    rows.iter().map(fence).collect::<Result<_, _>>().map_err(failed)
}

/// Fails unless all of these tenures last; they cannot end while the transaction has the write lock.
pub(super) async fn check_fences(connection: &mut SqliteConnection, fences: &[Fence]) -> Result<(), Error> {
    if fences.is_empty() {
        return Ok(());
    }
    let lost: Option<String> = sqlx::query_scalar(concat!(
        "SELECT f.value ->> 'name' FROM json_each(?1) AS f WHERE NOT EXISTS (SELECT 1 FROM leases AS l \
         WHERE l.name = f.value ->> 'name' AND l.token = f.value ->> 'token' AND l.expires_at > ",
        now!(),
        ") LIMIT 1",
    ))
    .bind(json(fences)?)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    lost.map_or(Ok(()), |lease| Err(Error::Fenced { lease }))
}
