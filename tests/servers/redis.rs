//! A throwaway Redis.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    free_port,
    process::{Folder, Process, text},
    wait_until,
};

const MISSING: &str = "Redis is not installed; run `apt-get install redis-server`";

/// A Redis server of the test process.
pub(crate) struct Redis {
    port: u16,
    options: Vec<String>,
    prefixes: AtomicU32,
    // Before the folder: dropped, and so ended, first.
    process: Mutex<Option<Process>>,
    folder: Folder,
}

impl Redis {
    /// The server that all tests share which leave it, and each other's keys, alone.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_new(&["--appendonly", "no"]))
    }

    /// A server for one test, which may stop it, kill it, and start it again. It keeps its data then: a test that
    /// wants it lost says FLUSHALL.
    pub(crate) fn start_own() -> Self {
        Self::start_own_with(&[])
    }

    /// The same, with options of `redis-server`.
    pub(crate) fn start_own_with(options: &[&str]) -> Self {
        Self::start_new(&[&["--appendonly", "yes"], options].concat())
    }

    fn start_new(options: &[&str]) -> Self {
        assert!(Command::new("redis-server").arg("--version").output().is_ok(), "{MISSING}");
        let folder = Folder::new("redis");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server =
            Self { port: 0, options, prefixes: AtomicU32::new(0), process: Mutex::new(None), folder };
        for _ in 0..3 {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("Redis does not start: {}", server.folder.log());
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What the keys of one test are to begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("test-{}", self.prefixes.fetch_add(1, Ordering::Relaxed))
    }

    /// Where it keeps its data.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Starts it again, on the same port.
    pub(crate) fn start(&self) {
        assert!(self.try_start(), "Redis does not start again: {}", self.folder.log());
    }

    /// Stops it.
    pub(crate) fn stop(&self) {
        drop(self.process.lock().expect("no test fails while it holds this").take());
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.lock().expect("no test fails while it holds this").take() {
            process.kill();
        }
    }

    /// Lets it hang: it takes connections, and answers nobody.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Loses all its data.
    pub(crate) fn flush_all(&self) {
        assert!(self.ask("FLUSHALL").is_some_and(|answer| answer.starts_with("+OK")));
    }

    /// `CONFIG SET`.
    pub(crate) fn configure(&self, name: &str, value: &str) {
        let answer = self.ask(&format!("CONFIG SET {name} {value}"));
        assert!(answer.is_some_and(|answer| answer.starts_with("+OK")), "{name} cannot be {value}");
    }

    fn signal(&self, signal: &str) {
        if let Some(process) = &*self.process.lock().expect("no test fails while it holds this") {
            process.signal(signal);
        }
    }

    fn try_start(&self) -> bool {
        let (port, folder) = (self.port.to_string(), text(&self.folder.path));
        let mut command = vec!["redis-server", "--port", &port, "--bind", "127.0.0.1", "--dir", folder];
        command.extend(["--save", ""]);
        command.extend(self.options.iter().map(String::as_str));
        let process = Process::start("TERM", &self.folder, &command);
        let mut ended = false;
        let ready = wait_until(|| {
            ended = process.has_ended();
            ended || self.ask("PING").is_some_and(|answer| answer.starts_with("+PONG"))
        });
        if !ready || ended {
            return false;
        }
        *self.process.lock().expect("no test fails while it holds this") = Some(process);
        true
    }

    /// One command in a line, and the beginning of its answer.
    fn ask(&self, command: &str) -> Option<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        connection.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = [0; 512];
        let length = connection.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

#[test]
fn a_stopped_or_killed_server_comes_back_with_its_data() {
    let server = Redis::start_own();
    server.ask("SET kept 1").unwrap();
    server.stop();
    assert_eq!(server.ask("PING"), None);
    server.start();
    server.ask("INCR kept").unwrap();
    server.kill();
    server.start();
    assert_eq!(server.ask("GET kept").unwrap(), "$1\r\n2\r\n");
}
