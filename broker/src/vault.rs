//! The tokens that live: by what they are good for, and every one that can still be revoked.
//!
//! A token is handed out until its last sixth (ten minutes of GitHub's hour) begins; from then
//! on it is renewed in the background while the old one is still good. In its last twelfth it is
//! not handed out any more. Nothing here survives a restart, and nothing is written anywhere.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::capability::hex;
use crate::names::RepoName;
use crate::permission::Permissions;

/// A bound for memory, not for use: far more than one App's installations and scopes.
const TOKENS_MAX: usize = 20_000;
/// Who has not asked for so long gets no token renewed unasked.
const WANTED_SECONDS: i64 = 1_800;

/// What a token is good for, in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose.
    pub installation: u64,
    /// Sorted and lower-case; none means all of the installation.
    pub repositories: Option<Vec<RepoName>>,
    /// Sorted.
    pub permissions: Permissions,
}

/// A token that was minted.
pub struct Issued {
    /// What it is good for.
    pub key: Key,
    /// The token.
    pub token: SecretString,
    /// SHA-256 of it, for the audit log.
    pub digest: String,
    /// Its end in GitHub's own spelling.
    pub expires_at: String,
    /// The same in seconds since 1970.
    pub expires: i64,
    /// Seconds it had when it was new.
    pub lifetime: i64,
}

impl fmt::Debug for Issued {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Issued({:?} until {})", self.key, self.expires_at)
    }
}

impl Issued {
    /// A new token, as it came from GitHub at `now`.
    pub fn new(
        key: Key,
        token: SecretString,
        expires_at: String,
        expires: i64,
        now: i64,
    ) -> Issued {
        let digest = digest_of(token.expose_secret());
        let lifetime = (expires - now).max(0);
        Issued { key, token, digest, expires_at, expires, lifetime }
    }

    /// Renewed from here on: ten minutes of an hour.
    fn margin(&self) -> i64 {
        self.lifetime / 6
    }

    /// Not handed out from here on, unless the caller says otherwise: five minutes of an hour.
    fn floor(&self) -> i64 {
        self.lifetime / 12
    }
}

/// SHA-256 of a token, in hexadecimal.
pub fn digest_of(token: &str) -> String {
    let mut digest = String::with_capacity(64);
    hex(&Sha256::digest(token.as_bytes()), &mut digest);
    digest
}

/// What the vault has for a key.
#[derive(Debug)]
pub enum Found {
    /// Good, for a while.
    Fresh(Arc<Issued>),
    /// Good for this caller, and due to be renewed.
    Due(Arc<Issued>),
    /// Nothing that lives long enough.
    Nothing,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Vault {
    shelves: Mutex<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    by_key: HashMap<Key, Slot>,
    living: HashMap<String, Arc<Issued>>,
}

#[derive(Debug)]
struct Slot {
    issued: Arc<Issued>,
    wanted: i64,
}

impl Vault {
    /// What there is for a key at `now`, with at least `min_ttl` seconds left.
    pub fn find(&self, key: &Key, min_ttl: Option<u32>, now: i64) -> Found {
        let mut shelves = self.open();
        let Some(slot) = shelves.by_key.get_mut(key) else { return Found::Nothing };
        slot.wanted = now;
        let left = slot.issued.expires - now;
        let least = match min_ttl {
            Some(seconds) => i64::from(seconds).max(1),
            None => slot.issued.floor().max(1),
        };
        if left < least {
            Found::Nothing
        } else if left <= slot.issued.margin() {
            Found::Due(slot.issued.clone())
        } else {
            Found::Fresh(slot.issued.clone())
        }
    }

    /// Keeps a new token.
    pub fn keep(&self, issued: Arc<Issued>, now: i64) {
        let mut shelves = self.open();
        if shelves.living.len() >= TOKENS_MAX {
            shelves.sweep(now);
        }
        if shelves.living.len() >= TOKENS_MAX {
            let first = shelves.living.values().min_by_key(|it| it.expires).cloned();
            if let Some(first) = first {
                shelves.forget(&first.digest);
            }
        }
        shelves.living.insert(issued.digest.clone(), issued.clone());
        shelves.by_key.insert(issued.key.clone(), Slot { issued, wanted: now });
    }

    /// No longer hands a token out, but still knows that it lives; what it was, if it was known.
    pub fn retire(&self, digest: &str) -> Option<Arc<Issued>> {
        let mut shelves = self.open();
        let issued = shelves.living.get(digest)?.clone();
        shelves.clear_slot(&issued);
        Some(issued)
    }

    /// Remembers a token that was never handed out and could not be revoked.
    pub fn remember(&self, issued: Arc<Issued>) {
        self.open().living.insert(issued.digest.clone(), issued);
    }

    /// Forgets a token by its SHA-256; what it was, if it was known.
    pub fn forget(&self, digest: &str) -> Option<Arc<Issued>> {
        self.open().forget(digest)
    }

    /// Every token that is still good.
    pub fn living(&self, now: i64) -> Vec<Arc<Issued>> {
        let mut shelves = self.open();
        shelves.sweep(now);
        shelves.living.values().cloned().collect()
    }

    /// Keys whose token is due and was asked for not long ago.
    pub fn due(&self, now: i64) -> Vec<Key> {
        let mut shelves = self.open();
        shelves.sweep(now);
        let due = |slot: &Slot| {
            slot.issued.expires - now <= slot.issued.margin() && now - slot.wanted < WANTED_SECONDS
        };
        shelves.by_key.iter().filter(|(_, slot)| due(slot)).map(|(key, _)| key.clone()).collect()
    }

    /// How many are good at this moment.
    pub fn count(&self, now: i64) -> usize {
        self.open().living.values().filter(|it| it.expires > now).count()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn forget(&mut self, digest: &str) -> Option<Arc<Issued>> {
        let issued = self.living.remove(digest)?;
        self.clear_slot(&issued);
        Some(issued)
    }

    fn clear_slot(&mut self, issued: &Issued) {
        if self.by_key.get(&issued.key).is_some_and(|slot| slot.issued.digest == issued.digest) {
            self.by_key.remove(&issued.key);
        }
    }

    fn sweep(&mut self, now: i64) {
        self.living.retain(|_, it| it.expires > now);
        self.by_key.retain(|_, slot| slot.issued.expires > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(installation: u64, expires: i64) -> Arc<Issued> {
        let key = Key { installation, repositories: None, permissions: Permissions::default() };
        let token = SecretString::from(format!("token {installation} until {expires}"));
        Arc::new(Issued::new(key, token, "then".to_owned(), expires, 0))
    }

    fn found(vault: &Vault, key: &Key, min_ttl: Option<u32>, now: i64) -> &'static str {
        match vault.find(key, min_ttl, now) {
            Found::Fresh(_) => "fresh",
            Found::Due(_) => "due",
            Found::Nothing => "nothing",
        }
    }

    #[test]
    fn an_hour_of_a_token() {
        let (vault, token) = (Vault::default(), issued(1, 3600));
        vault.keep(token.clone(), 0);
        let found = |min_ttl, now| found(&vault, &token.key, min_ttl, now);
        assert_eq!(found(None, 0), "fresh");
        assert_eq!(found(None, 2999), "fresh");
        assert_eq!(found(None, 3000), "due");
        assert_eq!(found(None, 3301), "nothing");
        assert_eq!(found(Some(0), 3599), "due");
        assert_eq!(found(Some(0), 3600), "nothing");
        assert_eq!(found(Some(3000), 600), "fresh");
        assert_eq!(found(Some(3000), 601), "nothing");
        // Last asked for at second 601: nobody waits for it half an hour later.
        assert_eq!(vault.due(3000), []);
        assert_eq!(found(None, 2900), "fresh");
        assert_eq!(vault.due(2999), []);
        assert_eq!(vault.due(3000), std::slice::from_ref(&token.key));
    }

    #[test]
    fn a_token_shorter_than_the_margin_is_not_renewed_at_once() {
        let (vault, token) = (Vault::default(), issued(1, 300));
        vault.keep(token.clone(), 0);
        assert_eq!(found(&vault, &token.key, None, 10), "fresh");
    }

    #[test]
    fn what_was_replaced_can_still_be_revoked() {
        let (vault, old, new) = (Vault::default(), issued(1, 3600), issued(1, 6600));
        vault.keep(old.clone(), 0);
        vault.keep(new.clone(), 3000);
        assert_eq!(vault.living(3000).len(), 2);
        assert!(vault.forget(&old.digest).is_some());
        assert_eq!(found(&vault, &new.key, None, 3000), "fresh", "the new one stays");
        assert!(vault.forget(&new.digest).is_some());
        assert_eq!(found(&vault, &new.key, None, 3000), "nothing");
        assert!(vault.forget(&new.digest).is_none());
    }

    #[test]
    fn what_could_not_be_revoked_is_not_handed_out_and_not_forgotten() {
        let (vault, token) = (Vault::default(), issued(1, 3600));
        vault.keep(token.clone(), 0);
        assert!(vault.retire(&token.digest).is_some());
        assert_eq!(found(&vault, &token.key, None, 0), "nothing");
        assert_eq!(vault.living(0).len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let vault = Vault::default();
        for id in 1..=(TOKENS_MAX as u64 + 5) {
            vault.keep(issued(id, 3600 + id as i64), 0);
        }
        assert_eq!(vault.count(0), TOKENS_MAX);
    }

    #[test]
    fn a_debug_print_shows_no_token() {
        let token = issued(1, 3600);
        assert!(!format!("{token:?}").contains(token.token.expose_secret()));
    }
}
