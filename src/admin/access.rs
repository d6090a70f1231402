//! Who asks: a handler that names a [`Viewer`], a [`Producer`] or an [`Operator`] among its arguments is for those
//! alone; an operator is each of them.
//!
//! A token comes as `Authorization: Bearer TOKEN`. A browser cannot set headers of a WebSocket, so there it may come as
//! a subprotocol, `factline.bearer.TOKEN` beside `factline`. In the query string it would end in logs and histories: it
//! is not looked for there.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::{StatusCode, header},
    web::Data,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{State, problem::Problem};
use crate::{
    config::{self, Role},
    operator_log::Actor,
};

/// What the WebSocket speaks, and the only subprotocol that is ever answered.
pub(super) const SUBPROTOCOL: &str = "factline";

/// Before a token that comes as a subprotocol.
const TOKEN_SUBPROTOCOL: &str = "factline.bearer.";

/// Somebody who may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer(Caller);

/// Somebody who may write events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer(Caller);

/// Somebody who may change things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Caller);

/// Somebody, as the operator log names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of their token; without tokens, `anonymous`.
    pub name: String,
    /// Where the request came from.
    pub address: String,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    fn actor(&self) -> Actor {
        Actor { who: self.name.clone(), origin: Some(self.address.clone()) }
    }
}

impl Operator {
    /// Who it is, for the operator log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.0.actor()
    }
}

impl Producer {
    /// Who it is, for the operator log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.0.actor()
    }
}

impl Viewer {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

/// Whom the configuration knows.
pub(super) struct Access {
    /// Whether the configuration knows nobody at all.
    open: bool,
    tokens: Vec<Known>,
}

struct Known {
    name: String,
    role: Role,
    sha256: [u8; 32],
}

impl Access {
    /// Those of `[admin.tokens]`. A hash that is none opens nothing: then one that nobody has was asked for.
    pub(super) fn new(config: &config::Admin) -> Self {
        let known = config.tokens.iter().filter_map(|(name, token)| {
            Some(Known { name: name.clone(), role: token.role, sha256: from_hex(&token.sha256)? })
        });
        Self { open: config.tokens.is_empty(), tokens: known.collect() }
    }

    /// Whether anybody is asked who they are.
    pub(super) fn asks(&self) -> bool {
        !self.open
    }

    /// Whose token this is. All are compared, each in constant time: how long it takes tells nobody how near a guess is.
    fn whose(&self, token: &str) -> Option<&Known> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for known in &self.tokens {
            if bool::from(known.sha256.ct_eq(&hash)) {
                found = Some(known);
            }
        }
        found
    }

    /// Who asks; without any token in the configuration, anybody is an operator.
    pub(super) fn identify(&self, request: &HttpRequest) -> Result<Caller, Problem> {
        let address = request.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
        if self.open {
            return Ok(Caller { name: "anonymous".into(), address, role: Role::Operator });
        }
        let Some(token) = bearer(request).or_else(|| subprotocol_token(request)) else {
            return Err(unauthorized(
                "say who you are: `Authorization: Bearer TOKEN`; a token in the query string is not looked at",
            ));
        };
        let known = self.whose(token).ok_or_else(|| {
            unauthorized("nobody has this token; `factline token NAME` makes one for [admin.tokens]")
        })?;
        Ok(Caller { name: known.name.clone(), address, role: known.role })
    }
}

fn unauthorized(detail: &str) -> Problem {
    let challenge = header::HeaderValue::from_static("Bearer");
    Problem::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, challenge)
}

fn forbidden(caller: &Caller, why: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, format!("the token {} {why}", caller.name))
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) =
        request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Only a WebSocket's handshake has any use for it.
fn subprotocol_token(request: &HttpRequest) -> Option<&str> {
    let upgrade = request.headers().get(header::UPGRADE)?.to_str().ok()?;
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let token = offered.find_map(|one| one.trim().strip_prefix(TOKEN_SUBPROTOCOL))?;
    upgrade.eq_ignore_ascii_case("websocket").then_some(token)
}

/// What is kept of a token, in hex.
pub(crate) fn hash_of(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Who asks, noted for the log line of the request, which also says who was not let in.
fn caller(request: &HttpRequest) -> Result<Caller, Problem> {
    let state = request.app_data::<Data<State>>();
    let state = state.ok_or_else(|| Problem::unavailable("the server is starting; try again"))?;
    let caller = state.access.identify(request)?;
    request.extensions_mut().insert(caller.clone());
    Ok(caller)
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let viewer = caller(request).and_then(|caller| match caller.role {
            Role::Viewer | Role::Operator => Ok(Self(caller)),
            Role::Producer => Err(forbidden(&caller, "may send events, but not read: use a viewer's")),
        });
        ready(viewer)
    }
}

impl FromRequest for Producer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let producer = caller(request).and_then(|caller| match caller.role {
            Role::Producer | Role::Operator => Ok(Self(caller)),
            Role::Viewer => Err(forbidden(&caller, "may read, but not send events: use a producer's")),
        });
        ready(producer)
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let operator = caller(request).and_then(|caller| match caller.role {
            Role::Operator => Ok(Self(caller)),
            Role::Viewer => Err(forbidden(&caller, "may read, but not change anything: use an operator's")),
            Role::Producer => Err(forbidden(&caller, "may send events, and nothing else: use an operator's")),
        });
        ready(operator)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actix_web::test::TestRequest;

    use super::*;

    fn access() -> Access {
        let token = |role, token: &str| config::Token { role, sha256: hash_of(token) };
        knowing(BTreeMap::from([
            ("grafana".to_owned(), token(Role::Viewer, "see")),
            ("kim".to_owned(), token(Role::Operator, "do")),
        ]))
    }

    fn knowing(tokens: BTreeMap<String, config::Token>) -> Access {
        let table: toml::Table = config::DEFAULTS.parse().unwrap();
        let config: config::Config = table.try_into().unwrap();
        Access::new(&config::Admin { tokens, ..config.admin })
    }

    fn who(request: TestRequest) -> Result<(String, Role), u16> {
        let caller = access().identify(&request.to_http_request());
        caller.map(|caller| (caller.name, caller.role)).map_err(|problem| problem.status)
    }

    fn get() -> TestRequest {
        TestRequest::default()
    }

    #[test]
    fn a_token_tells_who_it_is() {
        assert_eq!(
            who(get().insert_header(("authorization", "Bearer see"))),
            Ok(("grafana".into(), Role::Viewer))
        );
        assert_eq!(
            who(get().insert_header(("authorization", "bearer  do "))),
            Ok(("kim".into(), Role::Operator))
        );
    }

    #[test]
    fn nobody_else_is_let_in() {
        for value in ["Bearer", "Bearer ", "Bearer d", "Bearer do2", "Basic do", "do", "Bearer see do"] {
            assert_eq!(who(get().insert_header(("authorization", value))), Err(401), "{value}");
        }
        assert_eq!(who(get().uri("/api/v1/tree?token=do&access_token=do")), Err(401));
    }

    #[test]
    fn a_hash_that_is_none_lets_nobody_in() {
        let broken = config::Token { role: Role::Operator, sha256: "none".into() };
        let access = knowing(BTreeMap::from([("kim".to_owned(), broken)]));
        let refused = access.identify(&get().to_http_request()).unwrap_err();
        assert_eq!(refused.status, 401);
        let open = knowing(BTreeMap::new()).identify(&get().to_http_request()).unwrap();
        assert_eq!((open.name.as_str(), open.role), ("anonymous", Role::Operator));
    }

    #[test]
    fn a_token_is_a_subprotocol_only_of_a_websocket() {
        let offered = ("sec-websocket-protocol", "factline, factline.bearer.see");
        let upgrade = ("upgrade", "websocket");
        assert_eq!(who(get().insert_header(offered)), Err(401));
        assert_eq!(
            who(get().insert_header(offered).insert_header(upgrade)),
            Ok(("grafana".into(), Role::Viewer))
        );
    }
}
