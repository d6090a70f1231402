//! `/ws`: what changes, as it changes.
//!
//! One task a server, the [`hub`], looks and compares while anybody listens, and tells all at once; a client costs a
//! queue. First comes a `snapshot` of each topic, then `change`s from one look to the next, in order; what came and went
//! between two looks is not told, nor are facts and dead letters beyond the newest hundred of a look. A client that does
//! not keep up is closed, not waited for: whoever comes back gets a snapshot.

use std::{collections::BTreeSet, fmt, net::Shutdown, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, get, rt,
    web::{Data, Payload, Query},
};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, interval},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    access::{SUBPROTOCOL, Viewer},
    clients::Connection,
    problem::Problem,
};

pub(super) mod hub;
mod topics;

use hub::{Hub, Listener};

/// Time between two pings.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A client that has not answered any for so long is gone.
const PONG_WITHIN: Duration = Duration::from_secs(45);

/// How long a client may take until there is room for the next event.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// How long a client has to take the reason why it is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Clients have nothing to say that is longer.
const LONGEST_FRAME: usize = 4096;

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(listen);
}

/// What can be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Topic {
    /// Supervisors and actors.
    Tree,
    /// What is pending in the outbox.
    Outbox,
    /// How each group stands in each partition.
    Streams,
    /// Dead letters that are open.
    DeadLetters,
    /// New facts.
    Facts,
}

impl Topic {
    const ALL: [Self; 5] = [Self::Tree, Self::Outbox, Self::Streams, Self::DeadLetters, Self::Facts];

    fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Outbox => "outbox",
            Self::Streams => "streams",
            Self::DeadLetters => "dead_letters",
            Self::Facts => "facts",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which topics.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `tree`, `outbox`, `streams`, `dead_letters`, `facts`, with commas between them.
    #[serde(default)]
    topics: String,
}

impl Wanted {
    fn topics(&self) -> Result<BTreeSet<Topic>, Problem> {
        let known = || Topic::ALL.map(Topic::name).join(",");
        let topic = |name: &str| {
            let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
            topic.ok_or_else(|| Problem::bad_request(format!("there is no topic {name:?}, only {}", known())))
        };
        if self.topics.is_empty() {
            return Err(Problem::bad_request(format!("say what to listen to: /ws?topics={}", known())));
        }
        self.topics.split(',').map(topic).collect()
    }
}

/// A WebSocket of JSON events `{type, at, data}`.
#[utoipa::path(tag = "live", security(("bearer" = [])), params(Wanted), responses(
    (status = SWITCHING_PROTOCOLS, description = "events follow"),
    (status = BAD_REQUEST, body = Problem, description = "an unknown topic, or no WebSocket"),
    (status = SERVICE_UNAVAILABLE, body = Problem, description = "too many listen already"),
))]
#[get("/ws")]
async fn listen(
    viewer: Viewer,
    wanted: Query<Wanted>,
    hub: Data<Hub>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let topics = wanted.topics()?;
    let seat = hub.seat()?;
    let (response, session, messages) = actix_ws::handle_with_protocols(&request, payload, &[SUBPROTOCOL])?;
    let client = Client {
        name: viewer.caller().name.clone(),
        session,
        messages: messages.max_frame_size(LONGEST_FRAME),
        heard: Instant::now(),
    };
    let socket = request.conn_data::<Connection>().and_then(Connection::socket);
    let listener = hub.join(topics).await?;
    rt::spawn(async move {
        client.serve(listener).await;
        drop(seat);
        // A client that reads nothing more would keep what waits for it.
        rt::time::sleep(CLOSE_WITHIN).await;
        if let Some(socket) = socket {
            // It may be closed already, which is all that is wanted.
            socket.shutdown(Shutdown::Both).ok();
        }
    });
    Ok(response)
}

/// One client.
struct Client {
    name: String,
    session: Session,
    messages: MessageStream,
    heard: Instant,
}

/// Why a client is served no more.
enum End {
    /// It went.
    Gone,
    /// It is sent away.
    Closed(CloseCode, &'static str),
}

const TOO_SLOW: End = End::Closed(CloseCode::Policy, "too slow: connect again for a snapshot");

impl Client {
    async fn serve(mut self, mut listener: Listener) {
        let end = match self.tell_all(std::mem::take(&mut listener.snapshots)).await {
            Ok(()) => self.tell_changes(listener).await,
            Err(end) => end,
        };
        let End::Closed(code, reason) = end else { return };
        tracing::info!(who = self.name, reason, "a listener is closed");
        let reason = CloseReason { code, description: Some(reason.to_owned()) };
        // Whoever is closed for reading nothing will not read this either.
        rt::time::timeout(CLOSE_WITHIN, self.session.close(Some(reason))).await.ok();
    }

    async fn tell_all(&mut self, events: Vec<String>) -> Result<(), End> {
        for event in events {
            self.tell(&event).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, event: &str) -> Result<(), End> {
        match rt::time::timeout(SEND_WITHIN, self.session.text(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(TOO_SLOW),
        }
    }

    async fn tell_changes(&mut self, mut listener: Listener) -> End {
        let mut pings = interval(PING_EVERY);
        loop {
            let done = tokio::select! {
                event = listener.events.recv() => match event {
                    Ok(event) if listener.topics.contains(&event.topic) => self.tell(&event.text).await,
                    Ok(_) => Ok(()),
                    Err(RecvError::Lagged(_)) => Err(TOO_SLOW),
                    Err(RecvError::Closed) => Err(End::Closed(CloseCode::Restart, "the server stops")),
                },
                message = self.messages.recv() => self.hear(message).await,
                _ = pings.tick() => self.ping().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn hear(&mut self, message: Option<Result<Message, actix_ws::ProtocolError>>) -> Result<(), End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Ping(bytes))) => {
                let ponged = rt::time::timeout(SEND_WITHIN, self.session.pong(&bytes)).await;
                ponged.map_err(|_| TOO_SLOW)?.map_err(|_| End::Gone)
            }
            Some(Ok(Message::Close(_))) => Err(End::Closed(CloseCode::Normal, "")),
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(End::Closed(CloseCode::Protocol, "this is not understood")),
            None => Err(End::Gone),
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > PONG_WITHIN {
            return Err(End::Closed(CloseCode::Away, "no answer to any ping"));
        }
        let pinged = rt::time::timeout(SEND_WITHIN, self.session.ping(b"")).await;
        pinged.map_err(|_| TOO_SLOW)?.map_err(|_| End::Gone)
    }
}

#[cfg(test)]
mod tests;
