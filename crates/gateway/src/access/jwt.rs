//! JSON Web Tokens: HS256 by a secret of the settings, RS256 and ES256 by the keys of whoever signs them.
//!
//! Each algorithm has keys of its own, and a token chooses none: HS256 is never checked against a public key, and `none`
//! is no algorithm. Issuer, audience and expiry are required. Keys are kept for an hour, and fetched for one that is not
//! known at most once a minute. When in doubt, nobody gets in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Caller, Denied, Proof};

/// How long keys are believed.
const KEYS_AGE_MAX: Duration = Duration::from_secs(3600);
/// How soon keys are fetched again for one that is not known.
const REFETCH_INTERVAL: Duration = Duration::from_secs(60);
/// How long fetching may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// More is no set of keys.
const KEYS_BYTES_MAX: usize = 1 << 20;
/// Clocks may differ by so much.
const LEEWAY_SECONDS: u64 = 30;

/// Whose tokens are good.
#[derive(Debug)]
pub struct JwtConfig {
    /// The secret for HS256.
    pub secret: Option<SecretString>,
    /// The keys for RS256 and ES256.
    pub keys: Option<KeySource>,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must have.
    pub audience: String,
}

/// Where public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that somebody keeps fresh.
    File(PathBuf),
    /// An address.
    Url(String),
}

#[derive(Debug)]
pub(super) struct Jwt {
    config: JwtConfig,
    keys: Mutex<Keys>,
    pause: Duration,
}

#[derive(Debug, Default)]
struct Keys {
    set: Option<Arc<JwkSet>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: u64,
    #[serde(default)]
    scope: String,
    /// Where it may have Claude work.
    #[serde(default)]
    envs: Option<Vec<String>>,
}

impl Jwt {
    pub(super) fn new(config: JwtConfig) -> Jwt {
        Jwt { config, keys: Mutex::default(), pause: REFETCH_INTERVAL }
    }

    pub(super) async fn caller(&self, text: &str) -> Result<Caller, Denied> {
        let bad = |_| Denied::BadToken;
        let head = decode_header(text).map_err(bad)?;
        let key = match head.alg {
            Algorithm::HS256 => {
                let secret = self.config.secret.as_ref().ok_or(Denied::BadToken)?;
                DecodingKey::from_secret(secret.expose_secret().as_bytes())
            }
            Algorithm::RS256 | Algorithm::ES256 => {
                let kid = head.kid.ok_or(Denied::BadToken)?;
                let jwk = self.key(&kid).await.ok_or(Denied::BadToken)?;
                // The kind of key says what it signs, not the token.
                let is_of_kind = match jwk.algorithm {
                    AlgorithmParameters::RSA(_) => head.alg == Algorithm::RS256,
                    AlgorithmParameters::EllipticCurve(_) => head.alg == Algorithm::ES256,
                    _ => false,
                };
                if !is_of_kind {
                    return Err(Denied::BadToken);
                }
                DecodingKey::from_jwk(&jwk).map_err(bad)?
            }
            _ => return Err(Denied::BadToken),
        };
        let mut validation = Validation::new(head.alg);
        validation.set_audience(&[&self.config.audience]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        let claims = decode::<Claims>(text, &key, &validation).map_err(bad)?.claims;
        let name = claims.sub.filter(|it| !it.is_empty() && it.len() <= 64);
        let name = name.filter(|it| !it.chars().any(char::is_control));
        Ok(Caller {
            name: name.unwrap_or_else(|| "jwt".to_owned()),
            scopes: claims.scope.split(' ').filter_map(|it| it.parse().ok()).collect(),
            // An empty list is one of nothing, and not of everything.
            envs: claims.envs.map_or_else(Vec::new, |it| match it.is_empty() {
                true => vec![String::new()],
                false => it,
            }),
            origins: Vec::new(),
            budget_per_day: None,
            until: Some(claims.exp.saturating_add(LEEWAY_SECONDS).saturating_mul(1000)),
            proof: Proof::Signed,
        })
    }

    async fn key(&self, kid: &str) -> Option<Jwk> {
        let source = self.config.keys.as_ref()?;
        let mut keys = self.keys.lock().await;
        // Old keys are not believed for longer because new ones cannot be had.
        if keys.fetched.is_none_or(|it| it.elapsed() > KEYS_AGE_MAX) {
            keys.set = None;
        }
        let is_known = keys.set.as_ref().is_some_and(|it| it.find(kid).is_some());
        if !is_known && keys.tried.is_none_or(|it| it.elapsed() > self.pause) {
            keys.tried = Some(Instant::now());
            match fetch(source).await {
                Ok(set) => {
                    keys.set = Some(Arc::new(set));
                    keys.fetched = keys.tried;
                }
                Err(err) => tracing::warn!("cannot get the keys for signed tokens: {err:#}"),
            }
        }
        keys.set.as_ref()?.find(kid).cloned()
    }
}

async fn fetch(source: &KeySource) -> anyhow::Result<JwkSet> {
    let text = match source {
        KeySource::File(path) => tokio::fs::read(path)
            .await
            .with_context(|| format!("cannot read {}", path.display()))?,
        KeySource::Url(url) => {
            let client = reqwest::Client::builder()
                .timeout(FETCH_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()?;
            let mut answer = client.get(url).send().await?.error_for_status()?;
            let mut text = Vec::new();
            while let Some(part) = answer.chunk().await? {
                anyhow::ensure!(
                    text.len() + part.len() <= KEYS_BYTES_MAX,
                    "that is no set of keys"
                );
                text.extend_from_slice(&part);
            }
            text
        }
    };
    serde_json::from_slice(&text).context("that is no set of keys")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the test plays whoever keeps the keys fresh")]

    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};
    use tinyclaw_domain::Scope;

    use super::*;

    const SECRET: &str = "a secret of thirty-two characters";

    fn soon() -> u64 {
        tinyclaw_service::now_ms() / 1000 + 60
    }

    fn jwt(secret: Option<&str>, keys: Option<KeySource>) -> Jwt {
        let secret = secret.map(|it| SecretString::from(it.to_owned()));
        let (issuer, audience) = ("https://id.example.org".to_owned(), "tinyclaw".to_owned());
        Jwt::new(JwtConfig { secret, keys, issuer, audience })
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example.org", "aud": "tinyclaw", "exp": soon(), "sub": "ada",
            "scope": "read ingest nonsense",
        })
    }

    fn signed(claims: &Value) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    #[tokio::test]
    async fn a_token_signed_with_the_secret_is_good_with_issuer_audience_and_expiry_only() {
        let jwt = jwt(Some(SECRET), None);
        let caller = jwt.caller(&signed(&claims())).await.unwrap();
        assert_eq!(caller.name, "ada");
        assert_eq!(caller.scopes, [Scope::Ingest, Scope::Read].into());
        for (claim, value) in [
            ("iss", json!("https://evil.example.org")),
            ("aud", json!("other")),
            ("exp", json!(soon() - 3600)),
            ("nbf", json!(soon() + 3600)),
            ("iss", Value::Null),
            ("aud", Value::Null),
            ("exp", Value::Null),
        ] {
            let mut wrong = claims();
            match value {
                Value::Null => drop(wrong.as_object_mut().unwrap().remove(claim)),
                value => wrong[claim] = value,
            }
            assert_eq!(jwt.caller(&signed(&wrong)).await, Err(Denied::BadToken), "{claim}");
        }
        let other = encode(&Header::default(), &claims(), &EncodingKey::from_secret(b"other"));
        assert_eq!(jwt.caller(&other.unwrap()).await, Err(Denied::BadToken));
    }

    #[tokio::test]
    async fn a_token_chooses_neither_none_nor_a_public_key_as_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        let keys = r#"{"keys":[{"kty":"RSA","alg":"RS256","kid":"one","n":"AQAB","e":"AQAB"}]}"#;
        std::fs::write(&file, keys).unwrap();
        let jwt = jwt(None, Some(KeySource::File(file)));
        // {"alg":"none"} with no signature.
        let body = signed(&claims()).split('.').nth(1).unwrap().to_owned();
        for none in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIiwia2lkIjoib25lIn0"] {
            assert_eq!(jwt.caller(&format!("{none}.{body}.")).await, Err(Denied::BadToken));
        }
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        for key in ["AQAB", keys] {
            let forged = encode(&header, &claims(), &EncodingKey::from_secret(key.as_bytes()));
            assert_eq!(jwt.caller(&forged.unwrap()).await, Err(Denied::BadToken));
        }
    }

    #[tokio::test]
    async fn unknown_keys_are_asked_for_once_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        let mut jwt = jwt(None, Some(KeySource::File(file.clone())));
        assert!(jwt.key("one").await.is_none());
        let keys = r#"{"keys":[{"kty":"RSA","alg":"RS256","kid":"one","n":"AQAB","e":"AQAB"}]}"#;
        std::fs::write(&file, keys).unwrap();
        for it in 0..1_000 {
            assert!(jwt.key(&format!("flood-{it}")).await.is_none());
        }
        assert!(jwt.key("one").await.is_none(), "asked a moment ago");
        jwt.pause = Duration::ZERO;
        assert!(jwt.key("one").await.is_some());
    }
}
