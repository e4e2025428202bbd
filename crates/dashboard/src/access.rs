//! The optional check of Cloudflare Access: who comes through the tunnel must carry a token of the team.
//!
//! RS256 and nothing else, for this application and team, valid now. The keys come from a file or a URL, are kept for an
//! hour and fetched anew for an unknown key at most once a minute. When in doubt, nobody gets in. Only the header is
//! believed, not the cookie.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::HeaderValue;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::{AccessConfig, KeySource};
use crate::fetch::get;

/// How long keys are believed.
const KEYS_AGE_MAX: Duration = Duration::from_secs(3600);
/// How soon keys are fetched again for one that is not known.
const REFETCH_INTERVAL: Duration = Duration::from_secs(60);
/// How long fetching may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The check.
#[derive(Debug)]
pub(crate) struct Access {
    audience: String,
    issuer: String,
    source: KeySource,
    keys: Mutex<Keys>,
    age_max: Duration,
    pause: Duration,
}

#[derive(Debug, Default)]
struct Keys {
    set: Option<Arc<JwkSet>>,
    /// When the set was fetched.
    fetched: Option<Instant>,
    /// When fetching was begun last, whatever came of it.
    tried: Option<Instant>,
}

#[derive(Deserialize)]
struct Claims {}

impl Access {
    /// The check that `config` asks for.
    pub(crate) fn new(config: &AccessConfig) -> Access {
        let (team, audience) = (&*config.team, config.audience.clone());
        let issuer = match team.contains("://") {
            true => team.trim_end_matches('/').to_owned(),
            false => format!("https://{team}.cloudflareaccess.com"),
        };
        let source = config
            .keys
            .clone()
            .unwrap_or_else(|| KeySource::Url(format!("{issuer}/cdn-cgi/access/certs")));
        let (age_max, pause) = (KEYS_AGE_MAX, REFETCH_INTERVAL);
        Access { audience, issuer, source, keys: Mutex::default(), age_max, pause }
    }

    /// Whether the token is good; if not, why.
    pub(crate) async fn check(&self, token: Option<&HeaderValue>) -> Result<(), String> {
        let token = token.and_then(|it| it.to_str().ok()).ok_or(
            "no Cf-Access-Jwt-Assertion header: come through Cloudflare Access, or unset CF_ACCESS_TEAM",
        )?;
        let bad = |_| "the Access token is not valid".to_owned();
        let head = decode_header(token).map_err(bad)?;
        if head.alg != Algorithm::RS256 {
            return Err("the Access token is not signed with RS256".into());
        }
        let kid = head.kid.ok_or("the Access token names no key")?;
        let key = self.key(&kid).await?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        decode::<Claims>(token, &key, &validation).map(|_| ()).map_err(bad)
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, String> {
        let mut keys = self.keys.lock().await;
        // Old keys are not believed for longer because new ones cannot be had.
        if keys.fetched.is_none_or(|it| it.elapsed() > self.age_max) {
            keys.set = None;
        }
        let is_known = keys.set.as_ref().is_some_and(|it| it.find(kid).is_some());
        // Keys that grow old while the source does not answer are asked for again and again, not once an hour.
        if !is_known && keys.tried.is_none_or(|it| it.elapsed() > self.pause) {
            keys.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(set) => {
                    keys.set = Some(Arc::new(set));
                    keys.fetched = keys.tried;
                }
                Err(err) => tracing::warn!("cannot get the keys of Cloudflare Access: {err:#}"),
            }
        }
        let set = keys.set.as_ref().ok_or("the keys of Cloudflare Access cannot be had now")?;
        let key = set.find(kid).ok_or("the Access token is signed with an unknown key")?;
        DecodingKey::from_jwk(key).map_err(|_| "the key of the Access token is no RSA key".into())
    }

    async fn fetch(&self) -> anyhow::Result<JwkSet> {
        let text = match &self.source {
            KeySource::File(path) => tokio::fs::read_to_string(path)
                .await
                .with_context(|| format!("cannot read {}", path.display()))?,
            KeySource::Url(url) => tokio::time::timeout(FETCH_TIMEOUT, get(url))
                .await
                .context("no answer in time")??,
        };
        serde_json::from_str(&text).context("that is no set of keys")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the test plays whoever keeps the keys fresh")]

    use super::*;

    /// The set that is fetched knows the key `one`.
    const KEYS: &str =
        r#"{"keys":[{"kty":"RSA","alg":"RS256","kid":"one","n":"AQAB","e":"AQAB"}]}"#;

    #[tokio::test]
    async fn keys_that_could_not_be_had_are_not_called_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        let keys = Some(KeySource::File(file.clone()));
        let config = AccessConfig { team: "ada".into(), audience: "office".into(), keys };
        let mut access = Access::new(&config);
        assert!(access.key("one").await.is_err(), "there is no file yet");
        std::fs::write(&file, KEYS).unwrap();
        assert!(access.key("one").await.is_err(), "asked a moment ago");
        access.pause = Duration::ZERO;
        assert!(access.key("one").await.is_ok());
        // Fetching fails now. The keys are believed until they are old, and no longer for having been asked for.
        std::fs::remove_file(&file).unwrap();
        assert!(access.key("two").await.is_err());
        assert!(access.key("one").await.is_ok());
        access.age_max = Duration::from_millis(200);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(access.key("two").await.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(access.key("one").await.is_err());
        std::fs::write(&file, KEYS).unwrap();
        access.age_max = KEYS_AGE_MAX;
        assert!(access.key("one").await.is_ok(), "asked for again as soon as they are missed");
    }
}
