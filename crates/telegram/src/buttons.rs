//! Buttons: stop, the answers to a permission question, asking again, what an answer offers. Each press is answered at once and waits for
//! nothing.
//!
//! What a button carries is at most 64 bytes: a letter and the key of the message it is about, hashed when it is long.

use serde_json::Value;
use sha2::{Digest, Sha256};
use teloxide::payloads::{AnswerCallbackQuery, EditMessageReplyMarkup, LeaveChat, setters::*};
use teloxide::types::{CallbackQueryId, ChatId, MessageId};
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    Ask, ButtonPress, Channel, Command, Key, Message, PermissionAnswer, ThreadId,
};
use tinyclaw_queue::{Place, Seen, Side};

use crate::bot::addresses::Address;
use crate::bot::client::CallError;
use crate::bot::rate_limit::Priority;
use crate::commands::run::{may_rule, may_stop};
use crate::face::{Face, Origin};
use crate::inbound::compose::key_of;
use crate::inbound::decode::Press;

/// A longer key is hashed, so that it fits beside the rest.
const KEY_BYTES_MAX: usize = 40;
/// So much of a question's digest is on its buttons.
const DIGEST_CHARS: usize = 16;

/// What a button says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Button {
    /// Stop the turn.
    Stop { key: String },
    /// Answer the permission question whose digest begins so.
    Permission { answer: PermissionAnswer, question: String, key: String },
    /// Ask again with the new text.
    Again { key: String },
    /// The button of the answer to this message, counted from 0.
    Offer { at: usize, key: String },
}

impl Button {
    pub(crate) fn stop(key: &Key) -> Button {
        Button::Stop { key: short(key) }
    }

    /// `digest` is that of the question as it is shown beside the button.
    pub(crate) fn permission(answer: PermissionAnswer, digest: &str, key: &Key) -> Button {
        let question = digest.chars().take(DIGEST_CHARS).collect();
        Button::Permission { answer, question, key: short(key) }
    }

    pub(crate) fn again(key: &Key) -> Button {
        Button::Again { key: short(key) }
    }

    /// None when the key is too long to be found again by what fits on a button.
    pub(crate) fn offer(at: usize, key: &Key) -> Option<Button> {
        let key = key.as_str().to_owned();
        (key.len() <= KEY_BYTES_MAX).then_some(Button::Offer { at, key })
    }

    /// As `callback_data`.
    pub(crate) fn data(&self) -> String {
        match self {
            Button::Stop { key } => format!("s:{key}"),
            Button::Permission { answer, question, key } => {
                let letter = match answer {
                    PermissionAnswer::Allow => 'a',
                    PermissionAnswer::Always => 'w',
                    PermissionAnswer::Deny => 'd',
                };
                format!("{letter}:{question}:{key}")
            }
            Button::Again { key } => format!("n:{key}"),
            Button::Offer { at, key } => format!("o:{at}:{key}"),
        }
    }

    fn read(data: &str) -> Option<Button> {
        let (letter, rest) = data.split_once(':')?;
        let permission = |answer| {
            let (question, key) = rest.split_once(':')?;
            Some(Button::Permission { answer, question: question.to_owned(), key: key.to_owned() })
        };
        match letter {
            "s" => Some(Button::Stop { key: rest.to_owned() }),
            "n" => Some(Button::Again { key: rest.to_owned() }),
            "o" => {
                let (at, key) = rest.split_once(':')?;
                Some(Button::Offer { at: at.parse().ok()?, key: key.to_owned() })
            }
            "a" => permission(PermissionAnswer::Allow),
            "w" => permission(PermissionAnswer::Always),
            "d" => permission(PermissionAnswer::Deny),
            _ => None,
        }
    }
}

fn short(key: &Key) -> String {
    let text = key.as_str();
    if text.len() <= KEY_BYTES_MAX {
        text.to_owned()
    } else {
        format!("#{}", fingerprint(text, 12))
    }
}

fn fingerprint(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|it| format!("{it:02x}")).collect()
}

/// Does what a button says, and answers the press.
pub(crate) async fn run(face: &Face, press: Press) {
    let words = obey(face, &press).await;
    let payload = AnswerCallbackQuery::new(CallbackQueryId(press.id.clone())).text(words);
    // This goes to no chat, so no chat's rest keeps a finger waiting.
    if let Err(err) = face.client.call(&payload).await {
        tracing::debug!("a press could not be answered: {err}");
    }
    let (Some(address), Some(id)) = (press.address, press.message) else { return };
    match words {
        TAKEN => take_buttons_off(face, address, id).await,
        OVER => too_late(face, &press.data, address, id).await,
        _ => {}
    }
}

/// What was pressed has nothing to do any more. A status that outlived its turn goes; what may be an answer stays.
async fn too_late(face: &Face, data: &str, address: Address, id: i64) {
    let short = match Button::read(data) {
        Some(Button::Stop { key } | Button::Permission { key, .. }) => key,
        // The words beside an offer are worth keeping.
        Some(Button::Again { .. } | Button::Offer { .. }) | None => String::new(),
    };
    let found = short.parse::<Key>().ok();
    let found = found.map(|it| tokio::task::block_in_place(|| face.view.find(&it)));
    match found {
        Some(Ok(Some(seen))) => {
            if outlived(&seen, id) {
                let _ = face.delete(address.chat, id).await;
            }
        }
        Some(Err(err)) => tracing::warn!("the queue cannot be read: {err}"),
        Some(Ok(None)) | None => take_buttons_off(face, address, id).await,
    }
}

/// Whether a message with a status' button is a status still, although its turn is over: a short turn's answer takes the
/// place of its status. While an answer is on its way nobody knows.
fn outlived(seen: &Seen, message: i64) -> bool {
    let over = matches!(seen.place, Place::Done | Place::Dead | Place::Quarantine);
    let mut sent = seen.message.delivery.iter().map(|it| it.telegram_message_id);
    over && sent.all(|it| it.is_some_and(|it| it != message))
}

const OVER: &str = "That is over already.";
const TAKEN: &str = "Done.";
const ANSWERED: &str = "This question is answered already.";

async fn obey(face: &Face, press: &Press) -> &'static str {
    let (Some(button), Some(key)) = (Button::read(&press.data), key_of(press.update)) else {
        return "This button is of an older version.";
    };
    match button {
        Button::Stop { key: short } => {
            let Some(asked) = tokio::task::block_in_place(|| unfinished(face, &short)) else {
                return OVER;
            };
            if !may_stop(face, press.from, asked.sender_id.as_deref()) {
                return "Only who asked, or an admin, may stop this.";
            }
            face.board.stop(&asked.key);
            let stop = Command::Stop { key: Some(asked.key.clone()) };
            order(face, press, key, asked.thread_id, stop).await;
            "Stopping."
        }
        Button::Permission { answer, question, key: short } => {
            let Some(asked) = tokio::task::block_in_place(|| unfinished(face, &short)) else {
                return OVER;
            };
            let Some((ask, open)) = open_question(face, &asked.key, &question) else {
                return ANSWERED;
            };
            let admin = may_rule(face, press.from);
            if answer == PermissionAnswer::Always && !admin {
                return "Only admins may allow something for good. Allow lets it happen this once.";
            }
            let (request_id, shown) = (ask.request_id, open.digest);
            let command = Command::Permission { request_id, answer, shown, admin };
            order(face, press, key, asked.thread_id, command).await;
            match answer {
                PermissionAnswer::Allow => "Allowed.",
                PermissionAnswer::Always => "Allowed here from now on.",
                PermissionAnswer::Deny => "Denied.",
            }
        }
        Button::Again { key: short } => {
            let offer: Option<Key> = short.parse().ok();
            let found = offer
                .and_then(|it| tokio::task::block_in_place(|| face.view.find(&it)).ok().flatten());
            let Some(offer) = found.map(|it| it.message) else { return OVER };
            let Some(origin) = Origin::of(&offer) else { return OVER };
            let Some(text) = origin.again.clone() else { return OVER };
            let mut message =
                Message::new(key, Channel::Telegram, offer.thread_id.clone(), text, press.at_ms);
            message.sender.clone_from(&press.name);
            message.sender_id = Some(press.from.to_string());
            message.edits = face.book.key_of(origin.chat, origin.message_id);
            Origin { again: None, ..origin }.put(&mut message);
            match face.publish(Side::Run, message, press.address).await {
                Ok(_) => {
                    // The offer is taken.
                    if let (Some(address), Some(id)) = (press.address, press.message) {
                        let _ = face.delete(address.chat, id).await;
                    }
                    "Asking again."
                }
                Err(_) => "This cannot be asked again.",
            }
        }
        Button::Offer { at, key } => take_up(face, press, at, &key).await,
    }
}

/// Does what an answer offered: an order, or words of whoever pressed. Pressed twice, it is done once.
async fn take_up(face: &Face, press: &Press, at: usize, key: &str) -> &'static str {
    let key: Option<Key> = key.parse().ok();
    let found =
        key.and_then(|it| tokio::task::block_in_place(|| face.view.find(&it)).ok().flatten());
    let Some(answered) = found.map(|it| it.message) else { return OVER };
    let buttons = answered.reply.as_ref().map(|it| &it.buttons[..]).unwrap_or_default();
    let Some(button) = buttons.get(at) else { return OVER };
    let key = Key::hashed("b", &format!("{}-{at}", answered.key));
    let thread = answered.thread_id.clone();
    match &button.press {
        ButtonPress::Command(command) => order(face, press, key, thread, command.clone()).await,
        ButtonPress::Say(text) => {
            let mut message =
                Message::new(key, Channel::Telegram, thread, text.clone(), press.at_ms);
            message.sender.clone_from(&press.name);
            message.sender_id = Some(press.from.to_string());
            if let Err(err) = face.publish(Side::Run, message, press.address).await {
                tracing::error!("words from a button cannot be published: {err}");
                return "This cannot be said now.";
            }
        }
    }
    TAKEN
}

/// An offer is taken: its words stay, its buttons go.
async fn take_buttons_off(face: &Face, address: Address, message: i64) {
    let Ok(id) = i32::try_from(message) else { return };
    let permit = face.budget.permit(address.chat, address.lane(), Priority::Preview, 1).await;
    let bare = EditMessageReplyMarkup::new(ChatId(address.chat), MessageId(id));
    let done: Result<Value, _> = face.client.call(&bare).await;
    if let Err(CallError::Flood { wait, .. }) = &done {
        face.budget.freeze(address.chat, *wait);
    }
    drop(permit);
}

/// The open question of a turn, if it is still the one that stood beside the button.
fn open_question(face: &Face, key: &Key, digest: &str) -> Option<(Ask, Question)> {
    let ask = tokio::task::block_in_place(|| face.progress(key))?.asks?;
    let question = Question::of(&ask);
    let is_it = digest.len() == DIGEST_CHARS && question.digest.starts_with(digest);
    is_it.then_some((ask, question))
}

async fn order(face: &Face, press: &Press, key: Key, thread: ThreadId, command: Command) {
    let mut message = Message::new(key, Channel::Telegram, thread, "", press.at_ms);
    message.sender.clone_from(&press.name);
    message.sender_id = Some(press.from.to_string());
    message.command = Some(command);
    if let Err(err) = face.publish(Side::Run, message, press.address).await {
        tracing::error!("an order from a button cannot be published: {err}");
    }
}

/// The message a button is about, while it waits or is worked on.
fn unfinished(face: &Face, short_key: &str) -> Option<Message> {
    if let Ok(key) = short_key.parse() {
        let seen = face.view.find(&key).ok().flatten()?;
        return matches!(seen.place, Place::Incoming | Place::Processing).then_some(seen.message);
    }
    // In the order in which it moves, so that it cannot slip through.
    for place in [Place::Incoming, Place::Processing] {
        for entry in face.view.list(place, 10_000).unwrap_or_default() {
            if short(&entry.key) == short_key {
                return face.view.read(&entry).ok().flatten();
            }
        }
    }
    None
}

/// Leaves a chat in which we do not belong.
pub(crate) async fn leave(face: &Face, chat: i64) {
    let left: Result<Value, _> = face.client.call(&LeaveChat::new(ChatId(chat))).await;
    if let Err(err) = left {
        tracing::warn!("cannot leave chat {chat}: {err}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_fits_into_64_bytes_and_says_what_it_said() {
        for key in ["tg-812345678".to_owned(), format!("x-{}", "a".repeat(90))] {
            let key: Key = key.parse().unwrap();
            for button in [
                Button::stop(&key),
                Button::again(&key),
                Button::offer(3, &"tg-812345678".parse().unwrap()).unwrap(),
                Button::permission(PermissionAnswer::Always, &"0123456789abcdef".repeat(2), &key),
            ] {
                let data = button.data();
                assert!(data.len() <= 64, "{data}");
                assert_eq!(Button::read(&data), Some(button));
            }
        }
        assert_eq!(Button::read("x"), None);
    }
}
