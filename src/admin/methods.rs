//! Which methods each path has: what a client is told that has used another one.

use actix_web::dev::ResourceDef;
use utoipa::openapi::{OpenApi, PathItem};

/// The methods by path, as the `OpenAPI` document has them.
pub(super) struct Methods {
    paths: Vec<(ResourceDef, Vec<&'static str>)>,
}

impl Methods {
    /// Those of the document.
    pub(super) fn new(document: &OpenApi) -> Self {
        // A parameter that is called a path has slashes, which the document cannot say.
        let pattern = |path: &str| ResourceDef::new(path.replace("{path}", "{path:.+}"));
        let of_path = |(path, item): (&String, &PathItem)| (pattern(path), methods(item));
        Self { paths: document.paths.paths.iter().map(of_path).collect() }
    }

    /// Those of all that match this path; none if nothing does.
    pub(super) fn of(&self, path: &str) -> Vec<&'static str> {
        let matching = self.paths.iter().filter(|(pattern, _)| pattern.is_match(path));
        let mut methods: Vec<&'static str> =
            matching.flat_map(|(_, methods)| methods.iter().copied()).collect();
        methods.sort_unstable();
        methods.dedup();
        methods
    }
}

fn methods(item: &PathItem) -> Vec<&'static str> {
    let all = [
        ("GET", &item.get),
        ("HEAD", &item.head),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| method).collect()
}
