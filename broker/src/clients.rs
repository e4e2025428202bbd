//! Who may speak to the broker: named clients, each with a secret of its own.
//!
//! Only SHA-256 of a secret is kept. A presented secret is compared with every client's in
//! constant time, so that neither the name nor the secret can be guessed by the clock. With no
//! client and no capability secret, whoever reaches the port from a private network is served:
//! right for containers, and said aloud at the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::capability::unhex;
use crate::policy::ANYBODY;

/// A secret is compared by a fast hash, so it must be too long to be tried out.
pub const SECRET_BYTES_MIN: usize = 24;

/// Everybody who may ask.
#[derive(Debug, Clone, Default)]
pub struct Clients(Vec<Client>);

/// One of them.
#[derive(Debug, Clone)]
pub struct Client {
    /// As the policy and the audit log know it.
    pub name: String,
    /// Whether it may thaw.
    pub admin: bool,
    digest: [u8; 32],
}

/// Why a list of clients is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not a list of clients: {reason}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// One of them has no usable secret.
    #[error("client {name:?}: {reason}")]
    Secret {
        /// Which client.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    clients: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: Option<String>,
    secret_file: Option<PathBuf>,
    #[serde(default)]
    admin: bool,
}

impl Clients {
    /// Reads `broker-clients.toml`: per client `sha256` or `secret_file`, and `admin`. With it come
    /// the secrets' files: when one of them changes, so do the clients.
    pub fn read(path: &Path) -> Result<(Clients, Vec<PathBuf>), ClientsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ClientsError::Read { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| ClientsError::Form {
            path: path.to_owned(),
            // The message alone: the parser's full text quotes the line, which may hold a secret.
            reason: error.message().to_owned(),
        })?;
        let (mut clients, mut files) = (Vec::new(), Vec::new());
        for (name, entry) in file.clients {
            let wrong = |reason: &str| ClientsError::Secret {
                name: name.clone(),
                reason: reason.to_owned(),
            };
            let clean = name.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it));
            // These mean somebody else in a policy.
            if !clean || name.is_empty() || name == "thread" || name == ANYBODY {
                return Err(wrong("is no name for a client: letters, digits, '.', '_' and '-'"));
            }
            let digest = match (&entry.sha256, &entry.secret_file) {
                (Some(digest), None) => unhex(digest.trim())
                    .and_then(|it| it.try_into().ok())
                    .ok_or_else(|| wrong("sha256 is not 64 hexadecimal digits"))?,
                (None, Some(path)) => digest_of_file(path).map_err(|reason| wrong(&reason))?,
                _ => return Err(wrong("give sha256 or secret_file, one of them")),
            };
            clients.push(Client { name, admin: entry.admin, digest });
            files.extend(entry.secret_file);
        }
        Ok((Clients(clients), files))
    }

    /// Adds a client whose secret is at hand.
    pub fn add(&mut self, name: &str, secret: &str, admin: bool) -> Result<(), ClientsError> {
        if secret.len() < SECRET_BYTES_MIN {
            let reason = format!("its secret has fewer than {SECRET_BYTES_MIN} characters");
            return Err(ClientsError::Secret { name: name.to_owned(), reason });
        }
        let digest = Sha256::digest(secret.as_bytes()).into();
        self.0.push(Client { name: name.to_owned(), admin, digest });
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them may thaw.
    pub fn has_admin(&self) -> bool {
        self.0.iter().any(|it| it.admin)
    }

    /// The client with this secret. Every client is compared, whoever matches.
    pub fn find(&self, secret: &str) -> Option<&Client> {
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let mut place = 0_u32;
        for (index, client) in self.0.iter().enumerate() {
            let same = client.digest.ct_eq(&digest);
            place = u32::conditional_select(&place, &(index as u32 + 1), same);
        }
        self.0.get((place as usize).checked_sub(1)?)
    }
}

fn digest_of_file(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = text.trim();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("{} has fewer than {SECRET_BYTES_MIN} characters", path.display()));
    }
    Ok(Sha256::digest(secret.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAS: &str = "a secret of Ada's, long enough";
    const BOBS: &str = "a secret of Bob's, long enough";

    #[test]
    fn a_secret_finds_its_client_and_no_other() {
        let mut clients = Clients::default();
        clients.add("ada", ADAS, true).unwrap();
        clients.add("bob", BOBS, false).unwrap();
        assert_eq!(clients.find(ADAS).map(|it| it.name.as_str()), Some("ada"));
        assert_eq!(clients.find(BOBS).map(|it| it.name.as_str()), Some("bob"));
        assert!(clients.find("").is_none());
        assert!(clients.find(&ADAS[..20]).is_none());
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(Clients::default().add("ada", "short", false).is_err());
    }
}
