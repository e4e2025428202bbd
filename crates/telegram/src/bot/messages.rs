//! The small things that everybody says through the bot: a text, an edit, "typing", a message taken away.

use serde_json::{Map, Value};
use teloxide::payloads::{
    DeleteMessage, EditMessageText, LeaveChat, SendChatAction, SendMessage, setters::*,
};
use teloxide::requests::Payload;
use teloxide::types::{
    ChatAction, ChatId, LinkPreviewOptions, MessageId, ParseMode, ThreadId as TgThread,
};

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::bot::client::CallError;
use crate::bot::rate_limit::Priority;
use crate::text;

impl Bot {
    /// What every text of ours is sent with.
    pub(crate) fn new_text(address: Address, html: &str) -> SendMessage {
        let mut payload = SendMessage::new(ChatId(address.chat), html)
            .parse_mode(ParseMode::Html)
            .link_preview_options(no_preview());
        if let Some(topic) = address.topic {
            payload = payload.message_thread_id(TgThread(MessageId(topic)));
        }
        payload
    }

    /// Edits a message of ours. The keyboard is always said: an edit without one takes it away.
    pub(crate) async fn edit(
        &self,
        address: Address,
        message: i64,
        html: &str,
        keyboard: Option<Value>,
    ) -> Result<(), CallError> {
        let id = MessageId(i32::try_from(message).unwrap_or_default());
        let payload = EditMessageText::new(ChatId(address.chat), id, html)
            .parse_mode(ParseMode::Html)
            .link_preview_options(no_preview());
        self.client.call_with(&payload, markup(keyboard)).await.map(drop)
    }

    /// Removes a message of ours, which no limit of messages counts. One that is gone is as good. In a chat that Telegram
    /// wants left alone it is not tried, and what Telegram says to it holds for the chat.
    pub(crate) async fn delete(&self, chat: i64, message: i64) -> Result<(), CallError> {
        if self.limit.is_frozen(chat) {
            let why = "the chat is left alone for a while".to_owned();
            return Err(CallError::Unsent { method: DeleteMessage::NAME, why });
        }
        let id = MessageId(i32::try_from(message).unwrap_or_default());
        let done = self.client.call(&DeleteMessage::new(ChatId(chat), id)).await;
        if let Err(CallError::Flood { wait, .. }) = &done {
            self.limit.freeze(chat, *wait);
            self.vitals.count("floodsTotal", 1);
        }
        match done {
            Err(err) if err.refusal().is_none() => Err(err),
            _ => Ok(()),
        }
    }

    /// Shows "typing" for a few seconds.
    pub(crate) async fn type_in(&self, address: Address) {
        let mut payload = SendChatAction::new(ChatId(address.chat), ChatAction::Typing);
        if let Some(topic) = address.topic {
            payload = payload.message_thread_id(TgThread(MessageId(topic)));
        }
        if self.limit.is_hushed(address.chat) {
            return;
        }
        match self.client.call(&payload).await {
            // As light as a reaction: messages go on.
            Err(CallError::Flood { wait, .. }) => {
                self.limit.freeze_reactions(address.chat, wait);
            }
            Err(err) => tracing::debug!("no typing: {err}"),
            Ok(_) => {}
        }
    }

    /// Says something once, without the queue: for when the queue is what fails. It may be lost.
    pub(crate) async fn say_once(&self, address: Address, words: &str) {
        let permit = self.limit.permit(address.chat, address.lane(), Priority::Error, 1).await;
        let payload = Bot::new_text(address, &text::escape(words))
            .disable_notification(self.settings.is_quiet());
        let done = self.client.call(&payload).await;
        drop(permit);
        if let Err(err) = done {
            tracing::warn!(chat = address.chat, "cannot tell the chat what is wrong: {err}");
        }
    }

    /// Leaves a chat in which we do not belong.
    pub(crate) async fn leave(&self, chat: i64) {
        if let Err(err) = self.client.call(&LeaveChat::new(ChatId(chat))).await {
            tracing::warn!("cannot leave chat {chat}: {err}");
        }
    }
}

/// A keyboard as the field of a request.
pub(crate) fn markup(keyboard: Option<Value>) -> Map<String, Value> {
    keyboard.map(|it| ("reply_markup".to_owned(), it)).into_iter().collect()
}

fn no_preview() -> LinkPreviewOptions {
    LinkPreviewOptions {
        is_disabled: true,
        url: None,
        prefer_small_media: false,
        prefer_large_media: false,
        show_above_text: false,
    }
}
