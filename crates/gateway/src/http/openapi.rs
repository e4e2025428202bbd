//! `GET /openapi.json`: what can be asked here, for programs. It is `docs/openapi.json`, byte for byte.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// The document.
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_of_the_router_is_in_the_document_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let told: BTreeSet<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let routes = super::super::routes();
        // Those that every service has.
        let probes = ["/health", "/ready"];
        let served: BTreeSet<&str> = routes.iter().map(|it| it.0).chain(probes).collect();
        assert_eq!(told, served);
    }
}
