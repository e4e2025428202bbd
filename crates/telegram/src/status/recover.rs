//! Finding a status message whose id nobody knows: it was sent, and then the process died, or the answer was lost.
//!
//! Ids in a chat only grow, so it lies a little behind the newest message that was known before it was sent. A status has
//! a Stop button with its turn's own key, so setting just that button tells: other people's messages cannot be edited,
//! the lost one *is not modified*. Nobody else's message is touched, and a button that was set on another one of ours is
//! taken away again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use teloxide::payloads::EditMessageReplyMarkup;
use teloxide::types::{ChatId, MessageId};
use tinyclaw_domain::{Key, Message};
use tokio::sync::Mutex;

use crate::bot::client::{CallError, Refusal};
use crate::bot::rate_limit::Priority;
use crate::bot::{Bot, markup};
use crate::origin::Origin;
use crate::status::kept::{Status, StatusFiles};
use crate::status::layout;

/// So many messages are asked about. Each costs a request of the chat's minute.
const ASKED_MAX: usize = 12;
/// What had no answer is tried again after this, and not before Telegram answers.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// After so many ids in a row under which there is nothing, nothing comes any more.
const NOTHING_MAX: u32 = 3;

/// Who looks for lost status messages.
pub(crate) struct Finder {
    bot: Arc<Bot>,
    files: StatusFiles,
    /// Held by whoever looks, over calls: two would take each other's buttons. It is taken with no other lock held.
    searching: Mutex<()>,
}

impl Finder {
    pub(crate) fn new(bot: Arc<Bot>, files: StatusFiles) -> Finder {
        Finder { bot, files, searching: Mutex::default() }
    }

    /// The status with its message's id, where there is one. `Err` when that cannot be known for the moment.
    ///
    /// `message` is the one that is answered, as long as none of its answer can have been sent: then a reply of ours to the
    /// same question can only be the status, whatever its buttons have become.
    pub(crate) async fn located(
        &self,
        key: &Key,
        status: Option<Status>,
        message: Option<&Message>,
    ) -> Result<Option<Status>, CallError> {
        let Some(mut status) = status else { return Ok(None) };
        if status.message.is_none() {
            let unanswered = message.filter(|it| it.delivery.is_empty());
            let asked = unanswered.and_then(Origin::of).map(|it| it.message_id);
            status.message = self.find(key, &status, asked).await?;
        }
        Ok(Some(status))
    }

    /// The id of a status message that was perhaps sent; `None` when it was not, or cannot be found at all.
    pub(crate) async fn find(
        &self,
        key: &Key,
        status: &Status,
        asked: Option<i32>,
    ) -> Result<Option<i64>, CallError> {
        let (chat, lane) = (status.address.chat, status.address.lane());
        // A group that became another one since counts anew.
        if status.after == 0 || self.bot.addresses.present(chat) != chat {
            return Ok(None);
        }
        let _alone = self.searching.lock().await;
        let known = tokio::task::block_in_place(|| self.files.messages_in(chat));
        let strange = |id: &i64| !known.contains(id) && !self.bot.addresses.knows(chat, *id);
        let buttons = if status.steers { layout::steer(key) } else { layout::stop(key) };
        let mut nothing = 0;
        for id in (status.after + 1..).filter(strange).take(ASKED_MAX) {
            match self.set_button(chat, lane, id, Some(buttons.clone())).await {
                Err(err) if err.refusal() == Some(Refusal::NotModified) => {
                    return Ok(Some(self.found(chat, id)));
                }
                Ok(it) if asked.is_some() && reply_to(&it) == asked.map(i64::from) => {
                    return Ok(Some(self.found(chat, id)));
                }
                Ok(_) => {
                    nothing = 0;
                    self.bot.addresses.said(chat, id, None, None);
                    self.take_off(chat, lane, id).await;
                }
                Err(err) if err.refusal() == Some(Refusal::NotOurs) => nothing = 0,
                Err(err) if err.refusal() == Some(Refusal::MessageGone) => {
                    nothing += 1;
                    if nothing == NOTHING_MAX {
                        return Ok(None);
                    }
                }
                Err(err) => {
                    if let CallError::Flood { wait, .. } = err {
                        self.bot.limit.freeze(chat, wait);
                    }
                    tracing::debug!(%key, "a status message of {key} is looked for again: {err}");
                    // What Telegram refuses now it refuses later.
                    return if err.is_passing() { Err(err) } else { Ok(None) };
                }
            }
        }
        Ok(None)
    }

    /// Takes a button off a message that it does not belong to, however often it takes: it would be taken for the lost one.
    async fn take_off(&self, chat: i64, lane: i64, id: i64) {
        loop {
            match self.set_button(chat, lane, id, None).await {
                Err(CallError::Flood { wait, .. }) => self.bot.limit.freeze(chat, wait),
                Err(err) if err.is_passing() => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    self.bot.client.connection().up().await;
                }
                _ => return,
            }
        }
    }

    fn found(&self, chat: i64, id: i64) -> i64 {
        tracing::info!(chat, "a status message whose id was lost is found again");
        self.bot.vitals.count("statusesFoundTotal", 1);
        self.bot.addresses.saw(chat, id);
        id
    }

    async fn set_button(
        &self,
        chat: i64,
        lane: i64,
        id: i64,
        keyboard: Option<Value>,
    ) -> Result<Value, CallError> {
        let id = MessageId(i32::try_from(id).unwrap_or_default());
        let _permit = self.bot.limit.permit(chat, lane, Priority::Error, 1).await;
        self.bot
            .client
            .call_with(&EditMessageReplyMarkup::new(ChatId(chat), id), markup(keyboard))
            .await
    }
}

fn reply_to(message: &Value) -> Option<i64> {
    message["reply_to_message"]["message_id"].as_i64()
}
