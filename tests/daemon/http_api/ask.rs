//! A daemon that is asked over HTTP, with one token that may read and one that may change.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Request};

use crate::daemon::{
    place::Place,
    stage::{Daemon, free_address, unique, until},
};

pub(super) const OPERATOR: &str = "operators-secret";
pub(super) const VIEWER: &str = "viewers-secret";

const STRUCTURED: &str = "application/cloudevents+json";

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap()
}

/// A daemon that answers.
pub(super) struct Api {
    pub(super) address: String,
    agent: ureq::Agent,
    daemon: Daemon,
}

/// What it said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// The body of an answer with this status.
    pub(super) fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }

    /// The same of a problem that says this.
    pub(super) fn refuses(self, status: u16, words: &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.with(status);
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{words:?} is not in {problem}");
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

impl Api {
    pub(super) async fn start(place: &Place) -> Self {
        Self::start_with(place, &[]).await
    }

    /// With more in its environment.
    pub(super) async fn start_with(place: &Place, environment: &[(&str, &str)]) -> Self {
        let address = free_address();
        let token = |name, role, token: &str| {
            let hash: String =
                Sha256::digest(token).iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex).collect();
            format!("[admin.tokens.{name}]\nrole = \"{role}\"\nsha256 = \"{hash}\"\n")
        };
        let tokens = token("kim", "operator", OPERATOR) + &token("grafana", "viewer", VIEWER);
        let configuration = format!("[admin]\nrate = 100000\n{tokens}");
        std::fs::write(place.folder().join("factline.toml"), configuration).unwrap();
        let mut command = place.command(&["run"]);
        command.env("FACTLINE__ADMIN__BIND", &address).envs(environment.iter().copied());
        let daemon = Daemon::start(command, place.folder().join(unique("log")));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
            .build()
            .into();
        let api = Self { address, agent, daemon };
        until("the server answers", || async { api.try_ask(None, "GET", "/health", &[], b"").is_some() })
            .await;
        api
    }

    pub(super) async fn stop(self) {
        let log = self.daemon.log();
        assert!(!log.contains(OPERATOR) && !log.contains(VIEWER), "a token is in the log:\n{log}");
        assert!(self.daemon.stop().await.success());
    }

    fn try_ask(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match method {
            "GET" | "HEAD" => self.agent.run(request.body(()).unwrap()),
            _ => self.agent.run(request.body(body).unwrap()),
        }
        .ok()?;
        let text = response.body_mut().read_to_string().unwrap();
        Some(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        })
    }

    pub(super) fn ask(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_ask(token, method, path, headers, body).unwrap_or_else(|| panic!("{}", self.daemon.log()))
    }

    /// What a viewer reads.
    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask(Some(VIEWER), "GET", path, &[], b"")
    }

    /// What an operator is told who does that.
    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.ask(Some(OPERATOR), "POST", path, &json, body.to_string().as_bytes())
    }

    /// Sends events, as somebody who may.
    pub(super) fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask(Some(OPERATOR), "POST", "/api/v1/events", headers, body.as_bytes())
    }

    pub(super) fn send_structured(&self, event: &Value) -> Answer {
        self.send(&[("content-type", STRUCTURED)], &event.to_string())
    }

    pub(super) fn send_batch(&self, events: &[Value]) -> Answer {
        self.send(&[("content-type", "application/cloudevents-batch+json")], &json!(events).to_string())
    }

    /// Everything that a listing has, page by page; `between` happens after the first one.
    pub(super) async fn walk(&self, path: &str, limit: u32, between: impl AsyncFnOnce()) -> Vec<Value> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let first = self.get(&format!("{path}{mark}limit={limit}")).with(200);
        between().await;
        let (mut items, mut page) = (Vec::new(), first);
        loop {
            let some = page["items"].as_array().unwrap();
            assert!(some.len() <= limit as usize, "{page}");
            items.extend(some.iter().cloned());
            let Some(next) = page["next"].as_str() else { return items };
            page = self.get(&format!("{path}{mark}limit={limit}&cursor={next}")).with(200);
        }
    }
}

/// An event of this number.
pub(super) fn id(number: u32) -> String {
    format!("0198c0de-0000-7000-8000-{number:012}")
}

/// A chat message with this payload.
#[expect(clippy::needless_pass_by_value, reason = "it is made for this call alone")]
pub(super) fn event(number: u32, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id(number), "source": "/test", "type": "chat.message",
        "subject": format!("c-{number}"), "data": data,
    })
}

/// One that says where somebody lives.
pub(super) fn message(number: u32) -> Value {
    let speaker = format!("Ada{}", char::from(b'a' + u8::try_from(number % 26).unwrap()));
    event(
        number,
        json!({ "conversation_id": format!("c-{number:03}"), "speaker": speaker, "content": "I live in Turin." }),
    )
}

/// One that is set aside.
pub(super) fn malformed(number: u32) -> Value {
    event(
        number,
        json!({ "conversation_id": format!("c-{number:03}"), "speaker": "Ada", "text": "I live in Turin." }),
    )
}

/// Waits until the ledger has so many events.
pub(super) async fn until_recorded(place: &Place, events: i64) {
    until("the events are in the ledger", || async {
        place.number("SELECT count(*) FROM factline.event_ledger").await >= events
    })
    .await;
}
