//! Asking the running daemon over HTTP, as the commands do.
//!
//! Where to ask is `admin.bind`, unless a URL is named. A daemon that has tokens is shown the one in `FACTLINE_TOKEN`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use crate::config::Config;

/// Where the commands find their token.
const TOKEN_VARIABLE: &str = "FACTLINE_TOKEN";

/// How long the daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A daemon that may be running.
#[derive(Clone)]
pub(super) struct Daemon {
    agent: Agent,
    /// Without a path, and without a slash at its end.
    url: String,
    token: Option<String>,
}

/// There is no daemon, or none that answers in time.
#[derive(Debug, thiserror::Error)]
#[error("no daemon answers on {0}")]
pub(super) struct Unanswered(String);

/// What it said.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Value,
}

impl Daemon {
    /// The one that `admin.bind` leads to; none where it is empty.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        if config.admin.bind.is_empty() {
            return Ok(None);
        }
        let address = config.admin.bind.parse().context("admin.bind is no address")?;
        Ok(Some(Self::at(&format!("http://{}", reachable(address)))))
    }

    /// The one at a URL.
    pub(super) fn at(url: &str) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            // The daemon is here, or near: no proxy is to see the token, or to be missing.
            .proxy(None)
            .build()
            .into();
        Self { agent, url: url.trim_end_matches('/').to_owned(), token: token() }
    }

    /// Where it is asked.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its answer, whatever its status; an error if nobody answers.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(path, |agent, url, token| agent.get(url).header("authorization", token).call()).await
    }

    /// What it answers that is not JSON.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let (daemon, url) = (self.clone(), format!("{}{path}", self.url));
        let token = self.token.as_ref().map(|token| format!("Bearer {token}")).unwrap_or_default();
        let asked = move || -> anyhow::Result<String> {
            let answer = daemon.agent.get(&url).header("authorization", token).call();
            let mut response = answer.with_context(|| daemon.unanswered())?;
            response.body_mut().read_to_string().context("the daemon's answer breaks off")
        };
        tokio::task::spawn_blocking(asked).await.context("the daemon could not be asked").flatten()
    }

    /// The same, after it was asked to change something.
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(path, |agent, url, token| agent.post(url).header("authorization", token).send_empty()).await
    }

    async fn ask(
        &self,
        path: &str,
        ask: impl FnOnce(&Agent, &str, &str) -> Result<Response<Body>, ureq::Error> + Send + 'static,
    ) -> anyhow::Result<Answer> {
        let (daemon, url) = (self.clone(), format!("{}{path}", self.url));
        // Where nobody is asked who they are, an empty one is not looked at.
        let token = self.token.as_ref().map(|token| format!("Bearer {token}")).unwrap_or_default();
        let asked =
            move || Answer::of(ask(&daemon.agent, &url, &token).with_context(|| daemon.unanswered())?);
        tokio::task::spawn_blocking(asked).await.context("the daemon could not be asked").flatten()
    }

    fn unanswered(&self) -> Unanswered {
        Unanswered(self.url.strip_prefix("http://").unwrap_or(&self.url).to_owned())
    }
}

impl Answer {
    /// What a server said.
    pub(super) fn of(mut response: Response<Body>) -> anyhow::Result<Self> {
        let text = response.body_mut().read_to_string().context("the daemon's answer breaks off")?;
        let body = serde_json::from_str(&text).context("the daemon's answer is not JSON")?;
        Ok(Self { status: response.status().as_u16(), body })
    }

    /// Whether it would say more to somebody with a token, or with another one.
    pub(super) fn wants_token(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// The body, if the daemon did as it was asked.
    pub(super) fn ok(self) -> anyhow::Result<Value> {
        let detail = self.body["detail"].as_str().unwrap_or("no reason given");
        match self.status {
            200..300 => Ok(self.body),
            401 => anyhow::bail!("the daemon asks who you are: set {TOKEN_VARIABLE} ({detail})"),
            403 => anyhow::bail!("the token in {TOKEN_VARIABLE} is not for this: {detail}"),
            status => anyhow::bail!("the daemon refuses with {status}: {detail}"),
        }
    }
}

/// The token that the commands show, if there is one.
pub(super) fn token() -> Option<String> {
    std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
}

/// Who listens everywhere is found at home.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn whoever_listens_everywhere_is_asked_at_home() {
        for (bind, asked) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), asked);
        }
    }
}
