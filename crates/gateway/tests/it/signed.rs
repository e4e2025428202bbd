//! JSON Web Tokens signed by somebody else's keys, which are fetched from an address.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::rig::Rig;

/// Whoever signs: its private keys, and where its public ones are.
struct Issuer {
    rsa: EncodingKey,
    ec: EncodingKey,
    address: String,
    fetched: Arc<AtomicUsize>,
}

fn made(dir: &Path, name: &str, options: &[&str]) -> Vec<u8> {
    let file = dir.join(name);
    let output =
        Command::new("openssl").arg("genpkey").args(options).arg("-out").arg(&file).output();
    let output = output.expect("openssl is needed to make keys");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(file).unwrap()
}

impl Issuer {
    async fn start() -> Issuer {
        let dir = tempfile::tempdir().unwrap();
        let rsa =
            made(dir.path(), "rsa.pem", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let ec = made(
            dir.path(),
            "ec.pem",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        );
        let rsa = EncodingKey::from_rsa_pem(&rsa).unwrap();
        let ec = EncodingKey::from_ec_pem(&ec).unwrap();
        let public = |key: &EncodingKey, algorithm, kid: &str| {
            let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
            jwk.common.key_id = Some(kid.to_owned());
            jwk
        };
        let keys = vec![public(&rsa, Algorithm::RS256, "rsa"), public(&ec, Algorithm::ES256, "ec")];
        let keys = serde_json::to_string(&JwkSet { keys }).unwrap();
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let told = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let keys = keys.clone();
            async move { keys }
        };
        let elsewhere = || async { (StatusCode::FOUND, [("location", "/keys")]).into_response() };
        let app = axum::Router::new().route("/keys", get(told)).route("/moved", get(elsewhere));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Issuer { rsa, ec, address, fetched }
    }

    fn token(&self, algorithm: Algorithm, kid: &str) -> String {
        let key = if algorithm == Algorithm::ES256 { &self.ec } else { &self.rsa };
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        let claims = json!({
            "iss": "https://id.example.org", "aud": "tinyclaw", "sub": "ada", "scope": "read",
            "exp": tinyclaw_service::now_ms() / 1000 + 600,
        });
        encode(&header, &claims, key).unwrap()
    }

    async fn gateway(&self, path: &str) -> Rig {
        Rig::with(json!({
            "jwks": format!("{}{path}", self.address), "jwtIssuer": "https://id.example.org",
            "jwtAudience": "tinyclaw",
        }))
        .await
    }
}

async fn status(rig: &Rig, token: &str) -> u16 {
    let asked = rig.client.get(rig.url("/version")).bearer_auth(token).send().await.unwrap();
    asked.status().as_u16()
}

#[tokio::test]
async fn tokens_signed_with_rs256_and_es256_are_good_by_the_keys_of_an_address() {
    let issuer = Issuer::start().await;
    let rig = issuer.gateway("/keys").await;
    assert_eq!(status(&rig, &issuer.token(Algorithm::RS256, "rsa")).await, 200);
    assert_eq!(status(&rig, &issuer.token(Algorithm::ES256, "ec")).await, 200);
    // A key signs what it is for, and nothing else; a key that nobody knows is not asked for again and again.
    assert_eq!(status(&rig, &issuer.token(Algorithm::RS256, "ec")).await, 401);
    assert_eq!(status(&rig, &issuer.token(Algorithm::RS384, "rsa")).await, 401);
    assert_eq!(status(&rig, &issuer.token(Algorithm::RS256, "flood-1")).await, 401);
    assert_eq!(status(&rig, &issuer.token(Algorithm::ES256, "flood-2")).await, 401);
    assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1);
    assert_eq!(status(&rig, &issuer.token(Algorithm::ES256, "ec")).await, 200);
}

#[tokio::test]
async fn keys_are_not_taken_from_where_their_address_points_to() {
    let issuer = Issuer::start().await;
    let rig = issuer.gateway("/moved").await;
    assert_eq!(status(&rig, &issuer.token(Algorithm::RS256, "rsa")).await, 401);
    assert_eq!(issuer.fetched.load(Ordering::SeqCst), 0);
}
