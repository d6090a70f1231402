//! `/api/v1/tree`: every supervisor and actor, and what can be asked of them.
//!
//! Two nodes hold up whoever answers: `root` and `root/admin`. What would end them is answered first and carried out
//! then; pausing either, or stopping `root/admin` alone, is refused, for nobody could be asked to undo it.

use std::time::Duration;

use actix_web::{
    HttpResponse, get, post, rt,
    web::{Data, Path, ReqData},
};
use factline_supervision::{Control, ControlError, Node, Tree};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::note;
use crate::admin::{
    State,
    access::{Operator, Viewer},
    gate::RequestId,
    problem::Problem,
};

/// How long a supervisor may take to take a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer has to get away before what sends it is stopped.
const ANSWER_FIRST: Duration = Duration::from_millis(200);

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(whole).service(control).service(one);
}

/// What can be asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Stop it and start it again at once, with the siblings that its strategy says; also brings back what is down.
    Restart,
    /// Stop it and keep its mail until it is resumed.
    Pause,
    /// Start it again after a pause.
    Resume,
    /// Stop it until it is restarted.
    Stop,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }
}

impl From<Action> for Control {
    fn from(action: Action) -> Self {
        match action {
            Action::Restart => Self::Restart,
            Action::Pause => Self::Pause,
            Action::Resume => Self::Resume,
            Action::Stop => Self::Stop,
        }
    }
}

/// A node and what is asked of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Request {
    /// Its path: `root/relay/outbox_poller`.
    path: String,
    /// What is asked of it.
    #[param(inline)]
    action: Action,
}

/// Every supervisor and actor, as it is now.
#[utoipa::path(tag = "tree", security(("bearer" = [])), responses(
    (status = OK, body = Object, description = "the root, with its children"),
))]
#[get("/api/v1/tree")]
async fn whole(_: Viewer, state: Data<State>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(state.tree()?.observe()))
}

/// One supervisor or actor, with those below it.
#[utoipa::path(get, path = "/api/v1/tree/{path}", tag = "tree", security(("bearer" = [])),
    params(("path" = String, Path, description = "its path: `root/relay`; slashes stay slashes")),
    responses(
        (status = OK, body = Object, description = "the node"),
        (status = NOT_FOUND, body = Problem, description = "there is none"),
    ))]
#[get("/api/v1/tree/{path:.+}")]
async fn one(_: Viewer, state: Data<State>, path: Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(find(state.tree()?, &path)?))
}

/// Restarts, pauses, resumes or stops a supervisor or actor. It is answered when the request was taken; how it goes on
/// is seen in the tree.
#[utoipa::path(post, path = "/api/v1/tree/{path}/{action}", tag = "tree", security(("bearer" = [])), params(Request),
    responses(
        (status = ACCEPTED, body = Object, description = "the node, as it was when the request was taken"),
        (status = NOT_FOUND, body = Problem, description = "there is none"),
        (status = CONFLICT, body = Problem, description = "its state does not allow it"),
    ))]
#[post("/api/v1/tree/{path:.+}/{action}")]
async fn control(
    operator: Operator,
    state: Data<State>,
    request: Path<Request>,
    id: ReqData<RequestId>,
) -> Result<HttpResponse, Problem> {
    let Request { path, action } = request.into_inner();
    let tree = state.tree()?;
    let node = find(tree, &path)?;
    if path == "root" || path == "root/admin" {
        can_be_undone(&path, action)?;
        note(&state, &operator, (action, &path), &id, None).await;
        let tree = tree.clone();
        rt::spawn(async move {
            rt::time::sleep(ANSWER_FIRST).await;
            if let Err(error) = tree.control(&path, action.into()).await {
                tracing::warn!(path, action = action.name(), %error, "could not be carried out");
            }
        });
        return Ok(HttpResponse::Accepted().json(node));
    }
    let Ok(taken) = rt::time::timeout(ANSWER_TIMEOUT, tree.control(&path, action.into())).await else {
        // The request waits in its mailbox: it may be carried out yet.
        note(&state, &operator, (action, &path), &id, Some("unanswered")).await;
        return Err(Problem::unavailable(format!(
            "the supervisor of {path} does not answer; it may carry the {} out later: look at the tree",
            action.name()
        )));
    };
    taken.map_err(|error| refused(&error, &node, action))?;
    note(&state, &operator, (action, &path), &id, None).await;
    Ok(HttpResponse::Accepted().json(find(tree, &path)?))
}

fn find(tree: &Tree, path: &str) -> Result<Node, Problem> {
    let root = tree.observe();
    let unknown = || Problem::not_found(format!("there is no {path}; /api/v1/tree has the paths"));
    root.find(path).cloned().ok_or_else(unknown)
}

fn can_be_undone(path: &str, action: Action) -> Result<(), Problem> {
    let instead = match (path, action) {
        (_, Action::Restart | Action::Resume) | ("root", Action::Stop) => return Ok(()),
        ("root", _) => "pause root/relay and root/consumers, or stop root, which ends the daemon",
        _ => "restart it, or leave admin.bind empty where no HTTP server is wanted",
    };
    let action = action.name();
    Err(Problem::conflict(format!("after a {action} of {path} nobody could be asked to undo it: {instead}")))
}

fn refused(error: &ControlError, node: &Node, action: Action) -> Problem {
    match error {
        ControlError::Unknown(_) => Problem::not_found(error.to_string()),
        ControlError::SupervisorDown(path) => Problem::conflict(format!(
            "the supervisor of {path} does not run: restart or resume that one first"
        )),
        ControlError::Refused { path, .. } => {
            let state = serde_json::to_value(node.state).unwrap_or_default();
            let state = state.as_str().unwrap_or("down").replace('_', " ");
            Problem::conflict(format!("{path} is {state}: {} is not possible", action.name()))
        }
    }
}

/// Writes it to the operator log; `outcome` where there is more to say of it than that it was done.
async fn note(
    state: &State,
    operator: &Operator,
    (action, path): (Action, &str),
    RequestId(id): &RequestId,
    outcome: Option<&str>,
) {
    let by = operator.actor();
    let mut detail = json!({ "request_id": id });
    if let Some(outcome) = outcome {
        detail["outcome"] = outcome.into();
    }
    let action = action.name();
    tracing::info!(who = by.who, from = by.origin, action, path, outcome, "an operator changes the tree");
    note::note(state, &by, action, path, &detail).await;
}
