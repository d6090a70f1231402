//! A throwaway PostgreSQL.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    free_port,
    process::{Folder, Process, run, text},
    wait_until,
};

const MISSING: &str = "PostgreSQL is not installed; run `apt-get install postgresql`";

/// Its backends end with it, but a shared memory segment stays behind unless it ends by itself.
const STOP_AT_ONCE: &str = "QUIT";

/// A PostgreSQL server of the test process.
pub(crate) struct Postgres {
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
    databases: AtomicU32,
    // Before the folder: dropped, and so ended, first.
    process: Mutex<Option<Process>>,
    folder: Folder,
}

impl Postgres {
    /// The server that all tests share which leave it alone.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start_own)
    }

    /// A server for one test, which may stop it, kill it, and start it again.
    pub(crate) fn start_own() -> Self {
        Self::start_own_with(&[])
    }

    /// The same, with settings.
    pub(crate) fn start_own_with(settings: &[&str]) -> Self {
        let programs = programs();
        let folder = Folder::new("postgres");
        let data = folder.path.join("data");
        if let Some(user) = user() {
            run("chown", &[user, text(&folder.path)]);
        }
        let initdb = programs.join("initdb");
        let mut command = as_user(text(&initdb));
        command.extend(["-D", text(&data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        command.push("--locale=C.UTF-8");
        run(command[0], &command[1..]);
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let databases = AtomicU32::new(0);
        let mut server = Self { programs, port: 0, settings, databases, process: Mutex::new(None), folder };
        for _ in 0..3 {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.folder.log());
    }

    /// A new, empty database: its URL.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let createdb = self.programs.join("createdb");
        run(text(&createdb), &["-h", "127.0.0.1", "-p", &port, "-U", "postgres", &name]);
        format!("postgres://postgres@127.0.0.1:{port}/{name}")
    }

    /// Starts it again, on the same port and with the same data.
    pub(crate) fn start(&self) {
        assert!(self.try_start(), "PostgreSQL does not start again: {}", self.folder.log());
    }

    /// Stops it: connections are closed, everything committed is kept.
    pub(crate) fn stop(&self) {
        drop(self.process.lock().expect("no test fails while it holds this").take());
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.lock().expect("no test fails while it holds this").take() {
            process.kill();
        }
    }

    fn try_start(&self) -> bool {
        let (postgres, port) = (self.programs.join("postgres"), self.port.to_string());
        let (data, folder) = (self.folder.path.join("data"), text(&self.folder.path));
        let sockets = format!("unix_socket_directories={folder}");
        let mut command = as_user(text(&postgres));
        command.extend(["-D", text(&data), "-p", &port, "-c", &sockets]);
        command.extend(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "fsync=off"]);
        command.extend(self.settings.iter().flat_map(|setting| ["-c", setting.as_str()]));
        let process = Process::start(STOP_AT_ONCE, &self.folder, &command);
        let ready = self.programs.join("pg_isready");
        let answers = || {
            let asked = Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
            asked.is_ok_and(|status| status.success())
        };
        let mut ended = false;
        let ready = wait_until(|| {
            ended = process.has_ended();
            ended || answers()
        });
        if !ready || ended {
            return false;
        }
        *self.process.lock().expect("no test fails while it holds this") = Some(process);
        true
    }
}

/// Debian keeps the server's programs, one folder a version, out of the PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin"));
    let newest = installed.filter(|programs| programs.join("initdb").exists()).max_by_key(|programs| {
        let version = programs.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    newest.or_else(in_path).expect(MISSING)
}

/// PostgreSQL refuses to run as root: whom it is to run as instead.
fn user() -> Option<&'static str> {
    if run("id", &["-u"]).trim() != "0" {
        return None;
    }
    let exists =
        Command::new("id").args(["-u", "postgres"]).output().is_ok_and(|output| output.status.success());
    Some(if exists { "postgres" } else { "nobody" })
}

fn as_user(program: &str) -> Vec<&str> {
    match user() {
        Some(user) => {
            vec!["setpriv", "--reuid", user, "--regid", group(user), "--clear-groups", "--", program]
        }
        None => vec![program],
    }
}

fn group(user: &str) -> &'static str {
    if user == "nobody" { "nogroup" } else { "postgres" }
}

#[test]
fn a_stopped_or_killed_server_comes_back_with_its_data() {
    let server = Postgres::start_own();
    let url = server.database();
    let psql = server.programs.join("psql");
    let ask = |sql: &str| run(text(&psql), &["-qtA", "-d", &url, "-c", sql]).trim().to_owned();
    ask("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)");
    server.stop();
    server.start();
    ask("INSERT INTO kept VALUES (2)");
    server.kill();
    server.start();
    assert_eq!(ask("SELECT count(*) FROM kept"), "2");
}
