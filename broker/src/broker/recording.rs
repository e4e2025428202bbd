//! What is written down, and what follows when it cannot be.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Broker, lock, lost};
use crate::audit::{AuditError, Event};
use crate::policy::Caller;
use crate::redact::scrub;
use crate::refusal::{Refusal, chain};

/// Denials beyond this many a second are counted, not written: a flood must not fill the disk.
const DENIALS_A_SECOND: u32 = 50;

impl Broker {
    /// Says in the audit log that a broker started.
    pub fn record_start(&self) {
        let _ = self.record(&Event { event: "start", ..Event::default() });
    }

    /// Writes down a refusal, unless there are too many of them.
    pub fn record_denial(
        &self,
        caller: Option<&Caller>,
        query: Option<&str>,
        peer: IpAddr,
        refusal: &Refusal,
    ) {
        if refusal.status == 400 {
            self.counters.malformed.up();
            return;
        }
        self.counters.denied.up();
        let second = self.clock.wall_ms() / 1000;
        {
            let mut denials = lock(&self.denials);
            if denials.0 != second {
                *denials = (second, 0);
            }
            denials.1 += 1;
            if denials.1 > DENIALS_A_SECOND {
                return;
            }
        }
        let asked = query.map(|it| scrub(&it.chars().take(500).collect::<String>()).into_owned());
        let capability = caller.and_then(|it| it.capability.as_deref());
        let event = Event {
            event: "denied",
            decision: Some("denied"),
            client: caller.map(|it| &*it.client),
            thread: capability.map(|it| it.thread.as_str()),
            run: capability.and_then(|it| it.run.as_deref()),
            peer: Some(peer),
            asked: asked.as_deref(),
            code: Some(refusal.code),
            ..Event::default()
        };
        // A refusal is given whether or not it can be written down.
        let _ = self.record(&event);
    }

    pub(super) fn record(&self, event: &Event<'_>) -> Result<(), Refusal> {
        let written = self.audit.write(self.clock.wall_ms(), event);
        written.map_err(|error| self.unwritable(&error))
    }

    pub(super) async fn record_durably(self: &Arc<Self>, event: &Event<'_>) -> Result<(), Refusal> {
        self.record(event)?;
        self.flush_in_background().await
    }

    async fn flush_in_background(self: &Arc<Self>) -> Result<(), Refusal> {
        let broker = self.clone();
        let flushed = tokio::task::spawn_blocking(move || broker.audit.flush()).await;
        flushed.map_err(|_| lost())?.map_err(|error| self.unwritable(&error))
    }

    pub(super) fn flush(&self) -> Result<(), Refusal> {
        // Freeze and thaw are rare: the disk may be waited for.
        self.audit.flush().map_err(|error| self.unwritable(&error))
    }

    pub(super) fn unwritable(&self, error: &AuditError) -> Refusal {
        self.counters.audit_failures.up();
        let error = chain(error);
        tracing::error!(%error, "nothing is handed out that is not on record");
        let hint = "make room, or give the broker's user the right to write there (BROKER_AUDIT)";
        Refusal::new(503, "audit_unwritable", error, hint)
    }
}
