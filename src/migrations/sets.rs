//! The sets of tables that a configuration needs, each in its database.

use anyhow::Context as _;
use serde::Serialize;
use sqlx::{PgPool, migrate::Migrator};

use super::Migration;
use crate::{
    config::{Config, Service, service_of},
    outbox_table::OutboxTable,
    postgres, sqlite,
};

/// One set of tables in one database.
pub(crate) struct Set {
    /// `source`, `store` or `embedded`.
    pub(crate) name: &'static str,
    place: Place,
}

enum Place {
    Postgres {
        pool: PgPool,
        migrator: Box<Migrator>,
        outbox: Option<Box<OutboxTable>>,
    },
    Embedded(sqlite::Database),
    /// A file that nobody has made yet.
    Nowhere,
}

/// What a database has of a set.
#[derive(Debug, Clone, Serialize)]
pub struct SetStatus {
    /// All migrations.
    pub migrations: Vec<Migration>,
    /// Whether the outbox table was there before us, so that none of them is wanted.
    pub foreign: bool,
}

impl SetStatus {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.foreign || self.migrations.iter().all(|migration| migration.applied)
    }
}

impl Set {
    pub(crate) async fn up(&self) -> anyhow::Result<()> {
        match &self.place {
            Place::Postgres { pool, migrator, .. } => {
                migrator.run(pool).await.with_context(|| format!("the {} cannot be migrated", self.name))?;
            }
            Place::Embedded(database) => {
                database.migrate_up().await.context("the embedded database cannot be migrated")?;
            }
            Place::Nowhere => {}
        }
        Ok(())
    }

    pub(crate) async fn down(&self, to: i64) -> anyhow::Result<()> {
        match &self.place {
            Place::Postgres { pool, migrator, .. } => {
                let taken = migrator.undo(pool, to).await;
                taken.with_context(|| format!("the {} cannot be taken back", self.name))?;
            }
            Place::Embedded(database) => {
                database.migrate_down(to).await.context("the embedded database cannot be taken back")?;
            }
            Place::Nowhere => {}
        }
        Ok(())
    }

    pub(crate) async fn status(&self) -> anyhow::Result<SetStatus> {
        Ok(match &self.place {
            Place::Postgres { pool, migrator, outbox } => {
                let status = postgres::migrations::status(pool, migrator, outbox.as_deref()).await;
                status.map_err(postgres::told).with_context(|| {
                    format!(
                        "the {}'s database does not answer; check that PostgreSQL runs, and DATABASE_URL",
                        self.name
                    )
                })?
            }
            Place::Embedded(database) => {
                SetStatus { migrations: database.migration_status().await?, foreign: false }
            }
            Place::Nowhere => SetStatus { migrations: sqlite::migrations::none_applied(), foreign: false },
        })
    }
}

/// The sets that this configuration needs, each once. Only whoever `creates` makes a file that is not there.
pub(crate) async fn sets(config: &Config, store_only: bool, creates: bool) -> anyhow::Result<Vec<Set>> {
    let mut sets = Vec::new();
    let mut files = Vec::new();
    let mut add = |name, url: &str, migrator: Migrator, outbox: Option<OutboxTable>| -> anyhow::Result<()> {
        if service_of(url) == Some(Service::Postgres) {
            let pool = postgres::pool(url, 1).with_context(|| format!("{name}.url is unusable"))?;
            let (migrator, outbox) = (Box::new(migrator), outbox.map(Box::new));
            sets.push(Set { name, place: Place::Postgres { pool, migrator, outbox } });
        } else if !files.iter().any(|file| file == url) {
            files.push(url.to_owned());
        }
        Ok(())
    };
    if !store_only {
        let table = config.source.outbox_table();
        add("source", &config.source.url, postgres::migrations::source(), Some(table))?;
    }
    add("store", &config.store.url, postgres::migrations::store(), None)?;
    if service_of(&config.stream.url) == Some(Service::Sqlite) && !files.contains(&config.stream.url) {
        files.push(config.stream.url.clone());
    }
    for file in files {
        let place = if creates || sqlite::Database::path_of(&file)?.exists() {
            let opened = sqlite::Database::open(&file).await;
            Place::Embedded(opened.with_context(|| format!("{file} cannot be opened"))?)
        } else {
            Place::Nowhere
        };
        sets.push(Set { name: "embedded", place });
    }
    Ok(sets)
}
