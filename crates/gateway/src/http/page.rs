//! `GET /` and `GET /docs`: the web chat and the description of the API, one embedded file each, and the policy that lets nothing
//! else run in them.
//!
//! A page has no rights of its own: it asks what every client asks, with the token that somebody gives it.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

static CHAT: Page = Page {
    text: include_str!("../../../../static/chat.html"),
    policy: LazyLock::new(|| policy(CHAT.text)),
};
static DOCS: Page = Page {
    text: include_str!("../../../../static/api.html"),
    policy: LazyLock::new(|| policy(DOCS.text)),
};

/// A page, and what may run in it.
struct Page {
    text: &'static str,
    policy: LazyLock<HeaderValue>,
}

/// Its own script and style by their sums, this gateway, and nothing from anywhere else.
fn policy(page: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        sum(page, "script"),
        sum(page, "style"),
    );
    policy.parse().unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The sum of what stands between `<tag>` and `</tag>`, as policies name it.
fn sum(page: &str, tag: &str) -> String {
    let inner =
        page.split_once(&format!("<{tag}>")).and_then(|it| it.1.split_once(&format!("</{tag}>")));
    let sum = Sha256::digest(inner.map(|it| it.0).unwrap_or_default());
    format!("'sha256-{}'", BASE64_STANDARD.encode(sum))
}

impl Page {
    fn answer(&self) -> Response {
        let headers = [
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                HeaderValue::from_static("same-origin"),
            ),
        ];
        (headers, Html(self.text)).into_response()
    }
}

/// The web chat.
pub(super) async fn chat() -> Response {
    CHAT.answer()
}

/// What can be asked here, for people.
pub(super) async fn docs() -> Response {
    DOCS.answer()
}
