//! A server's process and folder, and how both go away with the test process.
//!
//! Each has a shell as its guardian, which reads from a pipe that the test process holds. The pipe closes when the
//! guard is dropped, and as well when the test process is killed; then the guardian does its work.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

/// Runs a program in the background, says its process id, and sends it a signal when the pipe closes.
const GUARD_PROCESS: &str = r#"signal=$1 log=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 & child=$!
echo $child; read -r _; kill -s "$signal" $child 2>/dev/null; wait $child"#;

/// Deletes a folder when the pipe closes, as soon as whoever writes there has stopped.
const GUARD_FOLDER: &str = r#"read -r _; until rm -rf "$1" 2>/dev/null; do sleep 0.1; done"#;

/// A shell that waits for its pipe to close. It has a process group of its own, so that it survives whatever kills
/// the group of the tests.
struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script, "guardian"]).args(arguments).stderr(Stdio::null()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("there is a shell");
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }

    /// The first line that it says.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.shell.stdout.take().expect("the guardian's output is piped and read once");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        line.trim().to_owned()
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.shell.wait() {
            eprintln!("a guardian was lost: {error}");
        }
    }
}

/// A running server. Dropping it sends the signal that it was given, and waits until the server is gone.
pub(super) struct Process {
    id: String,
    _guardian: Guardian,
}

impl Process {
    /// Starts it; what it says goes to the log in the folder.
    pub(super) fn start(stop_signal: &str, folder: &Folder, command: &[&str]) -> Self {
        let log = folder.log_path();
        let mut guardian = Guardian::start(GUARD_PROCESS, &[&[stop_signal, text(&log)], command].concat());
        Self { id: guardian.answer(), _guardian: guardian }
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(self) {
        run("kill", &["-KILL", &self.id]);
        drop(self);
    }

    pub(super) fn signal(&self, signal: &str) {
        run("kill", &["-s", signal, &self.id]);
    }

    /// Whether it has ended by itself. Its guardian waits for the pipe, so it is a zombie then.
    pub(super) fn has_ended(&self) -> bool {
        let status = std::fs::read_to_string(Path::new("/proc").join(&self.id).join("stat"));
        status.map_or(true, |status| status.contains(") Z "))
    }
}

/// A temporary folder.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _guardian: Guardian,
}

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("factline-{name}-")).tempdir();
        let path = folder.expect("a temporary folder can be made").keep();
        let guardian = Guardian::start(GUARD_FOLDER, &[text(&path)]);
        Self { path, _guardian: guardian }
    }

    fn log_path(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// What the server that writes here has said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_else(|_| "it said nothing".into())
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary folder's path is UTF-8")
}

/// Runs a program to its end; a failure is the test's, with all that the program said.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed: {said}{complained}");
    said
}
