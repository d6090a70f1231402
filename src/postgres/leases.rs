//! The leases, on the server's clock.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use factline_pipeline::{
    lease::{Fence, Lease, Leases, membership},
    outage::Error,
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{failed, store::Store};
use crate::failpoints::{self, Step};

/// A lease that is to last so much longer than ours was taken before the clock was set back, and is free.
const IMPLAUSIBLE: Duration = Duration::from_mins(1);

/// All that lock several leases do so in the order of their names, so that no two wait for each other.
#[async_trait]
impl Leases for Store {
    async fn acquire(&self, names: &[String], holder: &str, ttl: Duration) -> Result<Vec<Fence>, Error> {
        let take = async |connection: &mut PgConnection| {
            take_free_and_renew_own(connection, names, holder, ttl).await
        };
        let held = self.database.timely(take).await?;
        failpoints::pass(Step::AfterRenewal)?;
        Ok(held)
    }

    async fn release(&self, names: &[String], holder: &str) -> Result<(), Error> {
        self.database.timely(async |connection| end_own(connection, names, holder).await).await
    }

    async fn join(&self, club: &str, holder: &str, ttl: Duration) -> Result<Vec<String>, Error> {
        let join = async |connection: &mut PgConnection| stay_a_member(connection, club, holder, ttl).await;
        self.database.timely(join).await
    }

    async fn leave(&self, club: &str, holder: &str) -> Result<(), Error> {
        let delete =
            sqlx::query("DELETE FROM factline.leases WHERE name = $1").bind(membership(club, holder));
        let delete = async |connection: &mut PgConnection| delete.execute(connection).await.map_err(failed);
        self.database.timely(delete).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Lease>, Error> {
        self.database.timely(async |connection| all(connection).await).await
    }
}

/// Renews the membership, forgets those that have ended, and gives who is left. Statement by statement: whoever is
/// paused between two of them must not keep the others from knowing that.
async fn stay_a_member(
    connection: &mut PgConnection,
    club: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Vec<String>, Error> {
    take_free_and_renew_own(connection, &[membership(club, holder)], holder, ttl).await?;
    sqlx::query(
        "DELETE FROM factline.leases WHERE starts_with(name, $1) AND holder <> $2 \
         AND (expires_at <= clock_timestamp() OR expires_at > clock_timestamp() + make_interval(secs => $3))",
    )
    .bind(membership(club, ""))
    .bind(holder)
    .bind((ttl + IMPLAUSIBLE).as_secs_f64())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query_scalar("SELECT holder FROM factline.leases WHERE starts_with(name, $1) ORDER BY holder")
        .bind(membership(club, ""))
        .fetch_all(connection)
        .await
        .map_err(failed)
}

/// The token rises with the holder's change, and never falls.
async fn take_free_and_renew_own(
    connection: &mut PgConnection,
    names: &[String],
    holder: &str,
    ttl: Duration,
) -> Result<Vec<Fence>, Error> {
    let rows = sqlx::query(
        "INSERT INTO factline.leases AS l (name, holder, token, expires_at) \
         SELECT name, $2, 1, clock_timestamp() + make_interval(secs => $3) \
         FROM unnest($1::text[]) AS name ORDER BY name \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
         token = CASE WHEN l.holder = excluded.holder THEN l.token ELSE l.token + 1 END \
         WHERE l.holder = excluded.holder OR l.expires_at <= clock_timestamp() \
         OR l.expires_at > clock_timestamp() + make_interval(secs => $4) RETURNING name, token",
    )
    .bind(names)
    .bind(holder)
    .bind(ttl.as_secs_f64())
    .bind((ttl + IMPLAUSIBLE).as_secs_f64())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let fence = |row: &PgRow| Ok(Fence { name: row.try_get("name")?, token: row.try_get("token")? });
    rows.iter().map(fence).collect::<Result<_, _>>().map_err(failed)
}

async fn end_own(connection: &mut PgConnection, names: &[String], holder: &str) -> Result<(), Error> {
    sqlx::query(
        "WITH own AS MATERIALIZED (SELECT name FROM factline.leases WHERE name = ANY ($1) AND holder = $2 \
         ORDER BY name FOR NO KEY UPDATE) \
         UPDATE factline.leases AS l SET expires_at = clock_timestamp() FROM own WHERE l.name = own.name",
    )
    .bind(names)
    .bind(holder)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn all(connection: &mut PgConnection) -> Result<Vec<Lease>, Error> {
    let rows = sqlx::query(
        "SELECT name, holder, token, expires_at > clock_timestamp() AS held FROM factline.leases ORDER BY name",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let lease = |row: &PgRow| {
        Ok(Lease {
            name: row.try_get("name")?,
            holder: row.try_get("holder")?,
            token: row.try_get("token")?,
            held: row.try_get("held")?,
        })
    };
    rows.iter().map(lease).collect::<Result<_, _>>().map_err(failed)
}

/// Locks the leases until the transaction ends, so that nobody can take one over while it still counts on it. Fails
/// unless all of these tenures last.
pub(super) async fn check_fences(connection: &mut PgConnection, fences: &[Fence]) -> Result<(), Error> {
    if fences.is_empty() {
        return Ok(());
    }
    let (names, tokens): (Vec<&str>, Vec<i64>) =
        fences.iter().map(|fence| (fence.name.as_str(), fence.token)).unzip();
    let held: Vec<(String, i64)> = sqlx::query_as(
        "SELECT l.name, l.token FROM factline.leases AS l \
         JOIN unnest($1::text[], $2::bigint[]) AS f(name, token) ON l.name = f.name AND l.token = f.token \
         WHERE l.expires_at > clock_timestamp() ORDER BY l.name FOR SHARE OF l",
    )
    .bind(names)
    .bind(tokens)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    all_held(fences, &held)
}

/// Fails unless all of these tenures are among those that last.
pub(super) fn all_held(fences: &[Fence], held: &[(String, i64)]) -> Result<(), Error> {
    let held: HashSet<(&str, i64)> = held.iter().map(|(name, token)| (name.as_str(), *token)).collect();
    match fences.iter().find(|fence| !held.contains(&(fence.name.as_str(), fence.token))) {
        Some(lost) => Err(Error::Fenced { lease: lost.name.clone() }),
        None => Ok(()),
    }
}
