//! The windows of Claude's plan: kept as they are told, shown by `/cost`, and warned of once when most of one is used.
//!
//! Whom a window was told of is kept with it in `plan.json`, so a restart warns nobody again.

use std::sync::{Arc, Mutex};

use tinyclaw_disk::Flush;
use tinyclaw_domain::{Key, PlanUse, StateDir};
use tinyclaw_engine::RateWindow;
use tinyclaw_ledger::plan;
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::availability::notices::Notices;
use crate::blocking::{lock, on_disk};

/// How far the plan of this machine's login is used.
pub(crate) struct Plan {
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    notices: Arc<Notices>,
    /// Guards what was told last. Held while it is changed and written; nothing else is locked within it.
    kept: Mutex<PlanUse>,
}

impl Plan {
    /// What is kept from before. What cannot be read is told again by Claude soon, and counts as nothing.
    pub(crate) fn open(
        state: StateDir,
        settings: Store<Settings>,
        vitals: Vitals,
        notices: Arc<Notices>,
    ) -> Plan {
        let kept = plan::read(&state).unwrap_or_else(|err| {
            tracing::warn!("what is known of the plan's limits is lost: {err}");
            PlanUse::default()
        });
        vitals.set("planWindows", serde_json::json!(kept.windows));
        Plan { state, settings, vitals, notices, kept: Mutex::new(kept) }
    }

    /// Keeps what Claude told of its plan, and warns of each window once when most of it is used.
    pub(crate) fn saw(&self, windows: &[RateWindow]) {
        let now = now_ms();
        let mut warnings = Vec::new();
        {
            let mut kept = lock(&self.kept);
            let before = kept.clone();
            for it in windows {
                kept.tell(&it.name, it.used, it.resets_at, now);
            }
            if kept.windows == before.windows {
                return;
            }
            let zone = self.settings.current().office.timezone.clone();
            for (name, it) in &mut kept.windows {
                if it.used >= plan::WARN_AT && !it.warned && now / 1_000 < it.resets_at {
                    it.warned = true;
                    warnings.push((
                        format!("{name}-{}", it.resets_at),
                        plan::share(name, *it, &zone, now),
                    ));
                }
            }
            // A crash before the words are out leaves them unsaid: one warning too few rather than one at each start.
            let flush = if warnings.is_empty() { Flush::None } else { Flush::Strict };
            if let Err(err) = on_disk(|| plan::write(&self.state, &kept, flush)) {
                tracing::warn!("cannot keep how far the plan is used: {err}");
            }
            self.vitals.set("planWindows", serde_json::json!(kept.windows));
        }
        for (window, told) in warnings {
            tracing::warn!("the plan's limit is near: {told}");
            let text = format!("Claude's plan is nearly used up: {told}.");
            for to in self.notices.operators() {
                self.notices.say(&to, Key::hashed("n", &format!("plan-{window}-{to}")), &text);
            }
        }
    }
}
