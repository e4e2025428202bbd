//! What a press of a button does: stop, steer, the answers to a permission question, asking again, what an answer offers. Each
//! press is answered at once and waits for nothing. What a button carries is in [`crate::bot::button`].

use std::sync::Arc;

use teloxide::payloads::{AnswerCallbackQuery, EditMessageReplyMarkup, setters::*};
use teloxide::types::{CallbackQueryId, ChatId, MessageId};
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    Ask, ButtonPress, Channel, Command, Key, Message, PermissionAnswer, ThreadId,
};
use tinyclaw_ledger::Progresses;
use tinyclaw_queue::{Place, Seen, Side, View};

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::bot::button::{Button, DIGEST_CHARS, short};
use crate::bot::client::CallError;
use crate::bot::rate_limit::Priority;
use crate::choosing::{Choosing, Open, Speaker};
use crate::inbound::access::{may_rule, may_stop};
use crate::inbound::compose::key_of;
use crate::inbound::decode::Press;
use crate::origin::Origin;
use crate::publish::Publisher;
use crate::status::watcher::Watcher;
use crate::steering::Steering;

const OVER: &str = "That is over already.";
const TAKEN: &str = "Done.";
const ANSWERED: &str = "This question is answered already.";

/// Who does what buttons say. It has no lock: a press is a message under a key of its own.
pub(crate) struct Buttons {
    pub(crate) bot: Arc<Bot>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) view: View,
    pub(crate) progresses: Progresses,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) choosing: Arc<Choosing>,
    pub(crate) steering: Arc<Steering>,
}

impl Buttons {
    /// Does what a button says, and answers the press.
    pub(crate) async fn run(&self, press: Press) {
        let words = self.obey(&press).await;
        let payload = AnswerCallbackQuery::new(CallbackQueryId(press.id.clone())).text(words);
        // This goes to no chat, so it waits for no chat's rest.
        if let Err(err) = self.bot.client.call(&payload).await {
            tracing::debug!("a press could not be answered: {err}");
        }
        let (Some(address), Some(id)) = (press.address, press.message) else { return };
        match words {
            TAKEN => self.take_buttons_off(address, id).await,
            OVER => self.too_late(&press.data, address, id).await,
            _ => {}
        }
    }

    /// What was pressed has nothing to do any more. A status that outlived its turn goes; what may be an answer stays.
    async fn too_late(&self, data: &str, address: Address, id: i64) {
        let short = match Button::read(data) {
            Some(
                Button::Stop { key }
                | Button::Steer { key }
                | Button::Permission { key, .. }
                | Button::Choose { key, .. },
            ) => key,
            // The words beside an offer are worth keeping.
            Some(Button::Again { .. } | Button::Offer { .. }) | None => String::new(),
        };
        let found = short.parse::<Key>().ok();
        let found = found.map(|it| tokio::task::block_in_place(|| self.view.find(&it)));
        match found {
            Some(Ok(Some(seen))) => {
                if outlived(&seen, id) {
                    let _ = self.bot.delete(address.chat, id).await;
                }
            }
            Some(Err(err)) => tracing::warn!("the queue cannot be read: {err}"),
            Some(Ok(None)) | None => self.take_buttons_off(address, id).await,
        }
    }

    async fn obey(&self, press: &Press) -> &'static str {
        let (Some(button), Some(key)) = (Button::read(&press.data), key_of(press.update)) else {
            return "This button is of an older version.";
        };
        match button {
            Button::Stop { key: short } => {
                let Some(asked) = tokio::task::block_in_place(|| self.unfinished(&short)) else {
                    return OVER;
                };
                if !may_stop(&self.bot, press.from, asked.sender_id.as_deref()) {
                    return "Only who asked, or an admin, may stop this.";
                }
                self.watcher.stop(&asked.key);
                let stop = Command::Stop { key: Some(asked.key.clone()) };
                self.order(press, key, asked.thread_id, stop).await;
                "Stopping."
            }
            Button::Steer { key: short } => {
                let Some(asked) = tokio::task::block_in_place(|| self.unfinished(&short)) else {
                    return OVER;
                };
                let seen = tokio::task::block_in_place(|| self.view.find(&asked.key));
                match seen.ok().flatten().map(|it| it.place) {
                    Some(Place::Processing) => {
                        self.steering.ask(&asked.key, press.from, press.update).await
                    }
                    Some(Place::Incoming)
                        if !may_stop(&self.bot, press.from, asked.sender_id.as_deref()) =>
                    {
                        "Only who asked, or an admin, may do this."
                    }
                    Some(Place::Incoming) => {
                        let queue = self.publisher.client.queue();
                        let told = self.steering.hand_over(queue, &asked);
                        self.watcher.look();
                        told
                    }
                    _ => OVER,
                }
            }
            Button::Permission { answer, question, key: short } => {
                let Some(asked) = tokio::task::block_in_place(|| self.unfinished(&short)) else {
                    return OVER;
                };
                let Some((ask, open)) = self.open_question(&asked.key, &question) else {
                    return ANSWERED;
                };
                let admin = may_rule(&self.bot, press.from);
                if answer == PermissionAnswer::Always && !admin {
                    return match open.plan {
                        Some(_) => {
                            "Only admins may let Claude change files without asking. Go lets it ask."
                        }
                        None => {
                            "Only admins may allow something for good. Allow lets it happen this once."
                        }
                    };
                }
                let is_plan = open.plan.is_some();
                let (request_id, shown) = (ask.request_id, open.digest);
                let command = Command::Permission { request_id, answer, shown, admin };
                self.order(press, key, asked.thread_id, command).await;
                match answer {
                    PermissionAnswer::Allow | PermissionAnswer::Always if is_plan => "Going on.",
                    PermissionAnswer::Allow => "Allowed.",
                    PermissionAnswer::Always => "Allowed here from now on.",
                    PermissionAnswer::Deny => "Denied.",
                }
            }
            Button::Choose { at, pick, question, key: short } => {
                let Some(asked) = tokio::task::block_in_place(|| self.unfinished(&short)) else {
                    return OVER;
                };
                let Some((ask, question)) = self.open_question(&asked.key, &question) else {
                    return ANSWERED;
                };
                let open = Open { thread: asked.thread_id, request_id: ask.request_id, question };
                let speaker = Speaker {
                    key,
                    update: press.update,
                    from: press.from,
                    name: &press.name,
                    at_ms: press.at_ms,
                    address: press.address,
                };
                let told = self.choosing.press(&open, at, pick, speaker).await;
                self.watcher.look();
                told
            }
            Button::Again { key: short } => {
                let offer: Option<Key> = short.parse().ok();
                let found = offer.and_then(|it| {
                    tokio::task::block_in_place(|| self.view.find(&it)).ok().flatten()
                });
                let Some(offer) = found.map(|it| it.message) else { return OVER };
                let Some(origin) = Origin::of(&offer) else { return OVER };
                let Some(text) = origin.again.clone() else { return OVER };
                let mut message = Message::new(
                    key,
                    Channel::Telegram,
                    offer.thread_id.clone(),
                    text,
                    press.at_ms,
                );
                message.sender.clone_from(&press.name);
                message.sender_id = Some(press.from.to_string());
                message.edits = self.bot.addresses.key_of(origin.chat, origin.message_id);
                Origin { again: None, ..origin }.put(&mut message);
                match self.publisher.publish(Side::Run, message, press.address).await {
                    Ok(_) => {
                        // The offer is taken.
                        if let (Some(address), Some(id)) = (press.address, press.message) {
                            let _ = self.bot.delete(address.chat, id).await;
                        }
                        "Asking again."
                    }
                    Err(_) => "This cannot be asked again.",
                }
            }
            Button::Offer { at, key } => self.take_up(press, at, &key).await,
        }
    }

    /// Does what an answer offered: an order, or words of whoever pressed. Pressed twice, it is done once.
    async fn take_up(&self, press: &Press, at: usize, key: &str) -> &'static str {
        let key: Option<Key> = key.parse().ok();
        let found =
            key.and_then(|it| tokio::task::block_in_place(|| self.view.find(&it)).ok().flatten());
        let Some(answered) = found.map(|it| it.message) else { return OVER };
        let buttons = answered.reply.as_ref().map(|it| &it.buttons[..]).unwrap_or_default();
        let Some(button) = buttons.get(at) else { return OVER };
        let key = Key::hashed("b", &format!("{}-{at}", answered.key));
        let thread = answered.thread_id.clone();
        match &button.press {
            ButtonPress::Command(Command::Trust { trust, .. }) => {
                if !may_rule(&self.bot, press.from) {
                    return "Only admins may let a repository's settings count.";
                }
                let command = Command::Trust { trust: *trust, admin: true };
                self.order(press, key, thread, command).await;
            }
            ButtonPress::Command(Command::Devbox { order, .. }) => {
                let admin = may_rule(&self.bot, press.from);
                if !admin && !order.is_for_all() {
                    return "Only admins may do that with devboxes.";
                }
                let command = Command::Devbox { order: order.clone(), admin };
                self.order(press, key, thread, command).await;
            }
            ButtonPress::Command(command) => self.order(press, key, thread, command.clone()).await,
            ButtonPress::Say(text) => {
                let mut message =
                    Message::new(key, Channel::Telegram, thread, text.clone(), press.at_ms);
                message.sender.clone_from(&press.name);
                message.sender_id = Some(press.from.to_string());
                if let Err(err) = self.publisher.publish(Side::Run, message, press.address).await {
                    tracing::error!("words from a button cannot be published: {err}");
                    return "This cannot be said now.";
                }
            }
        }
        TAKEN
    }

    /// An offer is taken: its words stay, its buttons go.
    async fn take_buttons_off(&self, address: Address, message: i64) {
        let Ok(id) = i32::try_from(message) else { return };
        let permit =
            self.bot.limit.permit(address.chat, address.lane(), Priority::Preview, 1).await;
        let bare = EditMessageReplyMarkup::new(ChatId(address.chat), MessageId(id));
        let done = self.bot.client.call(&bare).await;
        if let Err(CallError::Flood { wait, .. }) = &done {
            self.bot.limit.freeze(address.chat, *wait);
        }
        drop(permit);
    }

    /// The open question of a turn, if it is still the one that stood beside the button.
    fn open_question(&self, key: &Key, digest: &str) -> Option<(Ask, Question)> {
        let ask = tokio::task::block_in_place(|| self.progresses.read(key))?.asks?;
        let question = Question::of(&ask);
        let is_it = digest.len() == DIGEST_CHARS && question.digest.starts_with(digest);
        is_it.then_some((ask, question))
    }

    async fn order(&self, press: &Press, key: Key, thread: ThreadId, command: Command) {
        let mut message = Message::new(key, Channel::Telegram, thread, "", press.at_ms);
        message.sender.clone_from(&press.name);
        message.sender_id = Some(press.from.to_string());
        message.command = Some(command);
        if let Err(err) = self.publisher.publish(Side::Run, message, press.address).await {
            tracing::error!("an order from a button cannot be published: {err}");
        }
    }

    /// The message a button is about, while it waits or is worked on.
    fn unfinished(&self, short_key: &str) -> Option<Message> {
        if let Ok(key) = short_key.parse() {
            let seen = self.view.find(&key).ok().flatten()?;
            return matches!(seen.place, Place::Incoming | Place::Processing)
                .then_some(seen.message);
        }
        // In the order in which it moves, so that it cannot slip through.
        let places = [Place::Incoming, Place::Processing];
        self.view.find_by(&places, |it| short(it) == short_key).ok().flatten()
    }
}

/// Whether a message with a status' button is a status still, although its turn is over: a short turn's answer takes the
/// place of its status. While an answer is on its way nobody knows.
fn outlived(seen: &Seen, message: i64) -> bool {
    let over = matches!(seen.place, Place::Done | Place::Dead | Place::Quarantine);
    let mut sent = seen.message.delivery.iter().map(|it| it.telegram_message_id);
    over && sent.all(|it| it.is_some_and(|it| it != message))
}
