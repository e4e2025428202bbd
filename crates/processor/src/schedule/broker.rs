//! Looks how the credential broker is.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::Health;
use tinyclaw_service::healthcheck::{self, BROKER_IDLES, ProbeError};
use tinyclaw_service::now_ms;

use crate::schedule::clock::Clock;

/// The broker has no volume to write to: its health is noted for it.
pub(super) fn look_after(clock: &Arc<Clock>) {
    let Some(url) = clock.settings.current().github.broker_url.clone() else { return };
    let clock = clock.clone();
    // A look may take seconds when nobody answers.
    tokio::task::spawn_blocking(move || {
        let patience = Duration::from_secs(3);
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let alive = healthcheck::probe(&address, "/health", patience);
        let ready = healthcheck::probe(&address, "/ready", patience);
        let why: Vec<String> = alive
            .as_ref()
            .err()
            .or_else(|| ready.as_ref().err())
            .map(ProbeError::why)
            .into_iter()
            .collect();
        let health = Health {
            service: "broker".to_owned(),
            version: String::new(),
            pid: 0,
            started_at: 0,
            at: now_ms(),
            alive: alive.is_ok(),
            ready: ready.is_ok(),
            why,
            numbers: Default::default(),
        };
        let is_wanted = clock.settings.current().github.app_id.is_some();
        clock.notices.concern("broker", broker_trouble(health.why.first(), is_wanted));
        if let Err(err) = tinyclaw_ledger::health::write(&clock.state, "broker", &health) {
            tracing::warn!("cannot write how the broker is: {err}");
        }
    });
}

/// What a person must know of the broker. One that nobody has named an App to is as it should be.
fn broker_trouble(why: Option<&String>, is_wanted: bool) -> Option<String> {
    let why = why.filter(|it| is_wanted || !it.contains(BROKER_IDLES))?;
    Some(format!("The credential broker is not ready: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_waits_for_its_app_troubles_nobody() {
        let (idles, broken) = (BROKER_IDLES.to_owned(), "the key is not readable".to_owned());
        assert_eq!(broker_trouble(None, true), None);
        assert_eq!(broker_trouble(Some(&idles), false), None);
        assert!(broker_trouble(Some(&idles), true).is_some(), "an App was named, and not to it");
        assert!(broker_trouble(Some(&broken), false).is_some());
    }
}
