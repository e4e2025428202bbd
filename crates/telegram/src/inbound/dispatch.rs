//! Where updates come in: strangers get silence, buttons and `/stop` wait for nobody, everything else goes to its
//! topic's [`TopicLine`], in order.
//!
//! Every update that comes here lies in `updates/` and stays there until what it says is in the queue under its key,
//! so dying at any point repeats nothing and loses nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tinyclaw_domain::Key;
use tinyclaw_queue::{LookError, View};
use tinyclaw_service::Vitals;
use tokio::sync::mpsc;

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::buttons::Buttons;
use crate::commands::table;
use crate::inbound::access::{People, Unheard};
use crate::inbound::compose::key_of;
use crate::inbound::decode::{Event, UserMessage, decode};
use crate::inbound::joining::{Handlers, TopicLine, Work, is_command};
use crate::inbound::unpublished::Unpublished;
use crate::inbound::updates::{Inbox, Left, Update};

/// Polling waits while so many updates are not dealt with.
const BACKLOG_MAX: usize = 500;
/// Albums whose first part has its 👀.
const ALBUMS_MAX: usize = 32;
/// Commands whose words are remembered, to know them again when they are edited.
const COMMANDS_MAX: usize = 256;

/// Who takes updates in. Its three locks are each held for a look or a change, and never two at once; `lines` is held while
/// something is put into a line, which takes the lock of [`Unpublished`].
pub(crate) struct Dispatcher {
    bot: Arc<Bot>,
    inbox: Arc<Inbox>,
    handlers: Arc<Handlers>,
    buttons: Arc<Buttons>,
    vitals: Vitals,
    /// The line of each topic in which something was said.
    lines: Mutex<HashMap<Address, Door>>,
    /// Albums whose first part has its 👀.
    albums: Mutex<VecDeque<String>>,
    /// What was a command, by chat and message, the newest last.
    commands: Mutex<VecDeque<(i64, i32, String)>>,
    backlog: Arc<AtomicUsize>,
    unheard: Unheard,
}

/// The way into a line.
struct Door {
    sender: mpsc::UnboundedSender<Work>,
    unpublished: Arc<Unpublished>,
}

impl Dispatcher {
    pub(crate) fn new(
        handlers: Arc<Handlers>,
        buttons: Arc<Buttons>,
        vitals: Vitals,
    ) -> Dispatcher {
        Dispatcher {
            bot: Arc::clone(&handlers.bot),
            inbox: Arc::clone(&handlers.inbox),
            handlers,
            buttons,
            vitals,
            lines: Mutex::default(),
            albums: Mutex::default(),
            commands: Mutex::default(),
            backlog: Arc::default(),
            unheard: Unheard::default(),
        }
    }

    /// Whether so much waits that nothing more should be fetched.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= BACKLOG_MAX
    }

    /// How many updates are not dealt with.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Takes what an earlier process left. A message that it `published` and did not finish is finished first: what came
    /// after it would be taken for a part of it, and be lost with it. What Telegram may have to send something before, which
    /// the `offset` of the next poll tells, waits for that.
    pub(crate) fn take_left(&self, left: Left, published: &HashSet<Key>, offset: Option<i64>) {
        let mut updates = left.updates;
        updates.retain(|updates| match updates.as_slice() {
            [one]
                if is_message(one) && key_of(one.id).is_some_and(|it| published.contains(&it)) =>
            {
                self.nothing(one.id, "published by an earlier process");
                false
            }
            _ => true,
        });
        for updates in self.inbox.hold_back(updates, offset) {
            self.take(updates);
        }
    }

    /// Takes updates that are on disk. Several at once are ones that were joined before.
    pub(crate) fn take(&self, updates: Vec<Update>) {
        let joined = updates.len() > 1;
        let mut pieces = Vec::new();
        for update in updates {
            let event = decode(update.id, &update.raw);
            match event {
                Event::Message(said) if joined && self.may(said.from, said.address) => {
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
        People::now(&self.bot).may_speak(user, address.chat)
    }

    fn take_one(&self, id: i64, event: Event) {
        match event {
            Event::Message(said) if self.may(said.from, said.address) => {
                self.look_at(&said);
                self.bot.addresses.saw(said.address.chat, said.message.into());
                if is_command(&said) {
                    self.remember_command(&said);
                }
                if table::is_stop(&said.text, &self.bot.username) {
                    let commands = Arc::clone(&self.handlers.commands);
                    let stopped = self.stop(said.address, said.from);
                    self.aside(id, async move { commands.stop(*said, stopped).await });
                } else {
                    self.put(said.address, 1, Work::One(id, Event::Message(said)));
                }
            }
            Event::Edited(said) if self.may(said.from, said.address) => self.edited(id, said),
            Event::Pressed(press) => {
                let chat = press.address.map_or(0, |it| it.chat);
                if People::now(&self.bot).may_speak(press.from, chat) {
                    let buttons = Arc::clone(&self.buttons);
                    self.aside(id, async move { buttons.run(press).await });
                } else {
                    self.unheard.note(press.from, chat, "a button");
                    self.nothing(id, "a button pressed by a stranger");
                }
            }
            Event::Rated(rating) => {
                if !People::now(&self.bot).may_speak(rating.from, rating.chat) {
                    self.unheard.note(rating.from, rating.chat, "a reaction");
                    self.nothing(id, "a reaction of a stranger");
                } else if let Some(key) =
                    self.bot.addresses.answered_by(rating.chat, rating.message)
                {
                    let commands = Arc::clone(&self.handlers.commands);
                    self.aside(id, async move { commands.rate(&rating, key).await });
                } else {
                    self.nothing(id, "a reaction to what is no answer");
                }
            }
            Event::Topic { by, address, change } => {
                // What we did ourselves we know. A topic is a thread, and its name goes into prompts: only who may speak
                // makes or changes one, be it a stranger, another bot, or an admin of the group who hides their name.
                if by == self.bot.id {
                    self.nothing(id, "a change of a topic by us");
                } else if self.may(by, address) {
                    self.put(address, 1, Work::One(id, Event::Topic { by, address, change }));
                } else {
                    self.unheard.note(by, address.chat, "a change of a topic");
                    self.nothing(id, "a topic of a stranger's");
                }
            }
            Event::Migrated { from, to } => {
                if People::now(&self.bot).is_our_chat(from) {
                    tracing::info!("group {from} has become {to}");
                    if let Err(err) =
                        tokio::task::block_in_place(|| self.bot.addresses.migrate(from, to))
                    {
                        tracing::error!("cannot keep that group {from} has become {to}: {err}");
                        return;
                    }
                }
                self.nothing(id, "a group that moved");
            }
            Event::Added { chat, by } => {
                let people = People::now(&self.bot);
                if chat > 0 || people.is_our_chat(chat) || people.users.is_empty() {
                    self.nothing(id, "put into a chat");
                } else {
                    tracing::warn!(
                        "user {by} put the bot into chat {chat}, which is not allowed: leaving it"
                    );
                    let bot = Arc::clone(&self.bot);
                    self.aside(id, async move { bot.leave(chat).await });
                }
            }
            Event::Unreadable => {
                tracing::warn!(
                    update = id,
                    "update {id} has no shape we know; it is kept in updates/{id}.odd"
                );
                self.vitals.count("oddUpdatesTotal", 1);
                self.inbox.set_aside(id);
            }
            Event::Message(said) | Event::Edited(said) => {
                self.unheard.note(said.from, said.address.chat, "a message");
                self.nothing(id, "a stranger");
            }
            Event::Anonymous { chat } => {
                if People::now(&self.bot).is_our_chat(chat) {
                    tracing::warn!(
                        chat,
                        "an anonymous admin of chat {chat} was not heard: nobody can tell who it is; switch off \
                         \"Remain anonymous\" in their admin rights"
                    );
                }
                self.nothing(id, "said in the name of a group");
            }
            Event::Nothing(why) => self.nothing(id, why),
        }
    }

    /// An edit: of a command, it is said anew; of anything else its topic knows what it was.
    fn edited(&self, id: i64, said: Box<UserMessage>) {
        let before = self.command_before(&said);
        if before.as_ref() == Some(&said.text) {
            // Telegram tells of edits that nobody made.
            return self.nothing(id, "an edit that changes no word of a command");
        }
        let is_stop = table::is_stop(&said.text, &self.bot.username) && said.is_recent();
        if before.is_some() || is_stop {
            self.forget_command(&said);
            self.take_one(id, Event::Message(said));
        } else {
            self.put(said.address, 1, Work::One(id, Event::Edited(said)));
        }
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<(i64, i32, String)>> {
        self.commands.lock().unwrap_or_else(|it| it.into_inner())
    }

    fn forget_command(&self, said: &UserMessage) {
        let at = (said.address.chat, said.message);
        self.commands().retain(|it| (it.0, it.1) != at);
    }

    fn remember_command(&self, said: &UserMessage) {
        self.forget_command(said);
        let mut commands = self.commands();
        commands.push_back((said.address.chat, said.message, said.text.clone()));
        while commands.len() > COMMANDS_MAX {
            commands.pop_front();
        }
    }

    /// What a message said when it was a command.
    fn command_before(&self, said: &UserMessage) -> Option<String> {
        let at = (said.address.chat, said.message);
        self.commands().iter().find(|it| (it.0, it.1) == at).map(|it| it.2.clone())
    }

    /// Seen, says the reaction, before anything else is done. An album gets one.
    fn look_at(&self, said: &UserMessage) {
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
        self.bot.react(said.address.chat, said.message, Some("👀"));
    }

    fn nothing(&self, id: i64, why: &str) {
        tracing::debug!(update = id, "update {id} is not for us: {why}");
        self.inbox.close(&[id]);
    }

    /// Does something that waits for no topic.
    fn aside(&self, id: i64, work: impl Future<Output = ()> + Send + 'static) {
        let (inbox, backlog) = (Arc::clone(&self.inbox), Arc::clone(&self.backlog));
        backlog.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            work.await;
            inbox.close(&[id]);
            backlog.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn put(&self, address: Address, count: usize, work: Work) {
        self.backlog.fetch_add(count, Ordering::Relaxed);
        let mut lines = self.lines();
        let door = lines.entry(address).or_insert_with(|| self.open_line());
        if door.sender.is_closed() {
            // A line that panicked takes nothing any more; what it had lies in updates/ until the next start.
            tracing::error!("topic {address:?} is taken up again");
            *door = self.open_line();
        }
        match &work {
            Work::One(id, Event::Message(said)) if !is_command(said) => {
                door.unpublished.put(*id, said.from)
            }
            Work::One(..) => {}
            Work::Joined(pieces) => {
                pieces.iter().for_each(|it| door.unpublished.put(it.update, it.from));
            }
        }
        let _ = door.sender.send(work);
    }

    /// Stops what a person said in a topic and what is not in the queue yet. `true` when there was something.
    fn stop(&self, address: Address, from: i64) -> bool {
        let unpublished = self.lines().get(&address).map(|it| Arc::clone(&it.unpublished));
        unpublished.is_some_and(|it| !it.stop(from, |ids| self.inbox.close(ids)).is_empty())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Address, Door>> {
        self.lines.lock().unwrap_or_else(|it| it.into_inner())
    }

    fn open_line(&self) -> Door {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (unpublished, backlog) = (Arc::<Unpublished>::default(), Arc::clone(&self.backlog));
        let handlers = Arc::clone(&self.handlers);
        let line = TopicLine::new(handlers, receiver, Arc::clone(&unpublished), backlog);
        tokio::spawn(line.run());
        Door { sender, unpublished }
    }
}

/// The keys of everything in the queue.
pub(crate) fn known_keys(view: &View) -> Result<HashSet<Key>, LookError> {
    Ok(view.keys("")?.into_iter().collect())
}

/// Whether it is a message that is published as it is. What a command or a button does besides is done again.
fn is_message(update: &Update) -> bool {
    matches!(decode(update.id, &update.raw), Event::Message(said) if !is_command(&said))
}
