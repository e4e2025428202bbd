//! From what a person said to a message in the queue: its words and files together, an edit, a topic that changed. What
//! belongs together is decided in [`crate::inbound::joining`].

use std::sync::Arc;

use tinyclaw_domain::{
    Channel, Command, Key, Message, Quote, ThreadId, for_the_running_turn, quoted, safe_name,
};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Place, Published, Side};
use tinyclaw_service::{Vitals, now_ms};

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::choosing::{Choosing, Speaker};
use crate::inbound::decode::{AttachmentKind, TopicChange, UserMessage};
use crate::inbound::downloads::{self, Fetched};
use crate::inbound::transcribe::transcribe;
use crate::origin::Origin;
use crate::publish::{Notice, Publisher};
use crate::steering::Steering;
use crate::text;

/// A word about a file that could not be taken is no longer than this.
const TROUBLE_CHARS_MAX: usize = 400;

/// The key of what an update says.
pub(crate) fn key_of(update: i64) -> Option<Key> {
    format!("tg-{update}").parse().ok()
}

/// A message that can be published.
pub(crate) struct Prepared {
    message: Message,
    /// What could not be taken, for the person.
    troubles: Vec<String>,
    /// Nothing is left that Claude could answer.
    is_void: bool,
}

/// Who makes messages of what people say. It has no lock.
pub(crate) struct Composer {
    pub(crate) bot: Arc<Bot>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) choosing: Arc<Choosing>,
    pub(crate) steering: Arc<Steering>,
    pub(crate) state: StateDir,
    pub(crate) vitals: Vitals,
}

impl Composer {
    /// Makes one message of what belongs together. Files are fetched and voice is understood here, which may take minutes and
    /// may be broken off: nothing has happened then.
    pub(crate) async fn prepare(&self, pieces: &[UserMessage]) -> Option<Prepared> {
        let first = pieces.first()?;
        let (key, thread) = (key_of(first.update)?, self.bot.thread_at(first.address)?);
        let mut message = new_message(&self.bot, first, key, thread.clone());
        message.message = joined(pieces);
        let mut troubles = Vec::new();
        for said in pieces {
            if let Some(odd) = said.odd {
                troubles.push(format!("TinyClaw cannot read {odd}."));
            }
            for file in &said.files {
                let fetched = downloads::fetch(
                    &self.bot.client,
                    &self.publisher.client,
                    &thread,
                    said.update,
                    file,
                );
                match fetched.await {
                    Ok(Fetched { kept, bytes }) if file.kind == AttachmentKind::Voice => {
                        match self.spoken(said.update, &file.name, &bytes).await {
                            Ok(words) => push_line(&mut message.message, &words),
                            Err(why) => troubles.push(why),
                        }
                        message.files.push(kept);
                    }
                    Ok(Fetched { kept, .. }) => message.files.push(kept),
                    Err(why) => troubles.push(format!("{why}.")),
                }
            }
        }
        take_words(&mut message);
        let voice_only = message.message.is_empty() && pieces.iter().all(only_voice);
        let is_void = message.message.is_empty() && (message.files.is_empty() || voice_only);
        Some(Prepared { message, troubles, is_void })
    }

    /// Publishes the message that was made of these pieces.
    pub(crate) async fn publish(&self, pieces: &[UserMessage], prepared: Prepared) {
        let Some(first) = pieces.first() else { return };
        let Prepared { mut message, troubles, is_void } = prepared;
        let (key, thread) = (message.key.clone(), message.thread_id.clone());
        for said in pieces {
            self.bot.addresses.heard(said.address.chat, said.message, &key);
        }
        let text = troubles.join("\n");
        if is_void {
            self.bot.react(first.address.chat, first.message, None);
            self.publisher.notify(notice(&key, "unread", thread, text, first)).await;
            return;
        }
        if message.files.is_empty() && self.is_answer(first, &message).await {
            self.bot.react(first.address.chat, first.message, Some("👌"));
            return;
        }
        if !message.steer {
            message.steer = self.steering.takes(&message, first.from, first.update).await;
        }
        for trouble in &troubles {
            // It may hold the name of a file, which is another's.
            let trouble = quoted(trouble, Quote::Name, TROUBLE_CHARS_MAX);
            push_line(&mut message.message, &format!("[{trouble}]"));
        }
        match self.publisher.publish(Side::Run, message, Some(first.address)).await {
            Ok(Published::New) => {
                tracing::info!(%key, thread.id = %thread, "message {key} goes to thread {thread}");
                self.vitals.count("messagesTotal", 1);
            }
            Ok(Published::Duplicate(_)) => tracing::debug!(%key, "message {key} is known"),
            Err(err) => {
                tracing::error!(%key, "message {key} cannot be accepted: {err}");
                let text = format!("This message cannot be accepted: {err}.");
                self.publisher.notify(notice(&key, "refused", thread, text, first)).await;
                return;
            }
        }
        if !text.is_empty() {
            self.publisher.notify(notice(&key, "files", thread, text, first)).await;
        }
    }

    /// Whether it was taken as the answer to an open question.
    async fn is_answer(&self, said: &UserMessage, message: &Message) -> bool {
        let speaker = Speaker {
            key: message.key.clone(),
            update: said.update,
            from: said.from,
            name: &said.name,
            at_ms: said.at_ms,
            address: Some(said.address),
        };
        self.choosing.hear(&message.thread_id, speaker, &message.message).await
    }

    async fn spoken(&self, update: i64, name: &str, bytes: &[u8]) -> Result<String, String> {
        let settings = self.bot.settings.current();
        let Some(command) = &settings.1.transcriber else {
            return Err("Voice messages are not understood here. Write it, please; an operator can set telegram.transcriber.".to_owned());
        };
        let name = format!("{update}_{}", safe_name(name));
        match transcribe(command, &self.state.transcriber(), &name, bytes).await {
            Ok(words) if words.is_empty() => {
                Err("Nothing was understood in the voice message.".to_owned())
            }
            Ok(words) => Ok(words),
            Err(err) => {
                tracing::error!("a voice message could not be transcribed: {err:#}");
                Err(format!("The voice message could not be transcribed: {err}."))
            }
        }
    }

    /// An edit: what still waits is changed, what was answered is offered again.
    pub(crate) async fn edited(&self, said: UserMessage) {
        let Some(thread) = self.bot.thread_at(said.address) else { return };
        let Some(about) = self.bot.addresses.key_of(said.address.chat, said.message) else {
            tracing::debug!("an edit of a message nobody remembers");
            return;
        };
        let text = said.text.clone();
        // Of several pieces nobody remembers where one begins and ends.
        let is_whole = self.bot.addresses.pieces_of(&about) == 1;
        let mut is_handed = false;
        let change = |it: &mut Message| {
            // The running turn may have the old words.
            is_handed = it.handed.is_some();
            if !is_handed {
                it.message.clone_from(&text);
                take_words(it);
            }
        };
        let replaced = is_whole.then(|| {
            let queue = self.publisher.client.queue();
            tokio::task::block_in_place(|| queue.replace_waiting(&about, change))
        });
        let replaced = if is_handed { None } else { replaced };
        match replaced {
            Some(Ok(true)) => {
                tracing::info!(key = %about, "message {about} was edited while it waited");
                return;
            }
            Some(Ok(false)) | None => {}
            Some(Err(err)) => tracing::warn!(key = %about, "cannot change message {about}: {err}"),
        }
        let found = tokio::task::block_in_place(|| self.publisher.client.view().find(&about));
        let unchanged =
            matches!(&found, Ok(Some(seen)) if seen.message.message.trim() == said.text.trim());
        let (Some(key), false) = (key_of(said.update), unchanged || said.text.is_empty()) else {
            return;
        };
        let question = match found.ok().flatten().map(|it| it.place) {
            Some(Place::Incoming) if is_handed => {
                "The running turn has this already. Ask again with the new text?"
            }
            Some(Place::Incoming) => {
                "This waits as one message with what was sent beside it. Ask the new text as well?"
            }
            Some(Place::Processing) => "This is being answered. Ask again with the new text?",
            _ => "This was asked already. Ask again with the new text?",
        };
        let mut it = notice(&key, "edit", thread, question, &said);
        it.origin = Some(Origin { again: Some(said.text.clone()), ..origin(&said) });
        self.publisher.notify(it).await;
    }

    /// A topic came, was renamed, closed or opened: its thread does the same.
    pub(crate) async fn topic_changed(
        &self,
        update: i64,
        by: i64,
        address: Address,
        change: TopicChange,
    ) {
        let (Some(key), Some(thread)) = (key_of(update), self.bot.thread_at(address)) else {
            return;
        };
        let command = match change {
            TopicChange::Created(name) => {
                self.bot.addresses.set_name(&thread, address, &name);
                Command::Open { name: Some(name), dir: None, repo: None }
            }
            TopicChange::Renamed(name) => {
                self.bot.addresses.set_name(&thread, address, &name);
                Command::Rename { name }
            }
            TopicChange::Closed => Command::Close {},
            TopicChange::Reopened => Command::Reopen {},
        };
        let mut message = Message::new(key.clone(), Channel::Telegram, thread, "", now_ms());
        message.sender_id = Some(by.to_string());
        message.topic_name = self.bot.addresses.name(&message.thread_id);
        message.command = Some(command);
        if let Err(err) = self.publisher.publish(Side::Run, message, Some(address)).await {
            tracing::error!(%key, "a change of a topic cannot be published: {err}");
        }
    }
}

/// Takes the text of a message for the running turn, if it is. Files have to be brought to Claude first: what comes with some
/// waits in line.
fn take_words(message: &mut Message) {
    let words = for_the_running_turn(&message.message).map(str::to_owned);
    message.steer = words.is_some() && message.files.is_empty();
    if let Some(words) = words {
        message.message = words;
    }
}

fn only_voice(said: &UserMessage) -> bool {
    !said.files.is_empty() && said.files.iter().all(|it| it.kind == AttachmentKind::Voice)
}

/// A message with everything but its words.
pub(crate) fn new_message(bot: &Bot, said: &UserMessage, key: Key, thread: ThreadId) -> Message {
    let mut message = Message::new(key, Channel::Telegram, thread.clone(), "", said.at_ms);
    message.sender.clone_from(&said.name);
    message.sender_id = Some(said.from.to_string());
    // A topic that a stranger made is kept by nobody until somebody who may speak does so in it.
    message.topic_name = bot.addresses.name(&thread).or_else(|| said.topic_name.clone());
    if let Some(reply) = &said.reply {
        message.is_reply = reply.from == Some(bot.id);
        message.reply_to_text = Some(reply.text.clone()).filter(|it| !it.is_empty());
        message.reply_to_model = bot.addresses.model_of(said.address.chat, reply.message);
    }
    origin(said).put(&mut message);
    message
}

pub(crate) fn origin(said: &UserMessage) -> Origin {
    let Address { chat, topic } = said.address;
    Origin { chat, message_id: said.message, topic, again: None }
}

pub(crate) fn notice(
    about: &Key,
    kind: &'static str,
    thread: ThreadId,
    text: impl Into<String>,
    said: &UserMessage,
) -> Notice {
    let origin = Some(origin(said));
    Notice { about: about.clone(), kind, thread, text: text.into(), origin, files: Vec::new() }
}

fn push_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// The words of all pieces. A client cuts at a word or a line and drops the white space there, unless there was none.
fn joined(pieces: &[UserMessage]) -> String {
    let mut text = String::new();
    let mut cut_within_a_word = false;
    for piece in pieces.iter().filter(|it| !it.text.is_empty()) {
        if !text.is_empty() && !cut_within_a_word {
            text.push('\n');
        }
        text.push_str(&piece.text);
        cut_within_a_word = piece.album.is_none() && text::units(&piece.text) == 4096;
    }
    text
}
