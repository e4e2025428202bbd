//! Takes secrets out of whatever leaves the server.
//!
//! It works on finished text (JSON or a log line), so no field is forgotten. It knows what secrets look like, not what
//! they are: the dashboard holds none. Something that only looks like one is hidden as well.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::{Captures, Regex};

/// How many secrets were taken out since the start.
static TAKEN_OUT: AtomicU64 = AtomicU64::new(0);

/// What a secret looks like, and what it is called where it stood.
const LOOKS: [(&str, &str); 9] = [
    ("github token", r"gh[opsur]_[A-Za-z0-9._-]{16,}"),
    ("github token", r"github_pat_[A-Za-z0-9_]{16,}"),
    ("anthropic key", r"sk-ant-[A-Za-z0-9_-]{16,}"),
    ("telegram token", r"[0-9]{8,10}:[A-Za-z0-9_-]{35,}"),
    // Inside JSON a newline is a backslash and an n.
    (
        "private key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[A-Za-z0-9+/=\s]|\\[nr])*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    ),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("aws key", r"\bAKIA[0-9A-Z]{16}\b"),
    ("bearer token", r"(?i)\bbearer [A-Za-z0-9._~+/-]{20,}=*"),
    ("broker secret", r"BROKER_SECRET=[^\s\x22\x27\\]{8,}"),
];

static ANY: LazyLock<Regex> = LazyLock::new(|| {
    let parts = LOOKS.iter().enumerate().map(|(at, (_, look))| format!("(?P<s{at}>{look})"));
    let pattern = parts.collect::<Vec<_>>().join("|");
    Regex::new(&pattern).unwrap_or_else(|it| unreachable!("the patterns are constants: {it}"))
});

/// `text` without secrets: each is replaced by `[hidden: …]`.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    if !may_hold_secret(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    ANY.replace_all(text, |found: &Captures<'_>| {
        TAKEN_OUT.fetch_add(1, Ordering::Relaxed);
        let at = (0..LOOKS.len()).find(|at| found.name(&format!("s{at}")).is_some());
        format!("[hidden: {}]", at.map_or("secret", |at| LOOKS[at].0))
    })
}

/// `text` without secrets, in place.
pub(crate) fn redacted(text: String) -> String {
    match redact(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(it) => it,
    }
}

/// How many secrets were taken out since the start.
pub(crate) fn taken_out() -> u64 {
    TAKEN_OUT.load(Ordering::Relaxed)
}

/// A cheap look for what every pattern begins with, or for the long run after a Telegram token's colon.
fn may_hold_secret(text: &[u8]) -> bool {
    const STARTS: [&[u8]; 9] = [
        b"gh",
        b"sk-ant-",
        b"PRIVATE KEY",
        b"eyJ",
        b"AKIA",
        b"earer ",
        b"EARER ",
        b"BROKER_SECRET",
        b"github_pat_",
    ];
    STARTS.iter().any(|it| memchr::memmem::find(text, it).is_some())
        || memchr::memchr_iter(b':', text).any(|at| {
            let after = &text[at + 1..];
            at >= 8
                && text[at - 1].is_ascii_digit()
                && after.len() >= 35
                && after[..35].iter().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(it))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_secret_is_hidden_and_json_stays_json() {
        let body = "a".repeat(36);
        let kind = "RSA PRIVATE";
        let jwt = format!("eyJ{0}.eyJ{0}.{0}", &body[..20]);
        for (secret, called) in [
            (format!("ghs_{body}"), "github token"),
            (format!("github_pat_{body}"), "github token"),
            (format!("sk-ant-{body}"), "anthropic key"),
            (format!("123456789:{}", &body[..35]), "telegram token"),
            (jwt.clone(), "jwt"),
            (format!("Bearer {}", &body[..24]), "bearer token"),
            (format!("BROKER_SECRET={body}"), "broker secret"),
            (
                format!("-----BEGIN {kind} KEY-----\n{body}\n-----END {kind} KEY-----"),
                "private key",
            ),
        ] {
            let json = serde_json::json!({ "text": format!("before {secret} after") }).to_string();
            let clean = redact(&json);
            let back: serde_json::Value = serde_json::from_str(&clean).unwrap();
            assert_eq!(back["text"], format!("before [hidden: {called}] after"));
        }
    }

    #[test]
    fn a_key_that_breaks_off_takes_what_follows_with_it() {
        let kind = "PRIVATE";
        let text = format!("-----BEGIN {kind} KEY-----\nMIIEow and more");
        assert_eq!(redact(&text), "[hidden: private key]");
    }

    #[test]
    fn plain_words_stay() {
        for text in ["ghost", "12:30", "the bearer of news", "eyJ", "100:1", "1-0a1b2c3d:5120"] {
            assert_eq!(redact(text), text);
        }
    }
}
