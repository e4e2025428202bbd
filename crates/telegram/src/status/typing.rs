//! The small signs of a turn, beside its status message: "typing" while somebody is at it, and 🤔 on the asker's message
//! while others are before it.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::ThreadId;
use tinyclaw_service::now_ms;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::bot::Bot;
use crate::origin::Origin;
use crate::status::layout::Phase;

/// What waits no longer than this gets no sign of it.
const WAITS_AFTER: Duration = Duration::from_secs(1);

/// Keeps the signs true for as long as it lives.
pub(crate) struct Signs {
    task: JoinHandle<()>,
}

impl Signs {
    /// Telegram forgets that somebody types, so it is told again after `every`.
    pub(crate) fn start(
        bot: Arc<Bot>,
        thread: ThreadId,
        asked: Option<Origin>,
        every: Duration,
        phase: watch::Receiver<Option<Phase>>,
    ) -> Signs {
        Signs { task: tokio::spawn(keep(bot, thread, asked, every, phase)) }
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    bot: Arc<Bot>,
    thread: ThreadId,
    asked: Option<Origin>,
    every: Duration,
    mut phase: watch::Receiver<Option<Phase>>,
) {
    let (begun, since) = (Instant::now(), now_ms());
    let mut thinks = false;
    let mut type_at = begun;
    loop {
        let (works, waits) = match phase.borrow_and_update().as_ref() {
            Some(it) => {
                // In a crowd this is all that says so.
                let waits = it.is_waiting() && is_crowded(&bot, &thread);
                (it.is_working(since, now_ms()), waits || it.is_behind_others())
            }
            None => return,
        };
        let now = Instant::now();
        if let Some(asked) = &asked
            && waits != thinks
            && (thinks || now >= begun + WAITS_AFTER)
        {
            thinks = waits;
            let emoji = if waits { "🤔" } else { "👀" };
            bot.react(bot.addresses.present(asked.chat), asked.message_id, Some(emoji));
        }
        if works && now >= type_at {
            type_at = now + every;
            if let Some(address) = bot.address_of(&thread) {
                bot.type_in(address).await;
            }
        }
        let due = if works { type_at } else { begun + WAITS_AFTER };
        tokio::select! {
            changed = phase.changed() => if changed.is_err() { return },
            () = sleep_until(due), if works || (waits && !thinks) => {}
        }
    }
}

fn is_crowded(bot: &Bot, thread: &ThreadId) -> bool {
    bot.address_of(thread).is_some_and(|it| bot.limit.is_crowded(it.chat))
}
