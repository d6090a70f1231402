//! The tables of the embedded database: made, looked at, and taken away again.

use sqlx::{
    AssertSqlSafe, SqliteConnection,
    migrate::{MigrateError, Migrator},
};

use super::Database;
use crate::migrations::{Migration, compare};

/// Its own, so that it never takes an application's migrations in the same file for its own.
const TABLE: &str = "factline_embedded_migrations";

impl Database {
    /// Applies what is missing, all or nothing; gives what it applied.
    pub async fn migrate_up(&self) -> Result<Vec<Migration>, MigrateError> {
        if self.migration_status().await?.iter().all(|migration| migration.applied) {
            return Ok(Vec::new());
        }
        // One transaction around it all: of two processes that start at once, the second one finds it done.
        let mut transaction = self.begin_to_write().await?;
        let before = applied_versions(&mut transaction).await?;
        migrator().run_direct(None, &mut *transaction, false).await?;
        let after = applied_versions(&mut transaction).await?;
        transaction.commit().await?;
        let status = compare(&migrator(), &after).into_iter();
        Ok(status.filter(|migration| migration.applied && !before.contains(&migration.version)).collect())
    }

    /// Takes back all migrations after `version`, with everything that is in their tables; gives what it took back.
    pub async fn migrate_down(&self, version: i64) -> Result<Vec<Migration>, MigrateError> {
        let mut transaction = self.begin_to_write().await?;
        let before = applied_versions(&mut transaction).await?;
        migrator().undo(&mut *transaction, version).await?;
        let after = applied_versions(&mut transaction).await?;
        transaction.commit().await?;
        let status = compare(&migrator(), &after).into_iter();
        Ok(status.filter(|migration| !migration.applied && before.contains(&migration.version)).collect())
    }

    /// All migrations; nothing is changed.
    pub async fn migration_status(&self) -> Result<Vec<Migration>, sqlx::Error> {
        let mut connection = self.reader().acquire().await?;
        Ok(compare(&migrator(), &applied_versions(&mut connection).await?))
    }
}

/// All migrations of a database that is not there.
#[must_use]
pub fn none_applied() -> Vec<Migration> {
    compare(&migrator(), &[])
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/embedded");
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Looks without making the bookkeeping's table: a question changes nothing.
async fn applied_versions(connection: &mut SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    let kept: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)")
            .bind(TABLE)
            .fetch_one(&mut *connection)
            .await?;
    if !kept {
        return Ok(Vec::new());
    }
    let versions = format!("SELECT version FROM {TABLE} WHERE success ORDER BY version");
    sqlx::query_scalar(AssertSqlSafe(versions)).fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn migrations_go_up_and_down_and_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("factline.db").to_str().unwrap()).await.unwrap();
        let applied = || async { database.migration_status().await.unwrap()[0].applied };
        assert!(!applied().await);
        let all = migrator().iter().filter(|migration| migration.migration_type.is_up_migration()).count();
        for _ in 0..2 {
            assert_eq!(database.migrate_up().await.unwrap().len(), all);
            assert!(database.migrate_up().await.unwrap().is_empty() && applied().await);
            assert_eq!(database.migrate_down(0).await.unwrap().len(), all);
            assert!(database.migrate_down(0).await.unwrap().is_empty() && !applied().await);
            let tables: Vec<String> =
                sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'")
                    .fetch_all(database.reader())
                    .await
                    .unwrap();
            assert_eq!(tables, [TABLE]);
        }
    }
}
