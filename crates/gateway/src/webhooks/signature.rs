//! Signing, as Standard Webhooks have it: `v1,<base64 of HMAC-SHA256 of id.timestamp.body>`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tinyclaw_service::now_ms;

use super::Webhook;

const PREFIX: &str = "whsec_";

/// A new secret, by chance.
pub(crate) fn new_secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// The header's text: a signature by the secret, and one by the secret before while that counts.
pub(super) fn sign(webhook: &Webhook, id: &str, seconds: u64, body: &str) -> String {
    let before = webhook.before.as_ref().filter(|it| it.1 > now_ms()).map(|it| &it.0);
    let all = [Some(&webhook.secret), before].into_iter().flatten();
    let all: Vec<String> = all.map(|it| one(it, id, seconds, body)).collect();
    all.join(" ")
}

/// The header's text where there is one secret, of one delivery.
pub(crate) fn sign_once(secret: &str, id: &str, seconds: u64, body: &str) -> String {
    one(secret, id, seconds, body)
}

fn one(secret: &str, id: &str, seconds: u64, body: &str) -> String {
    // It was made here, so it can be read.
    let key = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret)).unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length is good");
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_standards_own_example() {
        // The values of the reference implementations' tests.
        let (secret, id, seconds) = (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
        );
        assert_eq!(
            one(secret, id, seconds, r#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
