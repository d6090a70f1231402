//! `/api/v1/tree`: every supervisor and actor, and what can be asked of them.

use actix_web::{HttpResponse, web::Data};

use crate::admin::{State, access::Viewer, problem::Problem};

/// Every supervisor and actor, as it is now.
pub(in crate::admin) async fn tree(_: Viewer, state: Data<State>) -> Result<HttpResponse, Problem> {
    let tree = state.tree.get().ok_or_else(|| Problem::unavailable("the tree is starting; try again"))?;
    Ok(HttpResponse::Ok().json(tree.observe()))
}
