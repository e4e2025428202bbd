//! A capability: a short-lived, signed permission for one thread.
//!
//! Whoever shares the signing secret with the broker (the processor) gives each session
//! `tcap1.HEX(payload).HEX(hmac)` in place of a client's secret. The HMAC is SHA-256 over
//! everything before the last dot. The payload is JSON and says which thread may have which
//! permissions on which repositories until when; stolen, it is worth that and no more. A
//! capability only ever narrows what the policy allows. Unknown fields are refused: one that is
//! not understood could be a restriction.

use std::collections::BTreeMap;
use std::fmt::Write;

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::names::RepoPattern;
use crate::permission::{BadPermission, Permissions};

const PREFIX: &str = "tcap1.";
/// Room for 500 repositories is not needed: a session works in a handful.
const BYTES_MAX: usize = 16 * 1024;
/// A capability is renewed for as long as a session runs; one for ever would be a secret.
const LIFETIME_SECONDS_MAX: i64 = 12 * 3600;
const THREAD_BYTES_MAX: usize = 128;

/// What one thread may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// The thread, as the audit log shows it.
    pub thread: String,
    /// `owner/name`, `owner/*` or, of any owner, `name`.
    pub repositories: Vec<RepoPattern>,
    /// The most it may ask for, by name.
    pub permissions: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub expires: i64,
    /// Which run of the thread, when the signer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Why a text is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCapability {
    /// Not of the form `tcap1.HEX.HEX`.
    #[error("the capability is not tcap1.HEX.HEX")]
    Form,
    /// The signature is not ours.
    #[error("the capability is not signed with this broker's secret")]
    Signature,
    /// Signed, but its payload is not understood.
    #[error("the capability's payload is not understood: {0}")]
    Payload(String),
    /// It was good once.
    #[error("the capability has expired")]
    Expired,
    /// It would be good for too long.
    #[error("the capability expires more than 12 hours ahead")]
    TooLong,
}

/// A verified capability, ready to be compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who asks.
    pub thread: String,
    /// In which run.
    pub run: Option<String>,
    /// On what.
    pub repositories: Vec<RepoPattern>,
    /// The most.
    pub permissions: Permissions,
}

/// Whether a bearer text claims to be a capability.
pub fn is_capability(bearer: &str) -> bool {
    bearer.starts_with(PREFIX)
}

impl Capability {
    /// Signs it.
    pub fn sign(&self, secret: &SecretString) -> String {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        let mut text = String::with_capacity(PREFIX.len() + payload.len() * 2 + 65);
        text.push_str(PREFIX);
        hex(&payload, &mut text);
        let signature = mac(secret, text.as_bytes()).finalize().into_bytes();
        text.push('.');
        hex(&signature, &mut text);
        text
    }

    /// Checks signature, form and time (`now` in seconds since 1970).
    pub fn verify(text: &str, secret: &SecretString, now: i64) -> Result<Verified, BadCapability> {
        if text.len() > BYTES_MAX {
            return Err(BadCapability::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BadCapability::Form)?;
        let payload = signed.strip_prefix(PREFIX).ok_or(BadCapability::Form)?;
        let signature = unhex(signature).ok_or(BadCapability::Form)?;
        // Compares in constant time.
        mac(secret, signed.as_bytes())
            .verify_slice(&signature)
            .map_err(|_| BadCapability::Signature)?;
        let payload = unhex(payload).ok_or(BadCapability::Form)?;
        let it: Capability = serde_json::from_slice(&payload)
            .map_err(|error| BadCapability::Payload(error.to_string()))?;
        if it.expires <= now {
            return Err(BadCapability::Expired);
        }
        if it.expires.saturating_sub(now) > LIFETIME_SECONDS_MAX {
            return Err(BadCapability::TooLong);
        }
        let permissions = Permissions::from_map(&it.permissions)
            .map_err(|error: BadPermission| BadCapability::Payload(error.to_string()))?;
        if !is_word(&it.thread) || !it.run.as_deref().is_none_or(is_word) {
            let error = "thread and run are letters, digits, '.', '_', ':' and '-'";
            return Err(BadCapability::Payload(error.to_owned()));
        }
        Ok(Verified { thread: it.thread, run: it.run, repositories: it.repositories, permissions })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= THREAD_BYTES_MAX
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"._:-".contains(&it))
}

fn mac(secret: &SecretString, signed: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length; `Config` refuses short ones.
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) {
        Ok(mac) => mac,
        Err(error) => unreachable!("HMAC takes keys of any length: {error}"),
    };
    mac.update(signed);
    mac
}

/// Lower-case hexadecimal, appended.
pub fn hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

/// The bytes behind lower- or upper-case hexadecimal.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |it: u8| char::from(it).to_digit(16);
    digits.chunks(2).map(|it| Some((value(it[0])? * 16 + value(it[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_771_234_567;

    fn secret() -> SecretString {
        SecretString::from("an example of a signing secret, 32+")
    }

    fn capability() -> Capability {
        Capability {
            thread: "42".to_owned(),
            repositories: vec!["acme/site".parse().unwrap()],
            permissions: BTreeMap::from([("contents".to_owned(), "write".to_owned())]),
            expires: NOW + 3600,
            run: None,
        }
    }

    /// The vector of the README: whoever signs elsewhere can compare.
    #[test]
    fn the_readmes_vector() {
        let text = capability().sign(&secret());
        let readme = include_str!("../README.md");
        assert!(readme.contains(&text), "the README does not show {text}");
    }

    #[test]
    fn what_was_signed_is_verified() {
        let verified = Capability::verify(&capability().sign(&secret()), &secret(), NOW).unwrap();
        assert_eq!(verified.thread, "42");
        assert_eq!(verified.permissions.to_string(), "contents:write");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let text = capability().sign(&secret());
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Capability::verify(&changed, &secret(), NOW).is_err(), "{place}");
        }
        for cut in 0..text.len() {
            assert!(Capability::verify(&text[..cut], &secret(), NOW).is_err(), "{cut}");
        }
    }

    #[test]
    fn time_and_secret_count() {
        let text = capability().sign(&secret());
        let other = SecretString::from("another secret of the same length..");
        assert_eq!(Capability::verify(&text, &other, NOW), Err(BadCapability::Signature));
        assert_eq!(Capability::verify(&text, &secret(), NOW + 3600), Err(BadCapability::Expired));
        assert_eq!(Capability::verify(&text, &secret(), NOW - 90_000), Err(BadCapability::TooLong));
    }

    #[test]
    fn a_restriction_that_is_not_understood_is_refused() {
        let mut text = PREFIX.to_owned();
        let payload = r#"{"thread":"1","repositories":["a"],"permissions":{"contents":"read"},"expires":1771234600,"only_on":"Mondays"}"#;
        hex(payload.as_bytes(), &mut text);
        let signature = mac(&secret(), text.as_bytes()).finalize().into_bytes();
        text.push('.');
        hex(&signature, &mut text);
        let error = Capability::verify(&text, &secret(), NOW).unwrap_err();
        assert!(matches!(error, BadCapability::Payload(_)), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_capability_that_was_not_signed_and_none_panics(
            text in ".{0,300}", payload: Vec<u8>, signature in "[0-9a-f]{0,66}",
        ) {
            let mut forged = PREFIX.to_owned();
            hex(&payload, &mut forged);
            let signed_nonsense = {
                let signature = mac(&secret(), forged.as_bytes()).finalize().into_bytes();
                let mut it = format!("{forged}.");
                hex(&signature, &mut it);
                it
            };
            // Whoever has the secret may still write nonsense.
            for it in [&text, &format!("{PREFIX}{text}"), &format!("{forged}.{signature}"), &signed_nonsense] {
                proptest::prop_assert!(Capability::verify(it, &secret(), NOW).is_err());
            }
        }

        #[test]
        fn no_time_panics(expires: i64, now: i64) {
            let text = Capability { expires, ..capability() }.sign(&secret());
            let _ = Capability::verify(&text, &secret(), now);
        }
    }
}
