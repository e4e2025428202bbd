//! Looks every second what is due, and has it done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::schedule::clock::Clock;
use crate::schedule::{broker, daily_reset, engine, heartbeats, housekeeping, numbers, reload};

const TICK: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

impl Clock {
    /// Ticks until it is aborted. Everything is due at the first tick.
    pub(crate) async fn run(self) {
        let clock = Arc::new(self);
        let mut due = Due::default();
        let mut reloaded = reload::Reloaded::default();
        loop {
            clock.tick(&mut due, &mut reloaded).await;
            tokio::time::sleep(TICK).await;
        }
    }

    async fn tick(self: &Arc<Clock>, due: &mut Due, reloaded: &mut reload::Reloaded) {
        engine::look_after(self).await;
        if due.is("settings", Duration::from_secs(2)) {
            reload::reload(self, reloaded);
        }
        if due.is("queue", Duration::from_secs(2)) {
            housekeeping::of_queue(self);
        }
        if due.is("numbers", Duration::from_secs(2)) {
            numbers::tell(self);
        }
        if due.is("broker", Duration::from_secs(15)) {
            broker::look_after(self);
        }
        if due.is("plan", Duration::from_secs(30)) {
            // The clock does not stand still for a Claude that begins.
            let clock = self.clone();
            tokio::spawn(async move { clock.plan.ask(&clock.engine).await });
        }
        if due.is("reset", Duration::from_secs(30)) {
            daily_reset::order(self);
        }
        if due.is("beats", Duration::from_secs(10)) {
            heartbeats::beat(self).await;
        }
        if due.is("jobs", Duration::from_secs(600)) {
            housekeeping::of_jobs(self, SystemTime::now());
        }
        if due.is("retention", 24 * HOUR) {
            housekeeping::of_files(self, SystemTime::now());
        }
    }
}

/// When what is next.
#[derive(Default)]
struct Due {
    at: HashMap<&'static str, Instant>,
}

impl Due {
    fn is(&mut self, what: &'static str, every: Duration) -> bool {
        let now = Instant::now();
        if self.at.get(what).is_some_and(|it| now < *it) {
            return false;
        }
        self.at.insert(what, now + every);
        true
    }
}
