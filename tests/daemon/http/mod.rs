//! The admin HTTP server of the real daemon, asked from outside.

use std::{process::Command, time::Duration};

use awc::{Client, ClientRequest, http::header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;

use super::stage::{Daemon, Stage, bare_command, free_address, text, until};

mod commands;
mod core;
mod harm;
mod health;
mod live;
mod tree;

/// A daemon that listens, and a client for it.
pub(super) struct Site {
    pub(super) daemon: Daemon,
    pub(super) address: String,
    client: Client,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// A new token of this name, and the environment by which a daemon knows it; made by the command that users run.
pub(super) fn token(name: &str, role: &str) -> (String, Vec<(String, String)>) {
    let made = bare_command(&["token", name, "--role", role, "--json"]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let variable = |key: &str| format!("FACTLINE__ADMIN__TOKENS__{}__{key}", name.to_uppercase());
    let value = |key: &str| made[key].as_str().unwrap().to_owned();
    let environment = vec![(variable("ROLE"), value("role")), (variable("SHA256"), value("sha256"))];
    (value("token"), environment)
}

/// Owned, for an environment.
pub(super) fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Site {
    /// On an embedded database, with this in its environment.
    pub(super) async fn embedded(environment: Vec<(String, String)>) -> Self {
        Self::start(&free_address(), environment, bare_command).await
    }

    /// The same, where it is told to listen.
    pub(super) async fn listening_on(bind: &str, environment: Vec<(String, String)>) -> Self {
        Self::start(bind, environment, bare_command).await
    }

    /// On the stage's servers.
    pub(super) async fn on(stage: &Stage, environment: Vec<(String, String)>) -> Self {
        Self::start(&free_address(), environment, |arguments| stage.command(arguments)).await
    }

    async fn start(
        bind: &str,
        environment: Vec<(String, String)>,
        command: impl Fn(&[&str]) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = bind.replace("0.0.0.0", "127.0.0.1");
        let mut all = variables(&[
            ("FACTLINE__ADMIN__BIND", bind),
            ("FACTLINE__ADMIN__RATE", "100000"),
            ("FACTLINE__TELEMETRY__OBSERVE_EVERY", "100ms"),
        ]);
        all.extend(environment);
        let mut run = command(&["run"]);
        run.current_dir(folder.path()).envs(all.iter().cloned());
        let daemon = Daemon::start(run, folder.path().join("log"));
        let client = Client::builder().timeout(Duration::from_mins(1)).disable_redirects().finish();
        let site = Self { daemon, address, client, environment: all, folder };
        until("it answers", || async { site.get("/health").send().await.is_ok() }).await;
        until("the tree has started", || async { site.daemon.log().contains("factline is running") }).await;
        site
    }

    /// A command beside the daemon, with its environment.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare_command(arguments);
        command.current_dir(self.folder.path()).envs(self.environment.iter().cloned());
        command
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn get(&self, path: &str) -> ClientRequest {
        self.client.get(self.url(path))
    }

    pub(super) fn post(&self, path: &str) -> ClientRequest {
        self.client.post(self.url(path))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The body of what is there.
    pub(super) async fn read(&self, path: &str) -> Value {
        let reply = reply(self.get(path)).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }
}

/// Sends it, and takes all that comes back.
pub(super) async fn reply(request: ClientRequest) -> Reply {
    let mut response = request.send().await.unwrap();
    let body = response.body().limit(1 << 24).await.unwrap();
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// That it is a problem as RFC 9457 has it, with this status, and names the request.
    pub(super) fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert!(
            self.body["title"].is_string() && self.body["type"].is_string() && !self.detail().is_empty(),
            "{self:?}"
        );
        assert_eq!(self.body["request_id"], self.header("x-request-id"), "{self:?}");
    }
}
