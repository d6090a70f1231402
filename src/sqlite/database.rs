//! The file, its one writer and its readers.
//!
//! SQLite lets one connection write at a time. Within a process the writers queue for the one write connection, so
//! that none of them spins; between processes they wait for each other by SQLite's busy timeout. A transaction takes
//! the write lock when it begins: one that starts by reading could not get it later.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use factline_pipeline::outage::Error as Outage;
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::failed;

/// How long to wait for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two attempts at something for which SQLite does not wait by itself.
const LOCKED_PAUSE: Duration = Duration::from_millis(20);

/// Rows that SQLite's thread may be ahead of whoever reads them: with fewer, the two would take turns.
const ROW_BUFFER: usize = 1024;

/// Pages in the journal before they are carried over into the file, 16 MiB: those that change again and again, as the ends
/// of all indexes do, are carried over once for all of that time.
const CHECKPOINT_PAGES: &str = "4000";

/// What the writer keeps of the file in memory at most, in KiB less than nothing: 16 MiB.
const WRITE_CACHE: &str = "-16384";

/// Queries that may run beside the writer.
const READERS: u32 = 4;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not something that names a file.
    #[error("not a SQLite database: {location:?}; give a path, or sqlite://PATH")]
    Location {
        /// What was given.
        location: String,
        /// What is wrong with it.
        #[source]
        source: sqlx::Error,
    },
    /// A database in memory has one connection only.
    #[error("a database in memory cannot be shared between connections; give a path")]
    InMemory,
    /// The folder does not exist and cannot be made.
    #[error("folder {path:?} cannot be made; make it, or choose another place")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be opened or made, or is not a database.
    #[error("database {path:?} cannot be opened; check that the file and its folder are writable")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
}

/// A handle to one database file; clones share its connections.
#[derive(Debug, Clone)]
pub struct Database {
    path: Arc<Path>,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Wakes readers of the stream within this process.
    appended: Arc<Notify>,
}

impl Database {
    /// Opens the database at a path or a `sqlite:` URL, and makes it, and its folder, if it is not there.
    pub async fn open(location: &str) -> Result<Self, Error> {
        let path = path_of(location)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder)
                .await
                .map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(ROW_BUFFER)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .synchronous(SqliteSynchronous::Normal);
        let to_write = options.clone().journal_mode(SqliteJournalMode::Wal).pragma("cache_size", WRITE_CACHE);
        // Connected first: it makes the file and turns the journal on, which the readers rely on.
        let writer = connect(to_write).await.map_err(|source| Error::Open { path: path.clone(), source })?;
        let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { path: path.into(), writer, readers, appended: Arc::default() })
    }

    /// The file that a path or a `sqlite:` URL means, whether it is there or not.
    pub fn path_of(location: &str) -> Result<PathBuf, Error> {
        path_of(location)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the connections, which tidies the journal away if nobody else has the file open.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Outage> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map_err(failed)?;
        Ok(())
    }

    /// Where to read.
    pub(super) fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Where to write with a single statement, which is a transaction of its own.
    pub(super) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// A transaction that may write, once all writers before it are done.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, Outage> {
        self.begin_to_write().await.map_err(failed)
    }

    pub(super) async fn begin_to_write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Woken by every append of this process.
    pub(super) fn appended(&self) -> &Notify {
        &self.appended
    }
}

/// Connects, and turns the write-ahead journal on. SQLite does not wait for that as it waits for everything else: of
/// two processes that open a new file at the same moment, one is told at once that it is locked.
async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match pool(1).connect_with(options.clone()).await {
            Err(error) if is_locked(&error) && Instant::now() < deadline => sleep(LOCKED_PAUSE).await,
            connected => return connected,
        }
    }
}

/// Primary result codes 5 and 6: see <https://www.sqlite.org/rescode.html>.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| [5, 6].contains(&(code & 0xff)))
}

/// Connections to a file neither age nor break: they are neither renewed nor tested.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

fn path_of(location: &str) -> Result<PathBuf, Error> {
    if !location.starts_with("sqlite:") {
        return Ok(PathBuf::from(location));
    }
    let options = SqliteConnectOptions::from_str(location)
        .map_err(|source| Error::Location { location: location.to_owned(), source })?;
    let path = options.get_filename();
    let in_memory = location.contains(":memory:") || location.contains("mode=memory");
    if in_memory { Err(Error::InMemory) } else { Ok(path.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_is_made_with_its_folder_and_opened_again_by_its_url() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b c/factline.db");
        Database::open(path.to_str().unwrap()).await.unwrap().close().await;
        let url = format!("sqlite://{}", path.display()).replace(' ', "%20");
        let again = Database::open(&url).await.unwrap();
        assert_eq!(again.path(), path);
        again.ping().await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("file");
        std::fs::write(&occupied, "no database, but long enough to be taken for one".repeat(100)).unwrap();
        let open = |path: PathBuf| async move { Database::open(path.to_str().unwrap()).await.unwrap_err() };
        assert!(matches!(open(occupied.clone()).await, Error::Open { .. }));
        assert!(matches!(open(occupied.join("factline.db")).await, Error::Folder { .. }));
        assert!(matches!(Database::open("sqlite::memory:").await, Err(Error::InMemory)));
        assert!(matches!(Database::open("sqlite://x.db?mode=odd").await, Err(Error::Location { .. })));
    }

    #[tokio::test]
    async fn a_new_database_to_which_somebody_else_writes_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factline.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let other = pool(1).connect_with(options).await.unwrap();
        sqlx::raw_sql("CREATE TABLE theirs (n int)").execute(&other).await.unwrap();
        let writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();

        let location = path.to_str().unwrap().to_owned();
        let opening = tokio::spawn(async move { Database::open(&location).await });
        // Without waiting it would have failed by the time that a few other files were opened.
        for number in 0..3 {
            let another = folder.path().join(format!("another-{number}.db"));
            Database::open(another.to_str().unwrap()).await.unwrap().close().await;
        }
        writing.rollback().await.unwrap();
        opening.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn several_may_open_and_migrate_a_new_database_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factline.db").to_str().unwrap().to_owned();
        let opened = (0..8).map(|_| {
            let path = path.clone();
            tokio::spawn(
                async move { Database::open(&path).await.unwrap().migrate_up().await.unwrap().len() },
            )
        });
        let mut applied = 0;
        for task in opened.collect::<Vec<_>>() {
            applied += task.await.unwrap();
        }
        let all = Database::open(&path).await.unwrap().migration_status().await.unwrap().len();
        assert_eq!(applied, all);
    }
}
