//! `/close` and `/reopen`: the topic in Telegram, and its thread with it.

use teloxide::payloads::{CloseForumTopic, ReopenForumTopic};
use teloxide::types::{ChatId, MessageId, ThreadId as TgThread};
use tinyclaw_domain::Command;

use crate::bot::addresses::Address;
use crate::bot::client::Refusal;
use crate::bot::rate_limit::Priority;
use crate::commands::{Given, why};

impl Given<'_> {
    pub(super) async fn close_or_open(&self, close: bool) -> Option<String> {
        let Address { chat, topic: Some(topic) } = self.said.address else {
            return Some("Only a topic can be closed; this is none.".to_owned());
        };
        let topic = TgThread(MessageId(topic));
        let _permit = self
            .commands
            .bot
            .limit
            .permit(chat, self.said.address.lane(), Priority::Urgent, 1)
            .await;
        let done = if close {
            self.commands.bot.client.call(&CloseForumTopic::new(ChatId(chat), topic)).await
        } else {
            self.commands.bot.client.call(&ReopenForumTopic::new(ChatId(chat), topic)).await
        };
        match done {
            Err(err) if err.refusal() != Some(Refusal::NotModified) => {
                Some(format!("That could not be done: {}.", why(&err)))
            }
            _ if close => self.order(Command::Close {}).await,
            _ => self.order(Command::Reopen {}).await,
        }
    }
}
