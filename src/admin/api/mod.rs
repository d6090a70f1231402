//! `/api/v1`: what people and programs ask, and what they may change.

use utoipa_actix_web::service_config::ServiceConfig;

mod config;
mod conversations;
mod dead_letters;
mod events;
mod facts;
mod ledger;
mod note;
mod openapi;
mod operator_log;
mod outbox;
mod page;
mod streams;
mod tree;

pub(super) use dead_letters::Runs;
pub(super) use openapi::{complete, document};

/// Where requests go. The `OpenAPI` document is collected from these.
pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes
        .configure(tree::routes)
        .configure(config::routes)
        .configure(events::routes)
        .configure(facts::routes)
        .configure(conversations::routes)
        .configure(dead_letters::routes)
        .configure(ledger::routes)
        .configure(streams::routes)
        .configure(outbox::routes)
        .configure(operator_log::routes)
        .configure(openapi::routes);
}
