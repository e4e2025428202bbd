//! The daily reset: a session that was not used since the time of day when a day ends (04:00 by default) is over.

use jiff::Timestamp;
use tinyclaw_domain::{Channel, Command, Key, Message, Source, ThreadStatus};
use tinyclaw_memory::last_reset;
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::now_ms;

use crate::blocking::on_disk;
use crate::schedule::clock::Clock;

/// Ends sessions whose day is over, each in its own lane, so in order with its messages.
pub(super) fn order(clock: &Clock) {
    let settings = clock.settings.current();
    if !settings.memory.reset {
        return;
    }
    let last = last_reset(Timestamp::now(), &settings.office.timezone, settings.memory.reset_at);
    let before = last.timestamp().as_millisecond().max(0) as u64;
    let over = clock.desks.all().into_iter().filter_map(|(id, it)| {
        let is_over = it.last_active < before && it.status == ThreadStatus::Idle;
        Some((id, it.session_id.filter(|_| is_over)?))
    });
    for (id, session) in over {
        let key = Key::hashed("reset", &format!("{id}-{session}"));
        let mut order = Message::new(key, Channel::System, id.clone(), "", now_ms());
        order.source = Source::System;
        order.command = Some(Command::Reset {});
        if let Err(err) = on_disk(|| clock.queue.publish(Side::Run, order, Durability::Strict)) {
            tracing::warn!(thread.id = %id, "the session of thread {id} goes on after the day: {err}");
        }
    }
}
