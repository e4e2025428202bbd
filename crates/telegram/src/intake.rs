//! From updates to messages in the queue: in order in each topic, topics apart from each other, albums and texts that a
//! client cut to pieces joined again.
//!
//! Every update that comes here lies in `updates/` and stays there until what it says is in the queue under its key,
//! so dying at any point repeats nothing and loses nothing. Buttons and `/stop` wait for nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tinyclaw_domain::{Channel, Command, Key, Message, ThreadId};
use tinyclaw_queue::{Published, Side};
use tinyclaw_service::now_ms;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::book::Address;
use crate::commands;
use crate::desk;
use crate::face::{Face, Notice, Origin};
use crate::fetch;
use crate::hear::{AttachmentKind, Event, Said, TopicChange, hear};
use crate::inbox::Update;
use crate::press;
use crate::text;

/// A client cuts texts at 4,096 units; what is about as long may have a second half.
const SPLIT_UNITS_MIN: usize = 4000;
/// More pieces than this are no longer one text.
const PIECES_MAX: usize = 12;
/// Polling waits while so many updates are not dealt with.
const BACKLOG_MAX: usize = 500;
/// Albums whose first part has its 👀.
const ALBUMS_MAX: usize = 32;

pub(crate) struct Intake {
    face: Arc<Face>,
    rooms: Mutex<HashMap<Address, mpsc::UnboundedSender<Work>>>,
    albums: Mutex<VecDeque<String>>,
    backlog: Arc<AtomicUsize>,
}

/// What waits in a topic.
enum Work {
    /// One update.
    One(i64, Event),
    /// Updates that were joined before and belong together.
    Joined(Vec<Said>),
}

impl Intake {
    pub(crate) fn new(face: Arc<Face>) -> Intake {
        Intake { face, rooms: Mutex::default(), albums: Mutex::default(), backlog: Arc::default() }
    }

    /// Whether so much waits that nothing more should be fetched.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= BACKLOG_MAX
    }

    /// How many updates are not dealt with.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Takes updates that are on disk. Several at once are ones that were joined before.
    pub(crate) fn take(&self, updates: Vec<Update>) {
        let joined = updates.len() > 1;
        let mut pieces = Vec::new();
        for update in updates {
            let event = hear(update.id, &update.raw);
            match event {
                Event::Said(said) if joined && self.may(said.from, said.address) => {
                    pieces.push(*said)
                }
                event => self.take_one(update.id, event),
            }
        }
        if let Some(first) = pieces.first() {
            self.put(first.address, pieces.len(), Work::Joined(pieces));
        }
    }

    fn may(&self, user: i64, address: Address) -> bool {
        self.face.people().may_speak(user, address.chat)
    }

    fn take_one(&self, id: i64, event: Event) {
        match event {
            Event::Said(said) if self.may(said.from, said.address) => {
                self.look_at(&said);
                self.face.book.saw(said.address.chat, said.message.into());
                if commands::is_stop(&said.text, &self.face.bot.username) {
                    let face = Arc::clone(&self.face);
                    self.aside(id, async move { desk::run(&face, *said).await });
                } else {
                    self.put(said.address, 1, Work::One(id, Event::Said(said)));
                }
            }
            Event::Edited(said) if self.may(said.from, said.address) => {
                self.put(said.address, 1, Work::One(id, Event::Edited(said)));
            }
            Event::Pressed(press) => {
                let chat = press.address.map_or(0, |it| it.chat);
                if self.face.people().may_speak(press.from, chat) {
                    let face = Arc::clone(&self.face);
                    self.aside(id, async move { press::run(&face, press).await });
                } else {
                    self.nothing(id, "a button pressed by a stranger");
                }
            }
            Event::Topic { by, address, change } => {
                // What we did ourselves we know, and strangers change nothing here.
                if by != self.face.bot.id && self.face.people().is_our_chat(address.chat) {
                    self.put(address, 1, Work::One(id, Event::Topic { by, address, change }));
                } else {
                    self.nothing(id, "a topic that is not ours");
                }
            }
            Event::Migrated { from, to } => {
                if self.face.people().is_our_chat(from) {
                    tracing::info!("group {from} has become {to}");
                    if let Err(err) =
                        tokio::task::block_in_place(|| self.face.book.migrate(from, to))
                    {
                        tracing::error!("cannot keep that group {from} has become {to}: {err}");
                        return;
                    }
                }
                self.nothing(id, "a group that moved");
            }
            Event::Added { chat, by } => {
                let people = self.face.people();
                if chat > 0 || people.is_our_chat(chat) || people.users.is_empty() {
                    self.nothing(id, "put into a chat");
                } else {
                    tracing::warn!(
                        "user {by} put the bot into chat {chat}, which is not allowed: leaving it"
                    );
                    let face = Arc::clone(&self.face);
                    self.aside(id, async move { press::leave(&face, chat).await });
                }
            }
            Event::Unreadable => {
                tracing::warn!(
                    update = id,
                    "update {id} has no shape we know; it is kept in updates/{id}.odd"
                );
                self.face.vitals.count("oddUpdatesTotal", 1);
                self.face.inbox.set_aside(id);
            }
            Event::Said(said) | Event::Edited(said) => {
                tracing::info!(
                    user = said.from,
                    chat = said.address.chat,
                    "somebody who is not allowed to speak was not heard"
                );
                self.nothing(id, "a stranger");
            }
            Event::Nothing(why) => self.nothing(id, why),
        }
    }

    /// Seen, says the reaction, before anything else is done. An album gets one.
    fn look_at(&self, said: &Said) {
        if let Some(album) = &said.album {
            let mut albums = self.albums.lock().unwrap_or_else(|it| it.into_inner());
            if albums.contains(album) {
                return;
            }
            albums.push_back(album.clone());
            while albums.len() > ALBUMS_MAX {
                albums.pop_front();
            }
        }
        let (face, chat, message) = (Arc::clone(&self.face), said.address.chat, said.message);
        tokio::spawn(async move { face.react(chat, message, Some("👀")).await });
    }

    fn nothing(&self, id: i64, why: &str) {
        tracing::debug!(update = id, "update {id} is not for us: {why}");
        finish(&self.face, &[id]);
    }

    /// Does something that waits for no topic.
    fn aside(&self, id: i64, work: impl Future<Output = ()> + Send + 'static) {
        let (face, backlog) = (Arc::clone(&self.face), Arc::clone(&self.backlog));
        backlog.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            work.await;
            finish(&face, &[id]);
            backlog.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn put(&self, address: Address, count: usize, work: Work) {
        self.backlog.fetch_add(count, Ordering::Relaxed);
        let mut rooms = self.rooms.lock().unwrap_or_else(|it| it.into_inner());
        let sender = rooms.entry(address).or_insert_with(|| self.open_room());
        if let Err(mpsc::error::SendError(work)) = sender.send(work) {
            // A room that panicked takes nothing any more; what it had lies in updates/ until the next start.
            tracing::error!("topic {address:?} is taken up again");
            *sender = self.open_room();
            let _ = sender.send(work);
        }
    }

    fn open_room(&self) -> mpsc::UnboundedSender<Work> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let room = Room {
            face: Arc::clone(&self.face),
            receiver,
            backlog: Arc::clone(&self.backlog),
            pieces: Vec::new(),
            first_at: Instant::now(),
            last_at: Instant::now(),
        };
        tokio::spawn(room.run());
        sender
    }
}

fn finish(face: &Face, ids: &[i64]) {
    if let Err(err) = tokio::task::block_in_place(|| face.inbox.finish(ids)) {
        tracing::error!("updates {ids:?} are dealt with, but cannot be marked so: {err}");
    }
}

/// One topic's updates, one after the other.
struct Room {
    face: Arc<Face>,
    receiver: mpsc::UnboundedReceiver<Work>,
    backlog: Arc<AtomicUsize>,
    /// What may have more pieces.
    pieces: Vec<Said>,
    first_at: Instant,
    last_at: Instant,
}

impl Room {
    async fn run(mut self) {
        loop {
            let work = if self.pieces.is_empty() {
                self.receiver.recv().await
            } else {
                match tokio::time::timeout_at(self.deadline(), self.receiver.recv()).await {
                    Ok(work) => work,
                    Err(_) => {
                        self.flush().await;
                        continue;
                    }
                }
            };
            match work {
                None => return,
                Some(Work::Joined(pieces)) => {
                    self.flush().await;
                    self.publish(pieces).await;
                }
                Some(Work::One(id, event)) => self.one(id, event).await,
            }
        }
    }

    async fn one(&mut self, id: i64, event: Event) {
        let Event::Said(said) = event else {
            self.flush().await;
            match event {
                Event::Edited(said) => edited(&self.face, *said).await,
                Event::Topic { by, address, change } => {
                    topic_changed(&self.face, id, by, address, change).await;
                }
                _ => {}
            }
            self.end(&[id]);
            return;
        };
        if !self.belongs(&said) {
            self.flush().await;
        }
        if commands::is_command(&said.text) && said.files.is_empty() {
            desk::run(&self.face, *said).await;
            self.end(&[id]);
        } else if said.album.is_some()
            || text::units(&said.text) >= SPLIT_UNITS_MIN
            || !self.pieces.is_empty()
        {
            if self.pieces.is_empty() {
                self.first_at = Instant::now();
            }
            self.last_at = Instant::now();
            // The last piece of a text is shorter than the others.
            let complete = said.album.is_none() && text::units(&said.text) < SPLIT_UNITS_MIN;
            self.pieces.push(*said);
            if complete || self.pieces.len() == PIECES_MAX {
                self.flush().await;
            }
        } else {
            self.publish(vec![*said]).await;
        }
    }

    /// Whether this is the next piece of what waits.
    fn belongs(&self, said: &Said) -> bool {
        let Some(last) = self.pieces.last() else { return true };
        let same_person = last.from == said.from;
        if last.album.is_some() || said.album.is_some() {
            return same_person && last.album == said.album;
        }
        same_person
            && said.files.is_empty()
            && said.reply.is_none()
            && !commands::is_command(&said.text)
            && said.message - last.message <= 2
            && said.at_ms.saturating_sub(last.at_ms) <= 2000
    }

    fn deadline(&self) -> Instant {
        let timing = &self.face.timing;
        if self.pieces.iter().any(|it| it.album.is_some()) {
            (self.last_at + timing.album_gap).min(self.first_at + timing.album_max)
        } else {
            self.last_at + timing.split_gap
        }
    }

    async fn flush(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            self.publish(pieces).await;
        }
    }

    /// Makes one message of the pieces and publishes it.
    async fn publish(&self, pieces: Vec<Said>) {
        let ids: Vec<i64> = pieces.iter().map(|it| it.update).collect();
        if ids.len() > 1
            && let Err(err) = tokio::task::block_in_place(|| self.face.inbox.group(&ids))
        {
            tracing::error!("cannot keep that updates {ids:?} belong together: {err}");
        }
        publish_said(&self.face, &pieces).await;
        self.end(&ids);
    }

    fn end(&self, ids: &[i64]) {
        finish(&self.face, ids);
        self.backlog.fetch_sub(ids.len(), Ordering::Relaxed);
    }
}

/// The key of what an update says.
pub(crate) fn key_of(update: i64) -> Option<Key> {
    format!("tg-{update}").parse().ok()
}

async fn publish_said(face: &Face, pieces: &[Said]) {
    let Some(first) = pieces.first() else { return };
    let (Some(key), Some(thread)) = (key_of(first.update), face.thread_at(first.address)) else {
        return;
    };
    let mut message = new_message(face, first, key.clone(), thread.clone());
    message.message = joined(pieces);
    let mut troubles = Vec::new();
    for said in pieces {
        face.book.heard(said.address.chat, said.message, &key);
        if let Some(odd) = said.odd {
            troubles.push(format!("TinyClaw cannot read {odd}."));
        }
        for file in &said.files {
            match fetch::fetch(face, &thread, said.update, file).await {
                Ok(kept) if file.kind == AttachmentKind::Voice => {
                    match spoken(face, &kept.path).await {
                        Ok(words) => push_line(&mut message.message, &words),
                        Err(why) => troubles.push(why),
                    }
                    message.files.push(kept);
                }
                Ok(kept) => message.files.push(kept),
                Err(why) => troubles.push(format!("{why}.")),
            }
        }
    }
    let voice_only = message.message.is_empty() && pieces.iter().all(only_voice);
    if message.message.is_empty() && (message.files.is_empty() || voice_only) {
        // Nothing is left that Claude could answer.
        let text = troubles.join("\n");
        face.react(first.address.chat, first.message, None).await;
        face.notify(notice(&key, "unread", thread, text, first)).await;
        return;
    }
    for trouble in &troubles {
        push_line(&mut message.message, &format!("[{trouble}]"));
    }
    let text = troubles.join("\n");
    match face.publish(Side::Run, message, Some(first.address)).await {
        Ok(Published::New) => {
            tracing::info!(%key, thread.id = %thread, "message {key} goes to thread {thread}");
            face.vitals.count("messagesTotal", 1);
        }
        Ok(Published::Duplicate(_)) => tracing::debug!(%key, "message {key} is known"),
        Err(err) => {
            tracing::error!(%key, "message {key} cannot be accepted: {err}");
            let text = format!("This message cannot be accepted: {err}.");
            face.notify(notice(&key, "refused", thread, text, first)).await;
            return;
        }
    }
    if !text.is_empty() {
        face.notify(notice(&key, "files", thread, text, first)).await;
    }
}

fn only_voice(said: &Said) -> bool {
    !said.files.is_empty() && said.files.iter().all(|it| it.kind == AttachmentKind::Voice)
}

async fn spoken(face: &Face, path: &str) -> Result<String, String> {
    let settings = face.settings.current();
    let Some(command) = &settings.1.transcriber else {
        return Err("Voice messages are not understood here. Write it, or set telegram.transcriber in settings.json.".to_owned());
    };
    let path = std::path::absolute(face.state.root().join(path)).map_err(|it| it.to_string())?;
    match fetch::transcribe(command, &path).await {
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

/// A message with everything but its words.
pub(crate) fn new_message(face: &Face, said: &Said, key: Key, thread: ThreadId) -> Message {
    let mut message = Message::new(key, Channel::Telegram, thread.clone(), "", said.at_ms);
    message.sender.clone_from(&said.name);
    message.sender_id = Some(said.from.to_string());
    message.topic_name = face.book.name(&thread);
    if let Some(reply) = &said.reply {
        message.is_reply = reply.from == Some(face.bot.id);
        message.reply_to_text = Some(reply.text.clone()).filter(|it| !it.is_empty());
        message.reply_to_model = face.book.model_of(said.address.chat, reply.message);
    }
    origin(said).put(&mut message);
    message
}

pub(crate) fn origin(said: &Said) -> Origin {
    let Address { chat, topic } = said.address;
    Origin { chat, message_id: said.message, topic, again: None }
}

pub(crate) fn notice(
    about: &Key,
    kind: &'static str,
    thread: ThreadId,
    text: impl Into<String>,
    said: &Said,
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
fn joined(pieces: &[Said]) -> String {
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

/// An edit: what still waits is changed, what was answered is offered again.
async fn edited(face: &Face, said: Said) {
    let Some(thread) = face.thread_at(said.address) else { return };
    let Some(about) = face.book.key_of(said.address.chat, said.message) else {
        tracing::debug!("an edit of a message nobody remembers");
        return;
    };
    let text = said.text.clone();
    let replaced = tokio::task::block_in_place(|| {
        face.queue.replace_waiting(&about, |it| it.message.clone_from(&text))
    });
    match replaced {
        Ok(true) => {
            tracing::info!(key = %about, "message {about} was edited while it waited");
            return;
        }
        Ok(false) => {}
        Err(err) => tracing::warn!(key = %about, "cannot change message {about}: {err}"),
    }
    let found = tokio::task::block_in_place(|| face.view.find(&about));
    let unchanged =
        matches!(&found, Ok(Some(seen)) if seen.message.message.trim() == said.text.trim());
    let (Some(key), false) = (key_of(said.update), unchanged || said.text.is_empty()) else {
        return;
    };
    let mut it =
        notice(&key, "edit", thread, "This was asked already. Ask again with the new text?", &said);
    it.origin = Some(Origin { again: Some(said.text.clone()), ..origin(&said) });
    face.notify(it).await;
}

/// A topic came, was renamed, closed or opened: its thread does the same.
async fn topic_changed(face: &Face, update: i64, by: i64, address: Address, change: TopicChange) {
    let (Some(key), Some(thread)) = (key_of(update), face.thread_at(address)) else { return };
    let command = match change {
        TopicChange::Created(name) => {
            face.book.set_name(&thread, address, &name);
            Command::Open { name: Some(name), dir: None, repo: None }
        }
        TopicChange::Renamed(name) => {
            face.book.set_name(&thread, address, &name);
            Command::Rename { name }
        }
        TopicChange::Closed => Command::Close {},
        TopicChange::Reopened => Command::Reopen {},
    };
    let mut message = Message::new(key.clone(), Channel::Telegram, thread, "", now_ms());
    message.sender_id = Some(by.to_string());
    message.topic_name = face.book.name(&message.thread_id);
    message.command = Some(command);
    if let Err(err) = face.publish(Side::Run, message, Some(address)).await {
        tracing::error!(%key, "a change of a topic cannot be published: {err}");
    }
}
