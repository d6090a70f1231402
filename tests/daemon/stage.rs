//! Where a test plays: a database and a stream prefix of its own, daemons that die with the test, and the checker.

use std::{
    fs::{File, read_to_string},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::servers;

/// Longer than this nothing takes on any machine; only a failing test ever waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A database and a prefix of its own.
pub(crate) struct Stage {
    /// Where the daemon finds its database; a test may put something before it.
    pub(crate) database: String,
    /// Where the database is.
    pub(crate) direct: String,
    pub(crate) redis: String,
    pub(crate) prefix: String,
    pub(crate) folder: TempDir,
    pub(crate) pool: PgPool,
}

/// Waits for a condition, looking every few milliseconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

impl Stage {
    /// Empty databases, migrated by the command that users run.
    pub(crate) async fn new() -> Self {
        let stage = Self::unmigrated().await;
        let migrated = stage.run(&["migrate", "up"]);
        assert!(migrated.status.success(), "{}", text(&migrated.stderr));
        stage
    }

    pub(crate) async fn unmigrated() -> Self {
        let database = servers::Postgres::shared().database();
        let redis = servers::Redis::shared();
        Self::on(&database, &redis.url(), &redis.prefix()).await
    }

    /// On servers that the test has to itself.
    pub(crate) async fn on(database: &str, redis: &str, prefix: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(2).connect(database).await.unwrap();
        Self {
            database: database.to_owned(),
            direct: database.to_owned(),
            redis: redis.to_owned(),
            prefix: prefix.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            pool,
        }
    }

    /// The binary, configured for this stage by the environment alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_of(Path::new(env!("CARGO_BIN_EXE_factline")));
        command.args(arguments);
        command
    }

    /// A program that runs the binary, with the same configuration.
    pub(crate) fn command_of(&self, program: &Path) -> Command {
        let mut command = bare(program);
        command
            .current_dir(self.folder.path())
            .env("DATABASE_URL", &self.database)
            .env("REDIS_URL", &self.redis)
            .env("FACTLINE__STREAM__PREFIX", &self.prefix)
            .env("FACTLINE__ADMIN__BIND", "");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Daemon {
        self.start_with(arguments, &[])
    }

    /// With more in its environment.
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Daemon {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        Daemon::start(command, self.folder.path().join(unique("log")))
    }

    pub(crate) async fn execute(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.pool).await.unwrap();
    }

    pub(crate) async fn count(&self, sql: impl Into<String>) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(&self.pool).await.unwrap()
    }

    /// `rows` chat messages over `keys` conversations, by plain SQL; the n-th message of a key says that it is.
    pub(crate) async fn insert_messages(&self, rows: u32, keys: u32) {
        self.execute(format!(
            "INSERT INTO outbox_events(topic, key, event_type, payload) \
             SELECT 'chat', 'c' || g % {keys}, 'chat.message', jsonb_build_object( \
               'conversation_id', 'c' || g % {keys}, 'message_id', g::text, 'role', 'user', \
               'content', 'I live in ' || chr(65 + (g / {keys}) % 26) || 'town. ' || repeat('x', 100)) \
             FROM generate_series(0, {rows} - 1) AS g"
        ))
        .await;
    }

    pub(crate) async fn recorded(&self) -> i64 {
        self.count("SELECT count(*) FROM factline.event_ledger").await
    }

    /// The same while the database may be away.
    pub(crate) async fn try_recorded(&self) -> Option<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM factline.event_ledger");
        count.fetch_one(&self.pool).await.ok()
    }

    pub(crate) async fn until_recorded(&self, events: i64) {
        until(&format!("{events} events in the ledger"), || async { self.recorded().await >= events }).await;
    }

    /// Compares outbox, ledger and effects: nothing lost, nothing doubled, every key in order.
    pub(crate) async fn assert_exactly_once_in_order(&self) {
        until("no row is pending", || async {
            self.count("SELECT count(*) FROM outbox_events WHERE status = 'pending'").await == 0
        })
        .await;
        let lost = "SELECT count(*) FROM outbox_events AS o LEFT JOIN factline.event_ledger AS l USING (event_id) \
                    WHERE o.status = 'processed' AND l.event_id IS NULL";
        // The ledger's key makes a doubled row impossible; a doubled effect would show in the conversation.
        let doubled = "SELECT count(*) FROM factline.conversations AS c LEFT JOIN ( \
                       SELECT o.key, count(*) AS said FROM factline.event_ledger AS l JOIN outbox_events AS o \
                       USING (event_id) WHERE l.outcome = 'processed' GROUP BY o.key) AS recorded \
                       ON recorded.key = c.conversation_id WHERE message_count <> coalesce(said, 0)";
        let misordered = "SELECT count(*) FROM ( \
                            SELECT l.processed_at, lag(l.processed_at) OVER (PARTITION BY o.key ORDER BY o.id) AS previous \
                            FROM outbox_events AS o JOIN factline.event_ledger AS l USING (event_id)) AS pairs \
                          WHERE processed_at < previous";
        let found = (self.count(lost).await, self.count(doubled).await, self.count(misordered).await);
        assert_eq!(found, (0, 0, 0), "(lost, doubled, misordered)");
        // What users ask says so too.
        let (right, told) = self.verify().await;
        assert!(right && told.contains("lost=0 doubled=0 misordered=0"), "{told}");
    }

    /// Whether `factline verify` is content, and the last thing that it says.
    pub(crate) async fn verify(&self) -> (bool, String) {
        let mut command = self.command(&["verify"]);
        let verified = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let told = text(&verified.stdout) + &text(&verified.stderr);
        (verified.status.success(), told.lines().last().unwrap_or_default().to_owned())
    }

    /// What `factline status --json` says. It runs beside the test, which may be a daemon itself.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let mut command = self.command(&["status", "--json"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    /// Entries that any group has not finished with, over all partitions.
    pub(crate) async fn undrained(&self) -> u64 {
        let status = self.status().await;
        let lag = status["lag"].as_array().unwrap();
        lag.iter().map(|one| one["pending"].as_u64().unwrap() + one["undelivered"].as_u64().unwrap()).sum()
    }
}

/// The binary, with nothing of our own environment that could configure it.
pub(crate) fn bare_command(arguments: &[&str]) -> Command {
    let mut command = bare(Path::new(env!("CARGO_BIN_EXE_factline")));
    command.args(arguments);
    command
}

fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for name in ["DATABASE_URL", "SOURCE_DATABASE_URL", "REDIS_URL", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

/// An address that nobody listens on just now.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A running daemon, killed when the test is over.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        read_to_string(&self.log).unwrap()
    }

    pub(crate) async fn until_logged(&self, words: &str) {
        until(&format!("{words:?} in the log:\n{}", self.log()), || async { self.log().contains(words) })
            .await;
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().unwrap();
        self.ended().await;
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, which is all that is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
