//! The page and the views that it loads later: two files, embedded when the program is built, and the policy that lets
//! nothing else run.

use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

/// The page.
pub(crate) const PAGE: &str = include_str!("../../../static/dashboard.html");

/// The views that the first look does not need, as a script that the page loads.
pub(crate) const VIEWS: &str = include_str!("../../../static/views.js");

/// The policy for the page: its own scripts and style by their hashes, scripts of this server, and nothing from anywhere
/// else. The server has one address that answers with a script; whatever else it says is no script, and `nosniff` holds
/// browsers to that.
pub(crate) fn policy() -> HeaderValue {
    let hashes = |tag: &str| -> String {
        inline(PAGE, tag).map(|it| format!(" 'sha256-{}'", base64(&Sha256::digest(it)))).collect()
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'{}; style-src{}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hashes("script"),
        hashes("style"),
    );
    HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

/// What stands between `<tag>` and `</tag>`, each time.
fn inline<'a>(page: &'a str, tag: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut rest = page;
    std::iter::from_fn(move || {
        let from = rest.find(&open)? + open.len();
        let len = rest[from..].find(&close)?;
        let found = &rest[from..from + len];
        rest = &rest[from + len..];
        Some(found)
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |sum, it| sum << 8 | u32::from(*it)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { letter.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(b"abc"), "YWJj");
    }

    #[test]
    fn the_policy_names_every_inline_part_and_allows_no_other() {
        let policy = policy();
        let policy = policy.to_str().unwrap();
        assert_eq!(policy.matches("'sha256-").count(), 3, "two scripts and a style");
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn the_page_asks_nobody_else() {
        for word in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
        {
            assert!(!PAGE.contains(word) && !VIEWS.contains(word), "{word}");
        }
    }
}
