//! The sessions of desks: a new one, and what is left to be done when one has ended. Asks no Claude.

use std::time::{Duration, Instant};

use tinyclaw_domain::{Channel, Command, Key, Lane, Message, SessionId, Source, ThreadId};
use tinyclaw_memory::Memory;
use tinyclaw_queue::{Durability, Queue, Side};
use tinyclaw_service::now_ms;

use crate::blocking::on_disk;

/// A new session waits this long for the summary of the last one, then begins without.
const WAIT_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A new session, not known to anybody yet.
pub(crate) fn new_session() -> SessionId {
    // A fresh UUID always parses.
    uuid::Uuid::new_v4()
        .to_string()
        .parse()
        .unwrap_or_else(|_| unreachable!("a UUID is a session id"))
}

/// Sessions as they begin and end. Holds no lock.
pub(crate) struct Sessions {
    queue: Queue,
    memory: Memory,
}

impl Sessions {
    pub(crate) fn new(queue: Queue, memory: Memory) -> Sessions {
        Sessions { queue, memory }
    }

    /// Whether somebody was answered in this session.
    pub(crate) fn has_answered(&self, thread: &ThreadId, session: &SessionId) -> bool {
        on_disk(|| self.memory.turns(thread, session)).is_ok_and(|it| it > 0)
    }

    /// Has an ended session summarised, in the thread's housekeeping lane: nobody waits in line behind it. A session in
    /// which nobody was answered leaves nothing to summarise. The same session again is no second order.
    pub(crate) fn order_summary(&self, thread: &ThreadId, session: &SessionId) {
        if !self.has_answered(thread, session) {
            return;
        }
        let key = Key::hashed("sum", &format!("{thread}-{session}"));
        let mut order = Message::new(key, Channel::System, thread.clone(), "", now_ms());
        order.source = Source::System;
        order.command = Some(Command::Summarize { session: session.clone() });
        if let Err(err) = on_disk(|| self.queue.publish(Side::Run, order, Durability::Strict)) {
            tracing::error!(
                thread.id = %thread, "the session of thread {thread} ends without a summary: {err}"
            );
        }
    }

    /// Waits for the summary of a thread's last session, if one is being made. `false`: it did not come in time.
    pub(crate) async fn wait_for_summary(&self, thread: &ThreadId) -> bool {
        let until = Instant::now() + WAIT_MAX;
        let house = Lane::House(thread.clone());
        // A question to what the queue knows without looking: every new session asks it, however much waits.
        while self.queue.has_work(Side::Run, &house) {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }
}
