//! The windows of Claude's plan: kept as they are told, shown by `/cost`, and warned of once when most of one is used.
//!
//! With most answers the API tells them. Where it does not, Claude is asked, at the start and then after work only.
//!
//! Whom a window was told of is kept with it in `plan.json`, so a restart warns nobody again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tinyclaw_disk::Flush;
use tinyclaw_domain::{Key, PlanUse, StateDir};
use tinyclaw_engine::{Engine, RateWindow};
use tinyclaw_ledger::plan;
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::availability::notices::Notices;
use crate::blocking::{lock, on_disk};

/// What is as old as this is asked for: a window of five hours is told to the percent by then.
const ASK_AFTER: Duration = Duration::from_secs(15 * 60);

/// How far the plan of this machine's login is used.
pub(crate) struct Plan {
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    notices: Arc<Notices>,
    /// Guards what was told last. Held while it is changed and written; nothing else is locked within it.
    kept: Mutex<PlanUse>,
    /// When Claude was asked last. Guards nothing else.
    asked: Mutex<Option<Instant>>,
    /// A turn has ended since.
    has_worked: AtomicBool,
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
        let (kept, asked) = (Mutex::new(kept), Mutex::new(None));
        Plan { state, settings, vitals, notices, kept, asked, has_worked: AtomicBool::new(true) }
    }

    /// A turn of this machine's login has ended.
    pub(crate) fn worked(&self) {
        self.has_worked.store(true, Ordering::Relaxed);
    }

    /// Asks Claude where it was not told for a while, and something was used meanwhile. A second one at the same time does
    /// nothing.
    pub(crate) async fn ask(&self, engine: &Engine) {
        let told = Duration::from_millis(now_ms().saturating_sub(lock(&self.kept).at));
        {
            let mut asked = lock(&self.asked);
            let is_recent = told < ASK_AFTER || asked.is_some_and(|it| it.elapsed() < ASK_AFTER);
            if is_recent || !self.has_worked.swap(false, Ordering::Relaxed) {
                return;
            }
            *asked = Some(Instant::now());
        }
        match engine.plan_windows().await {
            Ok(windows) => self.saw(&windows),
            Err(failure) => tracing::warn!("how far claude's plan is used is not known: {failure}"),
        }
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
