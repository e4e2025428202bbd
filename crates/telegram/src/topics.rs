//! Making a topic in Telegram, and what to do with what one does not take. Where threads live is in
//! [`crate::bot::addresses`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use teloxide::payloads::{CloseForumTopic, CreateForumTopic, ReopenForumTopic, setters::*};
use teloxide::requests::Payload;
use teloxide::types::{ChatId, MessageId, Rgb, ThreadId as TgThread};
use tinyclaw_domain::{Key, ThreadId};
use tinyclaw_ledger::StateDir;
use tokio::time::Instant;

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::bot::client::{CallError, Refusal};
use crate::bot::rate_limit::Priority;
use crate::text;
use crate::threads;

/// The colours that Telegram has for topics without an icon of their own.
const COLORS: [u32; 6] = [0x6F_B9F0, 0xFF_D67E, 0xCB_86DB, 0x8E_EE98, 0xFF_93B2, 0xFB_6F5F];

/// A topic's colour comes from its name: topics can be told apart, and one that is made anew looks as before. It cannot
/// follow the state of a thread, since Telegram lets nobody change it.
fn color_of(name: &str) -> u32 {
    let sum = name.bytes().fold(0_usize, |sum, it| sum.wrapping_mul(31).wrapping_add(it.into()));
    COLORS[sum % COLORS.len()]
}

/// Whoever asks for a topic waits so long for one, when Telegram wants to be left alone or cannot be reached.
const PATIENCE: Duration = Duration::from_secs(90);
/// After a request that did not reach Telegram.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A topic that may have been made is looked for among so many messages before the newest that is known,
const LOOKED_BACK: i64 = 12;
/// and so many after it.
const LOOKED_AHEAD: i64 = 8;

/// Where something goes whose topic does not take it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Detour {
    /// There, as if nothing had been.
    Topic(Address),
    /// To General, with these words before it.
    General(Address, String),
    /// Nowhere for the moment.
    Later,
}

/// Who makes topics. It has no lock: two that make one in the place of the same topic both look first whether it is there.
pub(crate) struct Topics {
    pub(crate) bot: Arc<Bot>,
    pub(crate) state: StateDir,
}

impl Topics {
    /// Makes a topic that a person asked for, and waits for it when that helps.
    pub(crate) async fn create_patiently(
        &self,
        chat: i64,
        name: &str,
    ) -> Result<Address, CallError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let err = match self.create(chat, name).await {
                Ok(address) => return Ok(address),
                Err(err) => err,
            };
            let wait = match &err {
                // The next permit comes when that is over.
                CallError::Flood { wait, .. } if Instant::now() + *wait < until => Duration::ZERO,
                CallError::Unsent { .. } if Instant::now() + AGAIN_AFTER < until => AGAIN_AFTER,
                _ => return Err(err),
            };
            tracing::warn!(chat, "a topic is not made yet: {err}");
            tokio::time::sleep(wait).await;
        }
    }

    /// Makes a topic.
    pub(crate) async fn create(&self, chat: i64, name: &str) -> Result<Address, CallError> {
        let permit = self.bot.limit.permit(chat, 1, Priority::Urgent, 1).await;
        let payload =
            CreateForumTopic::new(ChatId(chat), name).icon_color(Rgb::from_u32(color_of(name)));
        let made = self.bot.client.call(&payload).await;
        if let Err(CallError::Flood { wait, .. }) = &made {
            self.bot.limit.freeze(chat, *wait);
        }
        drop(permit);
        let topic = made?.get("message_thread_id").and_then(Value::as_i64);
        let topic = topic.and_then(|it| i32::try_from(it).ok());
        let method = "createForumTopic";
        let topic =
            topic.ok_or_else(|| CallError::Ambiguous { method, why: "no number".to_owned() })?;
        Ok(Address { chat, topic: Some(topic) })
    }

    /// Makes a topic in place of the one at `gone`. When the answer to that was lost, the topic that may be there is looked
    /// for before another is made, also after a restart.
    async fn create_once(
        &self,
        thread: &ThreadId,
        gone: Address,
        name: &str,
    ) -> Result<Address, CallError> {
        let (chat, topic) = (gone.chat, gone.topic.unwrap_or_default());
        let key = Key::hashed("topic", &format!("{thread}-{chat}-{topic}"));
        let begun = tokio::task::block_in_place(|| self.bot.addresses.begin_topic(&key, name));
        let is_first = begun.map_err(|err| CallError::Unsent {
            method: CreateForumTopic::NAME,
            why: format!("it cannot be noted: {err}"),
        })?;
        let found = if is_first { None } else { self.find_lost(chat).await? };
        let made = match found {
            Some(there) => Ok(there),
            None => self.create(chat, name).await,
        };
        let made = match made {
            Err(err @ CallError::Ambiguous { .. }) => self.find_lost(chat).await?.ok_or(err),
            other => other,
        };
        if !matches!(made, Err(CallError::Ambiguous { .. })) {
            self.bot.addresses.end_topic(&key);
        }
        made
    }

    /// A topic that nobody here knows, near the newest message of a chat: a topic has the id of the message that says it was
    /// made. Opening one that is open changes nothing, and Telegram says so.
    async fn find_lost(&self, chat: i64) -> Result<Option<Address>, CallError> {
        let newest = self.bot.addresses.newest(chat);
        let strange = |id: &i32| {
            let address = Address { chat, topic: Some(*id) };
            let named = self.bot.thread_at(address).and_then(|it| self.bot.addresses.name(&it));
            !self.bot.addresses.knows(chat, (*id).into()) && named.is_none()
        };
        let from = i32::try_from(newest - LOOKED_BACK).unwrap_or_default().max(2);
        let to = i32::try_from(newest + LOOKED_AHEAD).unwrap_or_default();
        for id in (from..=to).rev().filter(strange) {
            let topic = TgThread(MessageId(id));
            match self.bot.client.call(&ReopenForumTopic::new(ChatId(chat), topic)).await {
                Err(err) if err.refusal() == Some(Refusal::NotModified) => {
                    tracing::info!(chat, "a topic whose making had no answer is found");
                    return Ok(Some(Address { chat, topic: Some(id) }));
                }
                Ok(_) => {
                    // Somebody else's, and it was closed.
                    self.bot.client.call(&CloseForumTopic::new(ChatId(chat), topic)).await?;
                }
                Err(err) if err.is_passing() => return Err(err),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Opens the topic of a thread if it is closed to us, or makes a new one if it is gone.
    pub(crate) async fn detour(
        &self,
        thread: &ThreadId,
        address: Address,
        refusal: Refusal,
    ) -> Detour {
        let Some(topic) = address.topic else { return Detour::Topic(address) };
        let name = threads::name_of(&self.state, &self.bot.addresses, thread);
        let general = |how: &str| {
            let name = text::escape(&name);
            let note = format!("<i>The topic “{name}” {how}; this was for it.</i>\n");
            Detour::General(Address { topic: None, ..address }, note)
        };
        if refusal == Refusal::TopicClosed {
            let reopen = ReopenForumTopic::new(ChatId(address.chat), TgThread(MessageId(topic)));
            return match self.bot.client.call(&reopen).await {
                Ok(_) => Detour::Topic(address),
                Err(_) => general("is closed"),
            };
        }
        if let Some(now) = self.bot.address_of(thread).filter(|it| *it != address) {
            // Somebody else did it meanwhile.
            return Detour::Topic(now);
        }
        match self.create_once(thread, address, &text::shortened(&name, 128)).await {
            Ok(new) => {
                tracing::warn!(thread.id = %thread, "the topic of thread {thread} is gone; it has a new one");
                let bound = tokio::task::block_in_place(|| self.bot.addresses.bind(thread, new));
                self.bot.addresses.set_name(thread, new, &name);
                bound.map_or(Detour::Later, |()| Detour::Topic(new))
            }
            Err(err) if err.is_passing() => Detour::Later,
            Err(_) => general("is gone"),
        }
    }
}
