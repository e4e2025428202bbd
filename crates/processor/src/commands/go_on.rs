//! `/go`: goes on although today's budget is spent.

use tinyclaw_domain::{Key, Thread, ThreadId};
use tinyclaw_queue::{Durability, Side};

use crate::availability::budget::asked;
use crate::blocking::on_disk;
use crate::commands::{Commands, Refusal};

impl Commands {
    /// Goes on although a budget is spent: takes the messages up again that were asked about, in their order.
    pub(super) fn go_on(&self, id: &ThreadId, thread: &Thread) -> Result<String, Refusal> {
        let mut count = 0;
        for key in asked(thread) {
            let Some(found) = on_disk(|| self.queue.view().find(&key)).ok().flatten() else {
                continue;
            };
            let mut again = found.message;
            again.key = Key::hashed("go", key.as_str());
            again.reply = None;
            again.checkpoint = None;
            again.follow_ups = Vec::new();
            again.delivery = Vec::new();
            again.attempts = Default::default();
            on_disk(|| self.queue.publish(Side::Run, again, Durability::Strict)).map_err(
                |err| Refusal::Plain(format!("The message cannot be taken up again: {err}.")),
            )?;
            count += 1;
        }
        // Last, so that a crash on the way takes them up again; the same key twice is one message. They wait in the lane
        // that this order holds, so none of them runs before the budget is lifted.
        self.budgets.lift(id)?;
        Ok(match count {
            0 => "Today's budget no longer stops this thread.".to_owned(),
            1 => "Going on.".to_owned(),
            _ => format!("Going on with {count} messages."),
        })
    }
}
