//! Claude's login as the desks get it: the token that is good for some hours, without the one that renews it.
//!
//! The office's home keeps the whole of it, and a Claude that works there without tools (the probe) renews it. So an
//! agent that reads its login has it for some hours at most, and two Claudes never renew the same login in each other's
//! way. Nothing here writes to the office's home.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tinyclaw_disk::foreign::{self, ForeignError};

/// A login is a few hundred bytes.
pub(crate) const BYTES_MAX: u64 = 64 * 1024;
/// So long before its end a token is renewed: Claude itself renews one with less than five minutes left, and the turns that
/// run have to hear of it.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// The office's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// What a desk gets.
    pub(crate) copy: Vec<u8>,
    /// The token that is in it, where it can stand in an environment.
    pub(crate) token: Option<Token>,
    /// When the token ends, in ms since 1970.
    expires_at: Option<u64>,
    can_be_renewed: bool,
}

/// A login's token, as it stands in an environment. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The variable that Claude takes it from.
    pub(crate) fn variable(&self) -> (String, String) {
        ("CLAUDE_CODE_OAUTH_TOKEN".to_owned(), self.0.clone())
    }
}

impl Login {
    /// The login in the office's home, if somebody logged in there.
    pub(crate) fn read(office: &Path) -> Result<Option<Login>, ForeignError> {
        // Claude's folder may be a link of its owner's; no desk can put one there.
        let claude_dir = office.join(super::home::CLAUDE_DIR);
        match foreign::read_below(&claude_dir, Path::new(".credentials.json"), BYTES_MAX) {
            Ok(bytes) => Ok(Login::parse(&bytes)),
            Err(err) if err.is_missing() => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Login> {
        let all: Value = serde_json::from_slice(bytes).ok()?;
        let mut login = all.get("claudeAiOauth")?.as_object()?.clone();
        let renewal = login.insert("refreshToken".to_owned(), Value::Null);
        let token = login.get("accessToken").and_then(Value::as_str);
        let token = token.filter(|it| !it.is_empty() && !it.contains(char::is_control));
        Some(Login {
            token: token.map(|it| Token(it.to_owned())),
            expires_at: login.get("expiresAt").and_then(Value::as_u64),
            can_be_renewed: renewal.is_some_and(|it| it.as_str().is_some_and(|it| !it.is_empty())),
            copy: json!({ "claudeAiOauth": login }).to_string().into_bytes(),
        })
    }

    /// Whether the token should be renewed before somebody works with it.
    pub(crate) fn is_due(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.can_be_renewed
            && self.expires_at.is_some_and(|it| Duration::from_millis(it) < now + RENEW_BEFORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_gets_the_token_and_not_what_renews_it() {
        let whole = json!({ "claudeAiOauth": {
            "accessToken": "short", "refreshToken": "long", "expiresAt": 1_000, "scopes": ["user:inference"] },
            "mcpOAuth": { "x": "hush" } });
        let login = Login::parse(whole.to_string().as_bytes()).unwrap();
        let copy = String::from_utf8(login.copy.clone()).unwrap();
        assert!(copy.contains("short") && copy.contains("scopes"), "{copy}");
        assert!(!copy.contains("long") && !copy.contains("hush"), "{copy}");
        assert_eq!(login.token, Some(Token("short".to_owned())));
        assert_eq!(format!("{:?}", login.token), "Some(Token(…))");
        assert!(login.is_due());
        assert!(!Login { can_be_renewed: false, ..login.clone() }.is_due());
        assert!(!Login { expires_at: Some(u64::MAX / 2), ..login }.is_due());
        for odd in ["", "[]", "{}", r#"{"claudeAiOauth":7}"#] {
            assert_eq!(Login::parse(odd.as_bytes()), None, "{odd}");
        }
    }
}
