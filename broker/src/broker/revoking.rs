//! Taking tokens back: one of them, or all at once and no new ones.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::task::JoinSet;

use super::Broker;
use crate::audit::Event;
use crate::policy::Caller;
use crate::refusal::Refusal;
use crate::vault::digest_of;

/// GitHub's secondary limits begin at a hundred requests at once.
const REVOKES_AT_ONCE: usize = 32;

/// What a freeze did.
#[derive(Debug, Serialize)]
pub struct Frozen {
    /// It is.
    pub frozen: bool,
    /// How many tokens were revoked.
    pub revoked: usize,
    /// How many could not be: they live until they expire.
    pub failed: usize,
    /// Whether the freeze is on disk and outlives a restart.
    pub persisted: bool,
}

/// Whether somebody put the break-glass file down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakGlass {
    Missing = 0,
    There = 1,
    /// It cannot be told.
    Hidden = 2,
}

impl BreakGlass {
    /// As it is now. Whatever has the name is a break-glass file, a link to nothing too.
    pub(super) fn at(path: &Path) -> BreakGlass {
        match std::fs::symlink_metadata(path) {
            Ok(_) => BreakGlass::There,
            Err(error) if error.kind() == ErrorKind::NotFound => BreakGlass::Missing,
            Err(_) => BreakGlass::Hidden,
        }
    }
}

impl Broker {
    /// Revokes one token, whoever had it: possession is enough.
    pub async fn revoke(
        self: &Arc<Self>,
        caller: &Caller,
        token: SecretString,
        peer: IpAddr,
    ) -> Result<(), Refusal> {
        let digest = digest_of(token.expose_secret());
        // First it is no longer handed out, whatever GitHub says.
        let known = self.vault.retire(&digest);
        match &known {
            Some(issued) => self.note_revoked(caller.payer(), issued.key.clone()),
            // It may be anything: GitHub is asked at the caller's cost.
            None => self.spend(&caller.payer(), true)?,
        }
        let revoked = self.github.revoke(&token).await;
        if revoked.is_ok() {
            self.vault.forget(&digest);
        }
        let capability = caller.capability.as_deref();
        let event = Event {
            event: "revoke",
            decision: Some(if revoked.is_ok() { "granted" } else { "failed" }),
            client: Some(&caller.client),
            thread: capability.map(|it| it.thread.as_str()),
            run: capability.and_then(|it| it.run.as_deref()),
            peer: Some(peer),
            installation: known.as_ref().map(|it| it.key.installation),
            token_sha256: Some(&digest),
            ..Event::default()
        };
        // The token is gone either way; that it is not on record is said in the log.
        let _ = self.record_durably(&event).await;
        if revoked.is_ok() {
            self.counters.revoked.up();
        }
        revoked
    }

    /// Stops all minting and revokes every token that lives.
    pub async fn freeze(self: &Arc<Self>, who: &str, peer: Option<IpAddr>) -> Frozen {
        // First the flag, then the list: a mint under way sees the one or is in the other.
        self.frozen.store(true, Ordering::SeqCst);
        tracing::error!(who, "frozen: nothing is minted until it is thawed");
        let event = Event { event: "freeze", client: Some(who), peer, ..Event::default() };
        // Once: who freezes what is frozen fills no disk with it.
        let persisted = self.audit.is_frozen() || {
            self.write_repeats(true);
            let written = self.audit.write_frozen(self.clock.wall_ms(), &event, true);
            written.map_err(|error| self.unwritable(&error)).is_ok() && self.flush().is_ok()
        };
        let (revoked, failed) = self.revoke_all().await;
        if revoked > 0 {
            let count = Some(revoked as u64);
            let event = Event { event: "revoke", client: Some(who), count, ..Event::default() };
            let _ = self.record(&event);
        }
        Frozen { frozen: true, revoked, failed, persisted }
    }

    /// While it is frozen, tries again to revoke what GitHub did not. Called now and then.
    pub async fn revoke_again(self: &Arc<Self>) {
        let frozen = self.frozen.load(Ordering::SeqCst) || self.audit.is_frozen();
        if !frozen || self.vault.count(self.clock.now()) == 0 {
            return;
        }
        let (revoked, failed) = self.revoke_all().await;
        tracing::warn!(revoked, failed, "tried again to revoke what a freeze had left");
        if revoked > 0 {
            let count = Some(revoked as u64);
            let _ = self.record(&Event { event: "revoke", count, ..Event::default() });
        }
    }

    /// Mints again. Refused when it cannot be written down.
    pub async fn thaw(&self, who: &str, peer: IpAddr) -> Result<(), Refusal> {
        if self.break_glass.load(Ordering::SeqCst) != BreakGlass::Missing as u8 {
            let path = self.config.freeze_file.display();
            let error = format!("{path} exists or cannot be looked at: so long nothing is minted");
            return Err(Refusal::new(409, "break_glass", error, "remove the file, then thaw"));
        }
        let event =
            Event { event: "thaw", client: Some(who), peer: Some(peer), ..Event::default() };
        let written = self.audit.write_frozen(self.clock.wall_ms(), &event, false);
        written.map_err(|error| self.unwritable(&error))?;
        self.flush()?;
        self.frozen.store(false, Ordering::SeqCst);
        tracing::warn!(who, "thawed");
        Ok(())
    }

    /// Freezes when the break-glass file appears. Called every second.
    ///
    /// While nobody can tell whether it is there, nothing is minted either, but what lives is
    /// left alone and what was frozen for it thaws by itself: a disk that stumbles is no alarm.
    pub async fn watch_break_glass(self: &Arc<Self>) {
        let path = &self.config.freeze_file;
        let stamp = BreakGlass::at(path);
        let before = self.break_glass.swap(stamp as u8, Ordering::SeqCst);
        if stamp as u8 == before {
            return;
        }
        match stamp {
            BreakGlass::There => {
                self.freeze("break-glass file", None).await;
            }
            BreakGlass::Hidden => tracing::error!(
                path = %path.display(),
                "nothing is minted while nobody can tell whether this file is there"
            ),
            BreakGlass::Missing => tracing::warn!(path = %path.display(), "no break-glass file"),
        }
    }

    pub(super) fn break_glass_is_hidden(&self) -> bool {
        self.break_glass.load(Ordering::SeqCst) == BreakGlass::Hidden as u8
    }

    async fn revoke_all(self: &Arc<Self>) -> (usize, usize) {
        let mut living = self.vault.living(self.clock.now()).into_iter();
        let (mut revoked, mut failed) = (0, 0);
        let mut errands = JoinSet::new();
        loop {
            while errands.len() < REVOKES_AT_ONCE
                && let Some(issued) = living.next()
            {
                self.vault.retire(&issued.digest);
                let github = self.github.clone();
                errands.spawn(async move {
                    let revoked = github.revoke(&issued.token).await;
                    revoked.map(|()| issued.digest.clone())
                });
            }
            match errands.join_next().await {
                Some(Ok(Ok(digest))) => {
                    self.vault.forget(&digest);
                    self.counters.revoked.up();
                    revoked += 1;
                }
                // They stay known, and are tried again while it is frozen.
                Some(_) => failed += 1,
                None => return (revoked, failed),
            }
        }
    }
}
