//! While no turn can run: looks whether it is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tinyclaw_domain::Place;
use tinyclaw_engine::Probe;
use tinyclaw_service::now_ms;

use crate::availability::pause::Paused;
use crate::policy::failure::{LIMIT_LOOK_MAX, LOOK_AFTER_LOGIN};
use crate::schedule::clock::Clock;

/// Ends each pause that is over, or puts the next look off.
pub(super) async fn look_after(clock: &Arc<Clock>) {
    for (place, paused) in clock.availability.all_paused() {
        if Instant::now() < paused.next_look {
            continue;
        }
        if place.is_here() {
            look_at(clock, &place, &paused).await;
            continue;
        }
        // The clock does not stand still for a machine that is slow.
        clock.availability.look_again_in(&place, LOOK_AFTER_LOGIN);
        let clock = clock.clone();
        tokio::spawn(async move { look_at(&clock, &place, &paused).await });
    }
}

async fn look_at(clock: &Clock, place: &Place, paused: &Paused) {
    let left = paused.pause.until.map_or(0, |it| it.saturating_sub(now_ms() / 1_000));
    if left > 0 {
        // By the wall clock, which may have been set meanwhile.
        let time = Duration::from_secs(left).min(LIMIT_LOOK_MAX);
        return clock.availability.look_again_in(place, time);
    }
    if !paused.pause.is_proven_by_start {
        return clock.availability.go_on(place);
    }
    match clock.engine.probe(place).await {
        Probe::Ready => {
            clock.availability.go_on(place);
            clock.availability.cured(place);
        }
        Probe::NotReady(failure) => {
            tracing::warn!("claude on {place} is still not ready: {failure}");
            clock.availability.look_again_in(place, LOOK_AFTER_LOGIN);
        }
    }
}
