//! Settings, `router.toml` and what the router has learned, taken up while the service runs.

use std::time::SystemTime;

use tinyclaw_service::settings::Refreshed;

use crate::blocking::on_disk;
use crate::config::{conceal_secrets, engine_config};
use crate::schedule::clock::Clock;

/// What was read last.
#[derive(Default)]
pub(super) struct Reloaded {
    router: [Option<SystemTime>; 2],
}

/// Reads what changed.
pub(super) fn reload(clock: &Clock, seen: &mut Reloaded) {
    match on_disk(|| clock.settings.refresh()) {
        Refreshed::Same => {}
        Refreshed::Changed => {
            tracing::info!("settings.json changed and is in force");
            let trouble = on_disk(|| apply(clock)).err().map(|it| format!("{it:#}"));
            clock.vitals.concern("settings", trouble);
        }
        Refreshed::Refused(mistakes) => {
            tracing::error!(
                "settings.json is not taken, the last good settings stay in force: {mistakes}"
            );
            clock.vitals.concern("settings", Some(mistakes.to_string()));
        }
    }
    let changed = [clock.state.learned_router(), clock.state.router()]
        .map(|it| std::fs::metadata(it).and_then(|it| it.modified()).ok());
    if changed != seen.router {
        seen.router = changed;
        on_disk(|| clock.routing.reload());
    }
}

/// Puts changed settings in force where they were taken over at the start. The rest is read when it is needed.
///
/// What cannot be changed under running processes stays until the next start, and the error says so.
fn apply(clock: &Clock) -> anyhow::Result<()> {
    let settings = clock.settings.current();
    conceal_secrets(&settings);
    clock.history.follow_settings();
    clock.budgets.follow_zone();
    clock.routing.reload();
    let left = clock.engine.reconfigure(engine_config(&clock.state, &settings)?);
    if !left.is_empty() {
        let names = left.join(", ");
        anyhow::bail!("settings.json changed the engine's {names}; that waits for the next start");
    }
    Ok(())
}
