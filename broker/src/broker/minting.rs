//! From a key to a token: out of the vault, from a mint under way, or newly minted.
//!
//! Nothing leaves here that is wider than asked, not on record, or minted into a freeze.

use std::sync::Arc;

use super::rate_limit::Limit;
use super::{Broker, lock, lost};
use crate::audit::Event;
use crate::policy::Caller;
use crate::refusal::Refusal;
use crate::vault::{Found, Issued, Key};

/// A token that was revoked is minted again so often, and then this often in an hour: git has one
/// revoked that was refused, and nobody else needs to.
const MINTED_AGAIN: Limit = Limit { most: 5.0, per_hour: 12.0 };
/// Who pays for renewing unasked. No client has a name with a blank in it.
const RENEWALS: &str = "all renewals";

impl Broker {
    /// A token for the key: from the vault, from a mint under way, or newly minted.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        key: Key,
        min_ttl: Option<u32>,
        caller: &Caller,
    ) -> Result<(Arc<Issued>, bool), Refusal> {
        let payer = caller.payer();
        // A mint that others began may bring less time than this caller needs: then once more.
        for _ in 0..3 {
            match self.vault.find(&key, min_ttl, self.clock.now()) {
                Found::Fresh(issued) => {
                    self.counters.cached.up();
                    return Ok((issued, false));
                }
                Found::Due(issued) => {
                    self.renew(key);
                    self.counters.cached.up();
                    return Ok((issued, false));
                }
                Found::Nothing => {}
            }
            self.spend(&payer, false)?;
            self.check_room(&payer, 0.0)?;
            self.check_minted_again(&payer, &key)?;
            let (broker, payer, wanted) = (self.clone(), payer.clone(), key.clone());
            let errand = move || async move {
                // Somebody may have landed between our look and our start.
                let found = broker.vault.find(&wanted, min_ttl, broker.clock.now());
                if let Found::Fresh(issued) | Found::Due(issued) = found {
                    return Ok((issued, false));
                }
                broker.spend(&payer, true)?;
                broker.mint(wanted).await.map(|issued| (issued, true))
            };
            let (outcome, started) =
                self.mints.join(key.clone(), errand).await.map_err(|_| lost())?;
            let (issued, minted) = outcome?;
            let left = issued.expires - self.clock.now();
            if left >= i64::from(min_ttl.unwrap_or(0)).max(1) {
                return Ok((issued, minted && started));
            }
            if minted {
                let error = format!("GitHub's new token lives for {left} s only");
                let hint = "ask with a smaller min_ttl, or without";
                return Err(Refusal::new(502, "short_lived", error, hint));
            }
        }
        Err(lost())
    }

    /// Renews a token in the background, unless that is under way.
    fn renew(self: &Arc<Self>, key: Key) {
        if self.spend(&RENEWALS.into(), false).is_err() {
            // It is good for a while yet; after that its callers pay for a new one.
            return;
        }
        let (broker, wanted) = (self.clone(), key.clone());
        let errand = move || async move {
            let minted = match broker.spend(&RENEWALS.into(), true) {
                Ok(()) => broker.mint(wanted).await,
                Err(refusal) => Err(refusal),
            };
            match &minted {
                Ok(_) => broker.counters.refreshes.up(),
                Err(refusal) => tracing::warn!(code = refusal.code, "a token was not renewed"),
            }
            minted.map(|issued| (issued, true))
        };
        drop(self.mints.start(key, errand));
    }

    /// Renews what is wanted and due. Called now and then.
    pub fn refresh_due(self: &Arc<Self>) {
        if self.is_frozen() || self.app.unready().is_some() {
            return;
        }
        for key in self.vault.due(self.clock.now()) {
            self.renew(key);
        }
    }

    /// Mints, and takes back what must not be handed out.
    async fn mint(self: &Arc<Self>, key: Key) -> Result<Arc<Issued>, Refusal> {
        self.open_for_business()?;
        self.check_pause(key.installation)?;
        let minted = self.github.mint(&key).await.inspect_err(|refusal| {
            if let (429, Some(seconds)) = (refusal.status, refusal.retry_after) {
                let until = self.clock.now() + seconds as i64;
                lock(&self.paused).insert(key.installation, until);
            }
            if refusal.status == 404 {
                // Uninstalled, and perhaps installed anew under another number.
                self.lookups.forget(key.installation);
            }
        })?;
        self.counters.mints.up();
        let now = self.clock.now();
        let issued = Issued::new(key, minted.token, minted.expires_at, minted.expires, now);
        let issued = Arc::new(issued);
        let event = |event| Event {
            event,
            installation: Some(issued.key.installation),
            repositories: issued.key.repositories.as_deref(),
            permissions: Some(&issued.key.permissions),
            token_sha256: Some(&issued.digest),
            expires_at: Some(&issued.expires_at),
            ..Event::default()
        };
        if let Some(wider) = minted.wider {
            self.counters.wider.up();
            tracing::error!(%wider, "GitHub minted a token wider than asked; it is revoked");
            let _ = self.record_durably(&event("wider")).await;
            self.take_back(&issued).await;
            let error = format!("GitHub's token is wider than asked: {wider}");
            let hint = "it was revoked; look at the App's settings and at githubstatus.com";
            return Err(Refusal::new(502, "wider_than_asked", error, hint));
        }
        if let Err(refusal) = self.record_durably(&event("mint")).await {
            self.take_back(&issued).await;
            return Err(refusal);
        }
        self.vault.keep(issued.clone(), now);
        if let Err(refusal) = self.open_for_business() {
            if self.vault.forget(&issued.digest).is_some() {
                self.take_back(&issued).await;
            }
            return Err(refusal);
        }
        Ok(issued)
    }

    async fn take_back(&self, issued: &Arc<Issued>) {
        if self.github.revoke(&issued.token).await.is_ok() {
            self.counters.revoked.up();
        } else {
            tracing::error!(sha256 = issued.digest, "a token could not be revoked");
            // Nobody has it, and a freeze will try again.
            self.vault.remember(issued.clone());
        }
    }

    fn check_pause(&self, installation: u64) -> Result<(), Refusal> {
        let mut paused = lock(&self.paused);
        let now = self.clock.now();
        paused.retain(|_, until| *until > now);
        let Some(until) = paused.get(&installation) else { return Ok(()) };
        let seconds = (until - now).max(1) as u64;
        let error = "GitHub asked us to wait for this installation";
        let hint = "fewer different scopes mean fewer tokens";
        Err(Refusal::new(429, "github_rate_limit", error, hint).after(seconds))
    }

    /// One of the payer's mints of this hour; with `take` it is used up.
    pub(super) fn spend(&self, payer: &Arc<str>, take: bool) -> Result<(), Refusal> {
        let most = f64::from(self.policy().mints_per_hour);
        let limit = Limit { most, per_hour: most };
        let amount = if take { 1.0 } else { 0.0 };
        let spent = self.limits.take(payer.clone(), amount, limit, self.clock.now());
        spent.map_err(|seconds| {
            let error = format!("{payer} had GitHub asked {most} times within the hour");
            let hint = "ask for the same scopes again, or raise mints_per_hour in the policy";
            Refusal::new(429, "mint_budget", error, hint).after(seconds)
        })
    }

    /// Remembers that somebody had a token revoked, and may have it minted again.
    pub(super) fn note_revoked(&self, payer: Arc<str>, key: Key) {
        let _ = self.revoked.take((payer, key), 1.0, MINTED_AGAIN, self.clock.now());
    }

    fn check_minted_again(&self, payer: &Arc<str>, key: &Key) -> Result<(), Refusal> {
        let who = (payer.clone(), key.clone());
        self.revoked.take(who, 0.0, MINTED_AGAIN, self.clock.now()).map_err(|seconds| {
            let error = format!("{payer} had this token revoked again and again");
            let hint = "keep the token, or wait";
            Refusal::new(429, "mint_budget", error, hint).after(seconds)
        })
    }
}
