//! `GET /`: the web chat, one file that is embedded, and the policy that lets nothing else run in it.
//!
//! The page has no rights of its own: it asks what every client asks, with the token that somebody gives it.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("../../../../static/chat.html");

/// Its own script and style by their sums, this gateway, and nothing from anywhere else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        sum("script"),
        sum("style"),
    );
    policy.parse().unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The sum of what stands between `<tag>` and `</tag>`, as policies name it.
fn sum(tag: &str) -> String {
    let inner =
        PAGE.split_once(&format!("<{tag}>")).and_then(|it| it.1.split_once(&format!("</{tag}>")));
    let sum = Sha256::digest(inner.map(|it| it.0).unwrap_or_default());
    format!("'sha256-{}'", BASE64_STANDARD.encode(sum))
}

/// The page.
pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    (headers, Html(PAGE)).into_response()
}
