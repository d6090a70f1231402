//! Where a command or a daemon works: on servers, or in a folder with the embedded database. What holds on one has to hold
//! on the other.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteConnectOptions};

use super::stage::{Daemon, Stage, bare_command, text, until};

/// A place to work: PostgreSQL and Redis, or a folder with an embedded database.
pub(crate) enum Place {
    Servers(Stage),
    Embedded(tempfile::TempDir),
}

impl Place {
    pub(crate) async fn servers() -> Self {
        Self::Servers(Stage::new().await)
    }

    pub(crate) fn embedded() -> Self {
        let place = Self::Embedded(tempfile::tempdir().unwrap());
        place.said(&["migrate", "up"]);
        place
    }

    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Servers(stage) => stage.folder.path(),
            Self::Embedded(folder) => folder.path(),
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Servers(stage) => stage.command(arguments),
            Self::Embedded(folder) => {
                let mut command = bare_command(arguments);
                command.current_dir(folder.path()).env("FACTLINE__ADMIN__BIND", "");
                command
            }
        };
        command.env("USER", "ada");
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command says that succeeds.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let said = self.said(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"))
    }

    /// What a command says, in all, that fails.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        text(&output.stdout) + &text(&output.stderr)
    }

    pub(crate) fn with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn emit(&self, payload: &str) -> String {
        let ids = self.json(&["emit", "--key", "c", payload]);
        ids[0].as_str().unwrap().to_owned()
    }

    /// Runs a daemon until so many letters are open.
    pub(crate) async fn process_until_open(&self, letters: usize) {
        let daemon = Daemon::start(self.command(&["run"]), self.folder().join(super::stage::unique("log")));
        until("the letters are there", || async { self.letters("open").len() >= letters }).await;
        assert!(daemon.stop().await.success());
    }

    /// The ids of the letters in a state, the oldest first.
    pub(crate) fn letters(&self, status: &str) -> Vec<String> {
        let listed = self.json(&["dlq", "list", "--status", status]);
        let ids = listed.as_array().unwrap().iter().rev();
        ids.map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
    }

    /// A number out of the store, where PostgreSQL's tables have a schema.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Servers(stage) => stage.count(sql).await,
            Self::Embedded(folder) => {
                let options =
                    SqliteConnectOptions::new().filename(folder.path().join("factline-data/factline.db"));
                let pool = SqlitePool::connect_with(options).await.unwrap();
                sqlx::query_scalar(AssertSqlSafe(sql.replace("factline.", "")))
                    .fetch_one(&pool)
                    .await
                    .unwrap()
            }
        }
    }

    /// A letter for each payload, set aside by a daemon that is gone then.
    pub(crate) async fn set_aside(&self, payloads: &[&str]) -> Vec<String> {
        for payload in payloads {
            self.emit(payload);
        }
        self.process_until_open(payloads.len()).await;
        self.letters("open")
    }
}

/// Every case on both.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod on_servers {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$crate::daemon::place::Place::servers().await).await;
                }
            )*
        }
        mod embedded {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$crate::daemon::place::Place::embedded()).await;
                }
            )*
        }
    };
}
pub(crate) use on_both;
