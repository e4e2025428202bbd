//! `send_message`: Claude writes to another thread. It goes out when the turn ends, and is answered there.

use serde_json::Value;
use tinyclaw_domain::{Channel, FollowUp, Message, Thread, ThreadStatus};

use crate::text::name;
use crate::tools::Tools;
use crate::tools::outbox::{Outbox, SENT_MAX};

/// A message may be passed on this often; beyond that two threads talk only to each other.
const HOPS_MAX: u32 = 4;

impl Tools {
    pub(super) fn send_message(
        &self,
        message: &Message,
        thread: &Thread,
        outbox: &mut Outbox,
        input: &Value,
        text: &str,
    ) -> Result<String, String> {
        let to = self.thread_of(input, "targetThreadId")?;
        if to == message.thread_id {
            return Err("that is this thread itself; just say it in the answer".to_owned());
        }
        if message.hops >= HOPS_MAX {
            return Err(format!(
                "this message was passed on {HOPS_MAX} times already; answer here instead of passing it on"
            ));
        }
        if outbox.follow_ups.len() >= SENT_MAX {
            return Err(format!("{SENT_MAX} messages are the most in one turn"));
        }
        let target = self.desks.get(&to);
        if target.as_ref().is_some_and(|it| it.status == ThreadStatus::Closed) {
            return Err(format!("thread {to} is closed; a person has to reopen it"));
        }
        let channel =
            if self.notices.is_in_telegram(&to) { Channel::Telegram } else { Channel::Cli };
        outbox.follow_ups.push(FollowUp {
            thread_id: to.clone(),
            channel,
            sender: thread.name.clone(),
            message: text.to_owned(),
        });
        let name = target.map_or_else(String::new, |it| format!(" ({})", name(&it.name)));
        Ok(format!("It goes to thread {to}{name} when this turn ends, and is answered there."))
    }
}
