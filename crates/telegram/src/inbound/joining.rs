//! One topic's updates, in the order in which they came, and what belongs together in them joined: albums, a text that a
//! client cut to pieces, and messages that a person sends in one go, such as some that are forwarded with a word about
//! them. What others say in between belongs to it as little as it ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tinyclaw_domain::for_the_running_turn;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bot::Bot;
use crate::commands::{Commands, table};
use crate::inbound::compose::Composer;
use crate::inbound::decode::{Event, UserMessage};
use crate::inbound::unpublished::Unpublished;
use crate::inbound::updates::Inbox;
use crate::settings::Timing;
use crate::text;

/// A client cuts texts at 4,096 units; what is about as long may have a second half.
const SPLIT_UNITS_MIN: usize = 4000;
/// More pieces than this are no longer one message.
const PIECES_MAX: usize = 12;
/// The pieces of a text lie no further apart than this, by Telegram's clock, which counts seconds;
const SPLIT_APART_MS: u64 = 2000;
/// and messages that are sent in one go no further than this.
const BURST_APART_MS: u64 = 1000;

/// What waits in a topic.
pub(crate) enum Work {
    /// One update.
    One(i64, Event),
    /// Updates that were joined before and belong together.
    Joined(Vec<UserMessage>),
}

/// Who deals with what is said in a topic, of all topics.
pub(crate) struct Handlers {
    pub(crate) bot: Arc<Bot>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) composer: Composer,
    pub(crate) commands: Arc<Commands>,
    pub(crate) timing: Timing,
}

/// One topic's line. Its task alone touches it, so it needs no lock.
pub(crate) struct TopicLine {
    handlers: Arc<Handlers>,
    receiver: mpsc::UnboundedReceiver<Work>,
    /// What was said here and is not published.
    unpublished: Arc<Unpublished>,
    /// How many updates are not dealt with, of all topics.
    backlog: Arc<AtomicUsize>,
    /// What is not dealt with here, the oldest first: nothing overtakes.
    line: VecDeque<Entry>,
}

/// One thing in a topic's line.
enum Entry {
    /// What a person says in one go.
    Group(Group),
    /// A command, an edit, a change of the topic. It waits for what came before it, and for nothing else.
    Event(i64, Event),
}

/// What a person says in one go, which may have more pieces.
struct Group {
    pieces: Vec<UserMessage>,
    /// Updates that changed a piece, and are dealt with when the pieces are.
    edits: Vec<i64>,
    first_at: Instant,
    last_at: Instant,
    /// Nothing more is waited for.
    is_whole: bool,
}

impl Group {
    fn new(pieces: Vec<UserMessage>, is_whole: bool) -> Group {
        let now = Instant::now();
        Group { pieces, edits: Vec::new(), first_at: now, last_at: now, is_whole }
    }

    fn is_of(&self, person: i64) -> bool {
        self.pieces.first().is_some_and(|it| it.from == person)
    }

    /// Whether this, of the same person, is the next piece.
    fn takes(&self, said: &UserMessage, handlers: &Handlers) -> bool {
        let (Some(first), Some(last)) = (self.pieces.first(), self.pieces.last()) else {
            return false;
        };
        if self.is_whole {
            return false;
        }
        if said.album.is_some() && self.pieces.iter().any(|it| it.album == said.album) {
            return true;
        }
        // An answer to something else is about something else.
        let about_the_same = said.reply.is_none() || said.reply == first.reply;
        let apart_ms = said.at_ms.saturating_sub(last.at_ms);
        if is_cut(last) {
            return about_the_same && apart_ms <= SPLIT_APART_MS;
        }
        // That does not wait in line with what came before it.
        if for_the_running_turn(&said.text).is_some() {
            return false;
        }
        // One that only waits for others to go first is complete.
        about_the_same && apart_ms <= BURST_APART_MS && Instant::now() < self.deadline(handlers)
    }

    /// When nothing more is waited for.
    fn deadline(&self, handlers: &Handlers) -> Instant {
        let Some(last) = self.pieces.last().filter(|_| !self.is_whole) else { return self.last_at };
        if is_cut(last) {
            return self.last_at + handlers.timing.split_gap;
        }
        let burst = Duration::from_millis(handlers.bot.settings.current().1.burst_ms);
        let has_album = self.pieces.iter().any(|it| it.album.is_some());
        let gap = if has_album { handlers.timing.album_gap.max(burst) } else { burst };
        (self.last_at + gap).min(self.first_at + handlers.timing.join_max)
    }
}

impl TopicLine {
    pub(crate) fn new(
        handlers: Arc<Handlers>,
        receiver: mpsc::UnboundedReceiver<Work>,
        unpublished: Arc<Unpublished>,
        backlog: Arc<AtomicUsize>,
    ) -> TopicLine {
        TopicLine { handlers, receiver, unpublished, backlog, line: VecDeque::new() }
    }

    /// Works until nobody can send anything any more.
    pub(crate) async fn run(mut self) {
        loop {
            // While something was dealt with, more of what waits may have come.
            while let Ok(work) = self.receiver.try_recv() {
                self.put(work);
            }
            if let Some(entry) = self.take_ready() {
                self.deal_with(entry).await;
                continue;
            }
            let ids: Vec<i64> = self.groups().flat_map(|it| ids_of(&it.pieces)).collect();
            // The first in line is a group: whatever else is there is ready.
            let deadline = self.groups().next().map(|it| it.deadline(&self.handlers));
            let deadline = async {
                match deadline {
                    Some(it) => tokio::time::sleep_until(it).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.unpublished.stopped(&ids) => self.drop_stopped(),
                work = self.receiver.recv() => match work {
                    Some(work) => self.put(work),
                    None => return,
                },
                () = deadline => {}
            }
        }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.line.iter().filter_map(|it| match it {
            Entry::Group(group) => Some(group),
            Entry::Event(..) => None,
        })
    }

    /// Puts something where it belongs in the line.
    fn put(&mut self, work: Work) {
        match work {
            Work::Joined(pieces) => self.line.push_back(Entry::Group(Group::new(pieces, true))),
            Work::One(id, Event::Message(said)) => {
                if is_command(&said) {
                    // Who commands has said what came before.
                    if let Some(group) = self.last_of(said.from) {
                        group.is_whole = true;
                    }
                    self.line.push_back(Entry::Event(id, Event::Message(said)));
                } else {
                    self.join(*said);
                }
            }
            Work::One(id, Event::Edited(said)) => {
                if let Some(said) = self.replace(id, said) {
                    self.line.push_back(Entry::Event(id, Event::Edited(said)));
                }
            }
            Work::One(id, event) => self.line.push_back(Entry::Event(id, event)),
        }
    }

    /// The newest group of a person.
    fn last_of(&mut self, person: i64) -> Option<&mut Group> {
        self.line.iter_mut().rev().find_map(|it| match it {
            Entry::Group(group) if group.is_of(person) => Some(group),
            _ => None,
        })
    }

    fn join(&mut self, said: UserMessage) {
        let (from, handlers) = (said.from, Arc::clone(&self.handlers));
        match self.last_of(from) {
            Some(group) if group.takes(&said, &handlers) => {
                group.pieces.push(said);
                group.last_at = Instant::now();
            }
            other => {
                if let Some(group) = other {
                    group.is_whole = true;
                }
                self.line.push_back(Entry::Group(Group::new(vec![said], false)));
            }
        }
        if let Some(group) = self.last_of(from) {
            group.is_whole |=
                group.pieces.len() == PIECES_MAX || group.deadline(&handlers) <= group.last_at;
        }
    }

    /// Changes what waits here. Gives the edit back when it is about something else, or makes a command of it.
    fn replace(&mut self, id: i64, said: Box<UserMessage>) -> Option<Box<UserMessage>> {
        let is_it = |it: &UserMessage| (it.address, it.message) == (said.address, said.message);
        let group = self.line.iter_mut().find_map(|it| match it {
            Entry::Group(group) if group.pieces.iter().any(is_it) => Some(group),
            _ => None,
        });
        let Some(group) = group else { return Some(said) };
        let Some(at) = group.pieces.iter().position(is_it) else { return Some(said) };
        let mut changed = group.pieces[at].clone();
        changed.text.clone_from(&said.text);
        if !is_command(&changed) {
            group.pieces[at] = changed;
            group.edits.push(id);
            return None;
        }
        // It is asked no more; what it has become is obeyed in its turn.
        group.pieces.remove(at);
        let mut over = vec![changed.update];
        if group.pieces.is_empty() {
            over.append(&mut group.edits);
            self.line.retain(|it| !matches!(it, Entry::Group(group) if group.pieces.is_empty()));
        }
        self.unpublished.release(&[changed.update]);
        self.end(&over);
        Some(said)
    }

    /// The first in line, when nothing more is waited for.
    fn take_ready(&mut self) -> Option<Entry> {
        let is_ready = match self.line.front()? {
            Entry::Group(group) => {
                group.is_whole || group.deadline(&self.handlers) <= Instant::now()
            }
            Entry::Event(..) => true,
        };
        if is_ready { self.line.pop_front() } else { None }
    }

    /// Takes out of the line what was stopped. What the same person has said since stays where it is.
    fn drop_stopped(&mut self) {
        for mut entry in std::mem::take(&mut self.line) {
            if let Entry::Group(group) = &mut entry {
                let gone = self.unpublished.unless_stopped(&ids_of(&group.pieces), || {});
                let (gone, rest): (Vec<UserMessage>, Vec<UserMessage>) =
                    std::mem::take(&mut group.pieces)
                        .into_iter()
                        .partition(|it| gone.contains(&it.update));
                self.end(&ids_of(&gone));
                self.unlook(&gone, 0);
                if rest.is_empty() {
                    self.end(&group.edits);
                    continue;
                }
                group.pieces = rest;
            }
            self.line.push_back(entry);
        }
    }

    async fn deal_with(&mut self, entry: Entry) {
        match entry {
            Entry::Group(group) => {
                self.publish(group.pieces).await;
                self.end(&group.edits);
            }
            Entry::Event(id, event) => {
                match event {
                    Event::Message(said) => self.handlers.commands.run(*said).await,
                    Event::Edited(said) if is_command(&said) && said.is_recent() => {
                        self.handlers.commands.run(*said).await;
                    }
                    Event::Edited(said) => self.handlers.composer.edited(*said).await,
                    Event::Topic { by, address, change } => {
                        self.handlers.composer.topic_changed(id, by, address, change).await;
                    }
                    _ => {}
                }
                self.end(&[id]);
            }
        }
    }

    /// Makes one message of the pieces and publishes it, unless who said them stops it before.
    async fn publish(&self, mut pieces: Vec<UserMessage>) {
        while !pieces.is_empty() {
            let ids = ids_of(&pieces);
            let mut stopped = self.unpublished.unless_stopped(&ids, || self.group(&ids));
            if stopped.is_empty() {
                let prepared = tokio::select! {
                    it = self.handlers.composer.prepare(&pieces) => it,
                    () = self.unpublished.stopped(&ids) => None,
                };
                stopped = self.unpublished.release(&ids);
                if stopped.is_empty() {
                    if let Some(prepared) = prepared {
                        self.handlers.composer.publish(&pieces, prepared).await;
                    }
                    self.end(&ids);
                    self.unlook(&pieces, 1);
                    return;
                }
            }
            let (gone, rest): (Vec<UserMessage>, Vec<UserMessage>) =
                pieces.into_iter().partition(|it| stopped.contains(&it.update));
            self.end(&ids_of(&gone));
            self.unlook(&gone, 0);
            pieces = rest;
        }
    }

    /// These are one message, whatever happens before it is published.
    fn group(&self, ids: &[i64]) {
        if ids.len() > 1
            && let Err(err) = tokio::task::block_in_place(|| self.handlers.inbox.group(ids))
        {
            tracing::error!("cannot keep that updates {ids:?} belong together: {err}");
        }
    }

    /// Takes the 👀 off all pieces but the first `shown`: how it goes is shown there, and elsewhere they would stay for
    /// ever.
    fn unlook(&self, pieces: &[UserMessage], shown: usize) {
        let looked_at = pieces
            .iter()
            .enumerate()
            .filter(|(at, it)| *at == 0 || it.album.is_none() || it.album != pieces[at - 1].album);
        for (_, other) in looked_at.skip(shown) {
            self.handlers.bot.react(other.address.chat, other.message, None);
        }
    }

    fn end(&self, ids: &[i64]) {
        if ids.is_empty() {
            return;
        }
        self.handlers.inbox.close(ids);
        self.backlog.fetch_sub(ids.len(), Ordering::Relaxed);
    }
}

fn ids_of(pieces: &[UserMessage]) -> Vec<i64> {
    pieces.iter().map(|it| it.update).collect()
}

/// A client may have cut this, and the rest comes next.
fn is_cut(said: &UserMessage) -> bool {
    said.album.is_none() && text::units(&said.text) >= SPLIT_UNITS_MIN
}

pub(crate) fn is_command(said: &UserMessage) -> bool {
    table::is_command(&said.text) && said.files.is_empty()
}
