//! A thumbs-down on an answer: an order to note it, for the router to learn from. It is answered by nothing.

use tinyclaw_domain::{Channel, Command, Key, Message};
use tinyclaw_queue::Side;

use crate::commands::Commands;
use crate::inbound::compose::key_of;
use crate::inbound::decode::Rating;

impl Commands {
    /// Orders that a reaction to the answer of `answered` is noted. What the queue has forgotten by now is not: nobody knows
    /// any more which thread it belonged to.
    pub(crate) async fn rate(&self, rating: &Rating, answered: Key) {
        let Some(key) = key_of(rating.update) else { return };
        let found = tokio::task::block_in_place(|| self.view.find(&answered));
        let thread = match found {
            Ok(Some(seen)) => seen.message.thread_id,
            Ok(None) => return,
            Err(err) => return tracing::warn!("the queue cannot be read: {err}"),
        };
        let mut message = Message::new(key, Channel::Telegram, thread, "", rating.at_ms);
        message.sender_id = Some(rating.from.to_string());
        message.command = Some(Command::Rate { key: answered, thumbs_down: rating.thumbs_down });
        if let Err(err) = self.publisher.publish(Side::Run, message, None).await {
            tracing::error!("a reaction cannot be published: {err}");
        }
    }
}
