//! Both sets of tables: the outbox in the application's database, the store in Factline's own.
//!
//! Each set keeps its books in a table of its own, so both may share a database with each other and with an
//! application that uses the same migration tool.

use sqlx::{PgPool, migrate::Migrator};

use super::outbox::quoted;
use crate::{
    migrations::{self, SetStatus},
    outbox_table::OutboxTable,
};

/// The outbox, beside the application's tables.
#[must_use]
pub fn source() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/source");
    migrator.dangerous_set_table_name("factline_source_migrations");
    migrator
}

/// The store, in a schema of its own.
#[must_use]
pub fn store() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/store");
    migrator.create_schema("factline");
    migrator.dangerous_set_table_name("factline.migrations");
    migrator
}

/// What of a set is applied; nothing is changed. An outbox that is there although no migration made it is the
/// application's own.
pub async fn status(
    pool: &PgPool,
    migrator: &Migrator,
    outbox: Option<&OutboxTable>,
) -> Result<SetStatus, sqlx::Error> {
    let kept: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(migrator.table_name.as_ref())
        .fetch_one(pool)
        .await?;
    let applied: Vec<i64> = if kept {
        let versions = format!("SELECT version FROM {} WHERE success", migrator.table_name);
        sqlx::query_scalar(sqlx::AssertSqlSafe(versions)).fetch_all(pool).await?
    } else {
        Vec::new()
    };
    let foreign = match outbox {
        Some(outbox) if applied.is_empty() => {
            sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                .bind(quoted(&outbox.table))
                .fetch_one(pool)
                .await?
        }
        _ => false,
    };
    Ok(SetStatus { migrations: migrations::compare(migrator, &applied), foreign })
}
