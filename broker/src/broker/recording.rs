//! What is written down, and what follows when it cannot be.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::rate_limit::Limit;
use super::{Broker, lost};
use crate::audit::{AuditError, Event};
use crate::policy::Caller;
use crate::redact::scrub;
use crate::refusal::{Refusal, chain};

/// Denials of one caller (an address, where nobody knows more) that are lines of their own; what is
/// beyond is a number in the next line. A flood must not fill the disk.
const DENIALS: Limit = Limit { most: 200.0, per_hour: 60.0 };
/// Bytes of the audit log that each mint of the hour pays for: with the usual 2,000 a caller may
/// write 16 MiB at once and 1 MiB an hour, which is 0.7 of the gigabyte that is kept in a month.
const BYTES_A_MINT: f64 = 8192.0;
const BYTES_A_MINT_AND_HOUR: f64 = 512.0;

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
        let who = caller.map_or_else(|| peer.to_string().into(), Caller::payer);
        if self.denials.take(who, 1.0, DENIALS, self.clock.now()).is_err() {
            self.denials_unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unwritten = self.denials_unwritten.swap(0, Ordering::Relaxed);
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
            count: (unwritten > 0).then_some(unwritten),
            ..Event::default()
        };
        // A refusal is given whether or not it can be written down.
        let _ = self.record(&event);
    }

    pub(super) fn record(&self, event: &Event<'_>) -> Result<(), Refusal> {
        let written = self.audit.write(self.clock.wall_ms(), event);
        written.map(|_| ()).map_err(|error| self.unwritable(&error))
    }

    /// Writes a line that somebody pays for, and for the mint's line before it.
    pub(super) fn record_at_cost(
        &self,
        event: &Event<'_>,
        payer: &Arc<str>,
        minted: bool,
    ) -> Result<(), Refusal> {
        self.check_room(payer, 0.0)?;
        let written = self.audit.write(self.clock.wall_ms(), event);
        let bytes = written.map_err(|error| self.unwritable(&error))? as f64;
        // It is written: that it was the last one for now matters to the next.
        let _ = self.check_room(payer, if minted { 2.0 * bytes } else { bytes });
        Ok(())
    }

    /// Whether somebody may still write into the audit log, and takes so many bytes of it.
    pub(super) fn check_room(&self, payer: &Arc<str>, bytes: f64) -> Result<(), Refusal> {
        let mints = f64::from(self.policy().mints_per_hour);
        let limit = Limit { most: mints * BYTES_A_MINT, per_hour: mints * BYTES_A_MINT_AND_HOUR };
        self.written.take(payer.clone(), bytes, limit, self.clock.now()).map_err(|seconds| {
            let error = format!("{payer} filled its part of the audit log");
            let hint = "ask for fewer different tokens, or raise mints_per_hour in the policy";
            Refusal::new(429, "audit_budget", error, hint).after(seconds)
        })
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
