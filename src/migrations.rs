//! Which migrations there are, and which of them a database has.

use serde::Serialize;
use sqlx::migrate::Migrator;

mod sets;

pub use sets::SetStatus;
pub(crate) use sets::{Set, sets};

/// What is known of a migration that this version does not know.
const NEWER: &str = "made by a newer version of factline";

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// Its number, counted upwards.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// Whether the database has it.
    pub applied: bool,
}

impl Migration {
    /// Whether this version of Factline does not know it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.description == NEWER
    }
}

/// All migrations of a set, and those that only a newer version of Factline knows.
#[must_use]
pub fn compare(migrator: &Migrator, applied: &[i64]) -> Vec<Migration> {
    let known = migrator.iter().filter(|migration| !migration.migration_type.is_down_migration());
    let mut all: Vec<Migration> = known
        .map(|migration| Migration {
            version: migration.version,
            description: migration.description.to_string(),
            applied: applied.contains(&migration.version),
        })
        .collect();
    for &version in applied {
        if !all.iter().any(|migration| migration.version == version) {
            let description = NEWER.to_owned();
            all.push(Migration { version, description, applied: true });
        }
    }
    all
}
