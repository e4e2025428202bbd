//! Looking after the house: files that change, and whether the broker can do its job.

use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{Broker, add_secret, chain, lock, lost};
use crate::app::Stamp;
use crate::clients::Clients;
use crate::counters::gauge;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// A check that the key works is good for this long.
const PROBE_SECONDS: i64 = 60;
/// A failure is looked at again soon: somebody may be mending it.
const PROBE_FAILED_SECONDS: i64 = 5;

/// How the broker is.
#[derive(Debug)]
pub struct Readiness {
    /// Why it cannot mint; empty when it can.
    pub why: Vec<String>,
    /// What a person should look at although it can.
    pub warnings: Vec<String>,
}

/// The files that say who may have what.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    policy: Watched,
    clients: Watched,
}

/// A file that is read again when it changes.
#[derive(Debug)]
struct Watched {
    stamp: Option<Stamp>,
    trouble: Option<String>,
    /// Whether something good is in force: a file that was read, or none at the start.
    was_good: bool,
}

impl Default for Watched {
    fn default() -> Watched {
        Watched { stamp: None, trouble: None, was_good: true }
    }
}

impl Watched {
    /// What the file says, when it is new and good.
    fn look<T>(&mut self, path: &Path, read: impl FnOnce() -> Result<T, String>) -> Option<T> {
        let stamp = Stamp::of(path);
        if stamp == self.stamp {
            return None;
        }
        let first = self.stamp.is_none() && self.trouble.is_none();
        self.stamp = stamp;
        // A file that goes away is probably being replaced.
        let read =
            if stamp.is_some() { read() } else { Err(format!("{} is gone", path.display())) };
        match read {
            Ok(it) => {
                self.trouble = None;
                self.was_good = true;
                Some(it)
            }
            Err(trouble) if first || !self.was_good => {
                tracing::error!(%trouble, "nothing is handed out until this is mended");
                self.trouble = Some(trouble);
                self.was_good = false;
                None
            }
            Err(trouble) => {
                tracing::error!(%trouble, "what was read before stays in force");
                self.trouble = Some(format!("{trouble}; what was read before stays in force"));
                None
            }
        }
    }
}

impl Broker {
    /// Looks at every file again that may have changed. Called every second.
    pub fn reload(&self) {
        if self.app.refresh() {
            self.counters.reloads.up();
            *lock(&self.probed) = None;
            tracing::info!("the key was rotated");
        }
        let mut stamps = lock(&self.stamps);
        let stamps = &mut *stamps;
        let policy = || Policy::read(&self.config.policy).map_err(|error| chain(&error));
        if let Some(policy) = stamps.policy.look(&self.config.policy, policy) {
            *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
            self.counters.reloads.up();
            tracing::info!("the policy was read");
        }
        let clients = || {
            let mut clients = Clients::read(&self.config.clients).map_err(|error| chain(&error))?;
            add_secret(&mut clients, &self.config).map_err(|error| error.to_string())?;
            Ok(clients)
        };
        if let Some(clients) = stamps.clients.look(&self.config.clients, clients) {
            *self.clients.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(clients);
            self.counters.reloads.up();
            tracing::info!("the clients were read");
        }
    }

    /// Refuses everything while a file that says who may have what was never understood: what
    /// would be in force without it may be wider than what was meant.
    pub(crate) fn check_files(&self) -> Result<(), Refusal> {
        let stamps = lock(&self.stamps);
        for watched in [&stamps.policy, &stamps.clients] {
            if let (Some(trouble), false) = (&watched.trouble, watched.was_good) {
                let hint = "mend the file; it is read again every second";
                return Err(Refusal::new(503, "not_configured", trouble.clone(), hint));
            }
        }
        Ok(())
    }

    /// Whether it can mint, found out by asking GitHub with the key.
    pub async fn readiness(self: &Arc<Self>) -> Readiness {
        let mut why: Vec<String> = self.app.unready().into_iter().collect();
        if why.is_empty()
            && let Err(refusal) = self.probe().await
        {
            why.push(refusal.to_string());
        }
        if self.is_frozen() {
            why.push("frozen: POST /thaw, or tinyclaw-broker thaw".to_owned());
        }
        if let Err(error) = self.audit.open(self.clock.wall_ms()) {
            why.push(chain(&error));
        }
        let mut warnings = Vec::new();
        if why.is_empty() {
            // Otherwise it is among the reasons already.
            warnings.extend(self.app.trouble());
        }
        if let Err(refusal) = self.check_files() {
            why.push(refusal.to_string());
        } else {
            let stamps = lock(&self.stamps);
            warnings.extend(stamps.policy.trouble.clone());
            warnings.extend(stamps.clients.trouble.clone());
        }
        if !self.config.policy.exists() {
            let path = self.config.policy.display();
            warnings.push(format!("there is no policy at {path}: the built-in one is in force"));
        }
        if !self.is_guarded() {
            warnings
                .push("no clients are configured: whoever reaches this port is served".to_owned());
        }
        if self.clock.offset() != 0 {
            let offset = self.clock.offset();
            warnings.push(format!("this machine's clock is {} s off", -offset));
        }
        Readiness { why, warnings }
    }

    async fn probe(self: &Arc<Self>) -> Result<(), Refusal> {
        let now = self.clock.now();
        if let Some((until, outcome)) = &*lock(&self.probed)
            && now < *until
        {
            return outcome.clone();
        }
        let broker = self.clone();
        let errand = move || async move {
            let outcome = broker.github.app().await.map(|_| ());
            let seconds = if outcome.is_ok() { PROBE_SECONDS } else { PROBE_FAILED_SECONDS };
            let until = broker.clock.now() + seconds;
            *lock(&broker.probed) = Some((until, outcome.clone()));
            outcome
        };
        self.probes.join((), errand).await.map_err(|_| lost())?.0
    }

    /// The lines of `/metrics` that are not counters.
    pub fn gauges(&self, text: &mut String) {
        let now = self.clock.now();
        gauge(text, "living_tokens", "Tokens that are good at this moment.", self.vault.count(now));
        gauge(text, "frozen", "1 while nothing is minted.", u8::from(self.is_frozen()));
        gauge(text, "clock_offset_seconds", "GitHub's clock minus ours.", self.clock.offset());
        let head = self.audit.head();
        gauge(text, "audit_seq", "Number of the audit log's last line.", head.seq);
        let info = format!("audit_head{{hash=\"{}\"}}", head.hash);
        text.push_str("# HELP tinyclaw_broker_audit_head Hash of the audit log's last line.\n");
        text.push_str("# TYPE tinyclaw_broker_audit_head gauge\n");
        let _ = writeln!(text, "tinyclaw_broker_{info} 1");
    }
}
