//! `tokens.json`: who may use the gateway. It holds sums of tokens, never a token.
//!
//! Nothing here makes a token's secret up; whoever makes one brings the chance.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How a ticket begins, in place of a token.
pub const TICKET_PREFIX: &str = "tk_";
/// How a token begins.
pub const TOKEN_PREFIX: &str = "tc_";
/// So many bytes of chance are in a token.
pub const TOKEN_SECRET_BYTES: usize = 32;
/// So long the token before stays good after a rotation, in ms.
pub const ROTATION_MS: u64 = 24 * 3600 * 1000;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Every token, the oldest first.
    pub tokens: Vec<Token>,
}

/// One token, as the file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// What it is known by: the middle of `tc_<id>_<secret>`.
    pub id: String,
    /// Who has it, for a person.
    pub name: String,
    /// SHA-256 of the whole token, in hex.
    pub sum: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Where it may run Claude; empty: anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub envs: Vec<String>,
    /// Pages of these origins may use it; empty: those of the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// What it may spend in a day, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_per_day: Option<f64>,
    /// When it was made, in ms since 1970.
    pub created_at: u64,
    /// From then on it is not good any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
    /// The one before the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TokenBefore>,
    /// The ticket with which a page gets it, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<TokenLogin>,
}

/// A ticket for a token that nobody has seen: whoever shows it in time is told the token. Neither the ticket nor the token
/// stands in the file, and each needs the other part: a ticket that is over gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenLogin {
    /// SHA-256 of the ticket, in hex.
    pub sum: String,
    /// What makes the token of the ticket.
    pub salt: String,
    /// From then on the ticket is not good any more.
    pub until: u64,
}

impl TokenLogin {
    /// The text of the token `id` that this ticket is for.
    pub fn token(&self, id: &str, ticket: &str) -> String {
        let secret = Sha256::digest(format!("{} {ticket}", self.salt));
        token_text(id, &secret.into())
    }
}

/// A token that was replaced, and is good for a while yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenBefore {
    /// Its sum.
    pub sum: String,
    /// From then on it is not good any more.
    pub until: u64,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Tell events.
    Ingest,
    /// Read events, timelines and numbers.
    Read,
    /// Let Claude work.
    Execute,
    /// Start and stop environments.
    Envs,
    /// Send notices into sessions.
    Notify,
    /// Everything that changes the gateway itself.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 6] =
        [Scope::Ingest, Scope::Read, Scope::Execute, Scope::Envs, Scope::Notify, Scope::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Ingest => "ingest",
            Scope::Read => "read",
            Scope::Execute => "execute",
            Scope::Envs => "envs",
            Scope::Notify => "notify",
            Scope::Admin => "admin",
        }
    }
}

/// A text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; use ingest, read, execute, envs, notify, admin")]
pub struct BadScope(String);

impl std::str::FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Scope, BadScope> {
        let found = Scope::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| BadScope(text.chars().take(40).collect()))
    }
}

impl Token {
    /// Whether it is good at `now`, for whoever has the text of this sum.
    pub fn is_good(&self, now: u64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|it| now < it)
    }

    /// From when on a text of this sum is no longer good: `None` is never. A sum that is not its own is not good at all.
    pub fn good_until(&self, sum: &str) -> Option<Option<u64>> {
        if self.revoked_at.is_some() {
            return None;
        }
        if sum == self.sum {
            return Some(self.expires_at);
        }
        let before = self.before.as_ref().filter(|it| it.sum == sum)?;
        Some(Some(self.expires_at.map_or(before.until, |it| it.min(before.until))))
    }
}

/// The text of a token from its id and the bytes of chance.
pub fn token_text(id: &str, secret: &[u8; TOKEN_SECRET_BYTES]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = format!("{TOKEN_PREFIX}{id}_");
    for chunk in secret.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |sum, it| sum << 8 | u32::from(*it)) << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            text.push(char::from(LETTERS[(group >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

/// What the file has of a token's text.
pub fn token_sum(text: &str) -> String {
    Sha256::digest(text).iter().map(|it| format!("{it:02x}")).collect()
}

/// The id in a token's text.
pub fn token_id(text: &str) -> Option<&str> {
    text.strip_prefix(TOKEN_PREFIX)?.split_once('_').map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_43_letters_of_chance_and_is_found_by_its_id() {
        let text = token_text("k3v9", &[255; TOKEN_SECRET_BYTES]);
        assert_eq!(text.len(), "tc_k3v9_".len() + 43);
        assert_eq!(token_id(&text), Some("k3v9"));
        assert_eq!(token_id("tc_k3v9"), None);
        assert_ne!(token_sum(&text), token_sum(&token_text("k3v9", &[254; TOKEN_SECRET_BYTES])));
    }

    #[test]
    fn a_ticket_makes_its_token_with_the_salt_and_not_without() {
        let login = |salt: &str| TokenLogin { sum: String::new(), salt: salt.into(), until: 1 };
        let text = login("s1").token("k3v9", "tk_1");
        assert_eq!((token_id(&text), text.len()), (Some("k3v9"), "tc_k3v9_".len() + 43));
        assert_eq!(text, login("s1").token("k3v9", "tk_1"));
        assert_ne!(text, login("s2").token("k3v9", "tk_1"));
        assert_ne!(text, login("s1").token("k3v9", "tk_2"));
    }

    #[test]
    fn a_replaced_token_is_good_for_a_while_and_a_revoked_one_is_not() {
        let mut token = Token {
            id: "k3v9".into(),
            name: "n8n".into(),
            sum: "new".into(),
            scopes: BTreeSet::from([Scope::Ingest]),
            envs: Vec::new(),
            origins: Vec::new(),
            budget_per_day: None,
            created_at: 1,
            expires_at: Some(100),
            revoked_at: None,
            before: Some(TokenBefore { sum: "old".into(), until: 50 }),
            login: None,
        };
        assert_eq!(token.good_until("new"), Some(Some(100)));
        assert_eq!(token.good_until("old"), Some(Some(50)));
        assert_eq!(token.good_until("other"), None);
        assert!(token.is_good(99) && !token.is_good(100));
        token.revoked_at = Some(2);
        assert_eq!(token.good_until("new"), None);
        assert!(!token.is_good(3));
    }
}
