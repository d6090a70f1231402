//! `/api/v1`: what people and programs ask, and what they may change.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

mod config;
mod tree;

/// Where requests go. The `OpenAPI` document is collected from these.
pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.configure(tree::routes).configure(config::routes);
}

/// What the `OpenAPI` document says beside the paths.
pub(super) fn document() -> OpenApi {
    OpenApi::default()
}
