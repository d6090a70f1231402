//! `/api/v1/openapi.json`: what there is, collected from the handlers themselves.

use actix_web::{HttpResponse, get, web::Data};
use utoipa::{
    PartialSchema,
    openapi::{
        Components, Content, Info, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::admin::{
    access::Viewer,
    problem::{MEDIA_TYPE, Problem},
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(openapi);
}

/// This document.
#[utoipa::path(
    tag = "openapi",
    security(("bearer" = [])),
    responses((status = OK, description = "the OpenAPI document", body = Object, content_type = "application/json")),
)]
#[get("/api/v1/openapi.json")]
async fn openapi(_: Viewer, document: Data<OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(&*document.into_inner())
}

/// What the document says beside the paths.
pub(in crate::admin) fn document() -> OpenApi {
    let mut info = Info::new("Factline", env!("CARGO_PKG_VERSION"));
    info.description = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
    let mut components = Components::new();
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("a token of [admin.tokens]; without any, everybody is an operator".to_owned());
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let mut document = OpenApi::new(info, utoipa::openapi::Paths::new());
    document.components = Some(components);
    document
}

/// Adds to every path what every path may answer, which is not its handler's doing.
pub(in crate::admin) fn complete(mut document: OpenApi) -> OpenApi {
    if let Some(components) = &mut document.components {
        components.schemas.insert("Problem".to_owned(), Problem::schema());
    }
    for item in document.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in methods.into_iter().flatten() {
            add_problems(operation);
        }
    }
    document
}

fn add_problems(operation: &mut Operation) {
    operation.responses.responses.values_mut().for_each(name_media_type);
    let mut problems = vec![
        ("400", "the request cannot be understood"),
        ("403", "the request comes from a page of another origin, or the token may not do this"),
        ("421", "this host is none of admin.hosts"),
        ("429", "too many requests; Retry-After says when to go on"),
        ("500", "something is wrong with the server; its log says what"),
        ("503", "a server that this needs is away"),
    ];
    if operation.security.is_some() {
        problems.push(("401", "no token, or one that nobody has"));
        problems.push(("422", "a database refuses what was asked for"));
    }
    if operation.request_body.is_some() {
        problems.push(("413", "the body is larger than admin.max_body"));
        problems.push(("415", "the body is of another media type"));
    }
    for (status, description) in problems {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
    }
}

/// A problem has a media type of its own, which no handler has to repeat.
fn name_media_type(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = |content: &&RefOr<Content>| match content {
        RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => {
            schema.ref_location.ends_with("/Problem")
        }
        _ => false,
    };
    let problem = response.content.get("application/json").filter(is_problem).cloned();
    if let Some(problem) = problem {
        response.content.clear();
        response.content.insert(MEDIA_TYPE.to_owned(), problem);
    }
}

fn problem(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build()
}
