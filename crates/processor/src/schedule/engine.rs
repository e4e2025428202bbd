//! While no turn can run: looks whether it is over.

use std::time::{Duration, Instant};

use tinyclaw_engine::Probe;
use tinyclaw_service::now_ms;

use crate::policy::failure::{LIMIT_LOOK_MAX, LOOK_AFTER_LOGIN};
use crate::schedule::clock::Clock;

/// Ends a pause that is over, or puts the next look off.
pub(super) async fn look_after(clock: &Clock) {
    let Some(paused) = clock.availability.paused() else { return };
    if Instant::now() < paused.next_look {
        return;
    }
    let left = paused.pause.until.map_or(0, |it| it.saturating_sub(now_ms() / 1_000));
    if left > 0 {
        // By the wall clock, which may have been set meanwhile.
        return clock.availability.look_again_in(Duration::from_secs(left).min(LIMIT_LOOK_MAX));
    }
    if !paused.pause.is_proven_by_start {
        return clock.availability.go_on();
    }
    match clock.engine.probe().await {
        Probe::Ready => {
            clock.availability.go_on();
            clock.availability.cured();
        }
        Probe::NotReady(failure) => {
            tracing::warn!("claude is still not ready: {failure}");
            clock.availability.look_again_in(LOOK_AFTER_LOGIN);
        }
    }
}
