//! Where updates come in: strangers get silence, buttons and `/stop` wait for nobody, everything else goes to its
//! topic's [`Room`](crate::inbound::joining::Room), in order.
//!
//! Every update that comes here lies in `updates/` and stays there until what it says is in the queue under its key,
//! so dying at any point repeats nothing and loses nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tinyclaw_domain::Key;
use tinyclaw_queue::Place;
use tokio::sync::mpsc;

use crate::bot::addresses::Address;
use crate::buttons;
use crate::commands::run;
use crate::commands::table;
use crate::face::Face;
use crate::inbound::access::Unheard;
use crate::inbound::compose::key_of;
use crate::inbound::decode::{Event, Said, hear};
use crate::inbound::joining::{Room, Work, is_command};
use crate::inbound::unpublished::Held;
use crate::inbound::updates::{Left, Update};

/// Polling waits while so many updates are not dealt with.
const BACKLOG_MAX: usize = 500;
/// Albums whose first part has its 👀.
const ALBUMS_MAX: usize = 32;
/// Commands whose words are remembered, to know them again when they are edited.
const COMMANDS_MAX: usize = 256;

pub(crate) struct Intake {
    face: Arc<Face>,
    rooms: Mutex<HashMap<Address, Door>>,
    albums: Mutex<VecDeque<String>>,
    /// By chat and message, the newest last.
    commands: Mutex<VecDeque<(i64, i32, String)>>,
    backlog: Arc<AtomicUsize>,
    unheard: Unheard,
}

/// The way into a room.
struct Door {
    sender: mpsc::UnboundedSender<Work>,
    held: Arc<Held>,
}

impl Intake {
    pub(crate) fn new(face: Arc<Face>) -> Intake {
        Intake {
            face,
            rooms: Mutex::default(),
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
    /// after it would be taken for a part of it, and be lost with it.
    pub(crate) fn take_left(&self, left: Left, published: &HashSet<Key>) {
        for updates in left.updates {
            match updates.as_slice() {
                [one]
                    if is_message(one)
                        && key_of(one.id).is_some_and(|it| published.contains(&it)) =>
                {
                    self.nothing(one.id, "published by an earlier process");
                }
                _ => self.take(updates),
            }
        }
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
                if is_command(&said) {
                    self.remember_command(&said);
                }
                if table::is_stop(&said.text, &self.face.bot.username) {
                    let face = Arc::clone(&self.face);
                    let stopped = self.stop(said.address, said.from);
                    self.aside(id, async move { run::stop(&face, *said, stopped).await });
                } else {
                    self.put(said.address, 1, Work::One(id, Event::Said(said)));
                }
            }
            Event::Edited(said) if self.may(said.from, said.address) => self.edited(id, said),
            Event::Pressed(press) => {
                let chat = press.address.map_or(0, |it| it.chat);
                if self.face.people().may_speak(press.from, chat) {
                    let face = Arc::clone(&self.face);
                    self.aside(id, async move { buttons::run(&face, press).await });
                } else {
                    self.unheard.note(press.from, chat, "a button");
                    self.nothing(id, "a button pressed by a stranger");
                }
            }
            Event::Topic { by, address, change } => {
                // What we did ourselves we know. A topic is a thread, and its name goes into prompts: only who may speak
                // makes or changes one, be it a stranger, another bot, or an admin of the group who hides their name.
                if by == self.face.bot.id {
                    self.nothing(id, "a change of a topic by us");
                } else if self.may(by, address) {
                    self.put(address, 1, Work::One(id, Event::Topic { by, address, change }));
                } else {
                    self.unheard.note(by, address.chat, "a change of a topic");
                    self.nothing(id, "a topic of a stranger's");
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
                    self.aside(id, async move { buttons::leave(&face, chat).await });
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
                self.unheard.note(said.from, said.address.chat, "a message");
                self.nothing(id, "a stranger");
            }
            Event::Anonymous { chat } => {
                if self.face.people().is_our_chat(chat) {
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
    fn edited(&self, id: i64, said: Box<Said>) {
        let before = self.command_before(&said);
        if before.as_ref() == Some(&said.text) {
            // Telegram tells of edits that nobody made.
            return self.nothing(id, "an edit that changes no word of a command");
        }
        let is_stop = table::is_stop(&said.text, &self.face.bot.username) && said.is_recent();
        if before.is_some() || is_stop {
            self.forget_command(&said);
            self.take_one(id, Event::Said(said));
        } else {
            self.put(said.address, 1, Work::One(id, Event::Edited(said)));
        }
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<(i64, i32, String)>> {
        self.commands.lock().unwrap_or_else(|it| it.into_inner())
    }

    fn forget_command(&self, said: &Said) {
        let at = (said.address.chat, said.message);
        self.commands().retain(|it| (it.0, it.1) != at);
    }

    fn remember_command(&self, said: &Said) {
        self.forget_command(said);
        let mut commands = self.commands();
        commands.push_back((said.address.chat, said.message, said.text.clone()));
        while commands.len() > COMMANDS_MAX {
            commands.pop_front();
        }
    }

    /// What a message said when it was a command.
    fn command_before(&self, said: &Said) -> Option<String> {
        let at = (said.address.chat, said.message);
        self.commands().iter().find(|it| (it.0, it.1) == at).map(|it| it.2.clone())
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
        self.face.react(said.address.chat, said.message, Some("👀"));
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
        let mut rooms = self.rooms();
        let door = rooms.entry(address).or_insert_with(|| self.open_room());
        if door.sender.is_closed() {
            // A room that panicked takes nothing any more; what it had lies in updates/ until the next start.
            tracing::error!("topic {address:?} is taken up again");
            *door = self.open_room();
        }
        match &work {
            Work::One(id, Event::Said(said)) if !is_command(said) => door.held.put(*id, said.from),
            Work::One(..) => {}
            Work::Joined(pieces) => {
                pieces.iter().for_each(|it| door.held.put(it.update, it.from));
            }
        }
        let _ = door.sender.send(work);
    }

    /// Stops what a person said in a topic and what is not in the queue yet. `true` when there was something.
    fn stop(&self, address: Address, from: i64) -> bool {
        let held = self.rooms().get(&address).map(|it| Arc::clone(&it.held));
        held.is_some_and(|it| !it.stop(from, |ids| finish(&self.face, ids)).is_empty())
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Address, Door>> {
        self.rooms.lock().unwrap_or_else(|it| it.into_inner())
    }

    fn open_room(&self) -> Door {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (held, backlog) = (Arc::<Held>::default(), Arc::clone(&self.backlog));
        let room = Room::new(Arc::clone(&self.face), receiver, Arc::clone(&held), backlog);
        tokio::spawn(room.run());
        Door { sender, held }
    }
}

/// The keys of everything in the queue.
pub(crate) fn known_keys(face: &Face) -> std::io::Result<HashSet<Key>> {
    let mut keys = HashSet::new();
    for place in Place::ALL {
        keys.extend(face.view.list(place, usize::MAX)?.into_iter().map(|it| it.key));
    }
    Ok(keys)
}

/// Whether it is a message that is published as it is. What a command or a button does besides is done again.
fn is_message(update: &Update) -> bool {
    matches!(hear(update.id, &update.raw), Event::Said(said) if !is_command(&said))
}

/// These updates are dealt with.
pub(crate) fn finish(face: &Face, ids: &[i64]) {
    if let Err(err) = tokio::task::block_in_place(|| face.inbox.finish(ids)) {
        tracing::error!("updates {ids:?} are dealt with, but cannot be marked so: {err}");
    }
}
