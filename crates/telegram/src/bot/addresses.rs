//! `telegram.json`: what this service has to remember over a restart and nobody else knows.
//!
//! Where each thread lives in Telegram now, where polling goes on, which message became which key, and which model wrote
//! which answer. Addresses are flushed when they change; everything else is written now and then: the queue's keys, not this
//! file, keep messages from being repeated. Whatever is written is flushed, because a file that was not may be empty after a
//! power cut, and would have taken the flushed one's place.
//!
//! `telegram.json.last` is the copy from the last start or change of an address. It counts when `telegram.json` is damaged;
//! with neither of them nothing is begun, because an office that forgot where its threads live answers in the wrong places.

mod pages;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Map;
use tinyclaw_disk::{DiskError, Flush};
use tinyclaw_domain::checksum::Checked;
use tinyclaw_domain::{Key, Model, ThreadId};

pub use self::pages::PagesError;
use self::pages::{Heard, Kept, Pages, Sent, ThreadEntry, VERSION};

/// Update ids may begin anew after a week without updates; an offset this old is not sent.
const OFFSET_AGE_MAX: Duration = Duration::from_secs(6 * 24 * 3600);
/// A chat migrates once; more hops than a few would be a circle.
const HOPS_MAX: usize = 4;
/// So many messages are remembered, of people and of ours.
const MESSAGES_MAX: usize = 1000;

/// A place in Telegram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The chat.
    pub chat: i64,
    /// The topic; none in General, in a private chat and in a group without topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<i32>,
}

impl Address {
    /// The number by which the rate limit tells topics of one chat apart.
    pub fn lane(self) -> i64 {
        self.topic.unwrap_or(1).into()
    }

    /// Where a tap leads there. Only supergroups have such addresses.
    pub fn link(self) -> Option<String> {
        let number = self.chat.checked_neg()?.checked_sub(1_000_000_000_000)?;
        (number > 0).then(|| format!("https://t.me/c/{number}/{}", self.topic.unwrap_or(1)))
    }
}

/// The address book, shared by everything in this process.
#[derive(Debug)]
pub struct AddressBook {
    path: PathBuf,
    /// Guards what is known. Held for a look or a change, never while a file is written.
    state: Mutex<State>,
    /// Guards the file, and is held while it is written, which may take long: nobody who only asks waits for a disk. Taken
    /// before `state`.
    writing: Mutex<()>,
}

/// Why the address book cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AddressBookError {
    /// The disk does not give it.
    #[error(transparent)]
    Unreadable(PagesError),
    /// It is no book any more, and neither is its copy.
    #[error(
        "{shown} cannot be used: mend it, or take it from a backup; to begin anew remove it and {shown}.last, after which \
         topics that were made anew are taken for new threads",
        shown = path.display()
    )]
    Lost {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: PagesError,
    },
    /// It could not be set aside, or not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[derive(Debug, Default)]
struct State {
    pages: Pages,
    dirty: bool,
    /// Whether a checksum vouched for what was read.
    is_vouched: bool,
    /// The newest message known in each chat.
    newest: BTreeMap<i64, i64>,
}

impl AddressBook {
    /// Opens the address book at `path`, and says what a person should know about it.
    ///
    /// A damaged one is set aside as `telegram.json.bad`, and its copy counts. Without a good copy it is an error: nothing is
    /// begun anew unasked.
    pub fn open(path: &Path) -> Result<(AddressBook, Vec<String>), AddressBookError> {
        let (shown, last) = (path.display(), with_ending(path, "last"));
        let mut notes = Vec::new();
        let read = match Pages::read(path) {
            Ok(Some(read)) => Some(read),
            Err(err @ PagesError::Read { .. }) => return Err(AddressBookError::Unreadable(err)),
            Ok(None) => {
                let copy = Pages::read(&last).map_err(AddressBookError::Unreadable)?;
                if copy.is_some() {
                    notes.push(format!("{shown} was not there, so {} counts", last.display()));
                }
                copy
            }
            Err(source) => match Pages::read(&last) {
                Ok(Some(copy)) => {
                    let bad = with_ending(path, "bad");
                    tinyclaw_disk::rename(path, &bad)?;
                    notes.push(format!(
                        "{:#}; it was set aside as {}, and {} counts",
                        anyhow::Error::from(source),
                        bad.display(),
                        last.display()
                    ));
                    Some(copy)
                }
                _ => return Err(AddressBookError::Lost { path: path.to_owned(), source }),
            },
        };
        let is_vouched = matches!(read, Some((_, Checked::Whole)));
        let has_read = read.is_some();
        let mut pages = read.map(|it| it.0).unwrap_or_default();
        pages.v = pages.v.max(VERSION);
        if pages.v > VERSION {
            notes.push(format!(
                "{shown} is of a later version of TinyClaw ({}, this one knows {VERSION}): what is not known is kept as it is",
                pages.v
            ));
        }
        let state = State { pages, is_vouched, ..State::default() };
        let book = AddressBook {
            path: path.to_owned(),
            state: Mutex::new(state),
            writing: Mutex::default(),
        };
        if has_read && let Err(err) = book.write(Copies::Two) {
            // A full disk now is no reason to be silent: it is tried again every second.
            tracing::error!("{:#}", anyhow::Error::from(err));
        }
        Ok((book, notes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// From where to ask for updates, if what we know is fresh enough to be true.
    pub fn offset(&self, now_ms: u64) -> Option<i64> {
        let state = self.state();
        let age = Duration::from_millis(now_ms.saturating_sub(state.pages.offset_at));
        state.pages.offset.filter(|_| age < OFFSET_AGE_MAX)
    }

    /// Holds the offset against the update that came last: a higher one would make Telegram forget what nobody has heard,
    /// and without any the next poll gets what was not confirmed. Gives the offset that is not believed.
    pub fn doubt_offset(&self, newest: Option<i64>) -> Option<i64> {
        let mut state = self.state();
        let offset = state.pages.offset?;
        let is_good = match newest {
            Some(newest) => offset <= newest.saturating_add(1),
            None => state.is_vouched,
        };
        if is_good && offset > 0 {
            return None;
        }
        (state.pages.offset, state.dirty) = (None, true);
        Some(offset)
    }

    /// The next poll asks for this update again, should Telegram still have it.
    pub fn ask_again(&self, update: i64) {
        let mut state = self.state();
        if state.pages.offset.is_some_and(|it| it > update) {
            (state.pages.offset, state.dirty) = (Some(update), true);
        }
    }

    /// The next poll asks from here on.
    pub fn set_offset(&self, offset: i64, now_ms: u64) {
        let mut state = self.state();
        (state.pages.offset, state.pages.offset_at, state.dirty) = (Some(offset), now_ms, true);
    }

    /// The id a chat has now.
    pub fn present(&self, chat: i64) -> i64 {
        let state = self.state();
        let mut chat = chat;
        for _ in 0..HOPS_MAX {
            match state.pages.migrated.get(&chat) {
                Some(to) => chat = *to,
                None => break,
            }
        }
        chat
    }

    /// Where a thread lives. `home` is the home forum's present id.
    pub fn address(&self, thread: &ThreadId, home: Option<i64>) -> Option<Address> {
        let known = self.state().pages.threads.get(thread).map(|it| it.address);
        let address = known.or_else(|| born_at(thread, home))?;
        Some(Address { chat: self.present(address.chat), ..address })
    }

    /// Which thread lives there: the one that moved there, or the one that was born there.
    pub fn thread_at(&self, address: Address, home: Option<i64>) -> Option<ThreadId> {
        let state = self.state();
        let moved = state.pages.threads.iter().find(|(_, it)| it.address == address);
        if let Some((thread, _)) = moved {
            return Some(thread.clone());
        }
        if Some(address.chat) == home {
            return name_of(address, home);
        }
        // A thread keeps the name that it was born with, whatever its group has become since.
        let mut chat = address.chat;
        for _ in 0..HOPS_MAX {
            match state.pages.migrated.iter().find(|(_, to)| **to == chat) {
                Some((from, _)) => chat = *from,
                None => break,
            }
        }
        name_of(Address { chat, ..address }, home)
    }

    /// A thread lives there from now on. Flushed when this returns.
    pub fn bind(&self, thread: &ThreadId, address: Address) -> Result<(), DiskError> {
        self.state().settle(thread, address, None);
        self.write(Copies::Two)
    }

    /// What a thread's topic is called.
    pub fn set_name(&self, thread: &ThreadId, address: Address, name: &str) {
        self.state().settle(thread, address, Some(name));
    }

    /// What a thread's topic was called when it was last heard of.
    pub fn name(&self, thread: &ThreadId) -> Option<String> {
        self.state().pages.threads.get(thread).and_then(|it| it.name.clone())
    }

    /// A group has become a supergroup: every thread in it moves along. Flushed when this returns.
    pub fn migrate(&self, from: i64, to: i64) -> Result<(), DiskError> {
        {
            let mut state = self.state();
            if from == to || state.pages.migrated.get(&from) == Some(&to) {
                return Ok(());
            }
            state.pages.migrated.insert(from, to);
            for entry in state.pages.threads.values_mut() {
                if entry.address.chat == from {
                    entry.address.chat = to;
                }
            }
            state.dirty = true;
        }
        self.write(Copies::Two)
    }

    /// A person's message became the message of this key.
    pub fn heard(&self, chat: i64, id: i32, key: &Key) {
        self.saw(chat, id.into());
        let mut state = self.state();
        let heard = Heard { chat, id, key: key.clone(), extra: Map::new() };
        state.pages.heard.push_back(Kept::Known(heard));
        while state.pages.heard.len() > MESSAGES_MAX {
            state.pages.heard.pop_front();
        }
        state.dirty = true;
    }

    /// Which key a person's message became.
    pub fn key_of(&self, chat: i64, id: i32) -> Option<Key> {
        let state = self.state();
        let found = state.heard().rev().find(|it| it.chat == chat && it.id == id);
        found.map(|it| it.key.clone())
    }

    /// How many messages of a person became the message of this key, as far as we remember.
    pub fn pieces_of(&self, key: &Key) -> usize {
        let state = self.state();
        let pieces = state.heard().filter(|it| it.key == *key);
        pieces.map(|it| (it.chat, it.id)).collect::<HashSet<_>>().len()
    }

    /// There is a message of this id, whoever wrote it.
    pub fn saw(&self, chat: i64, id: i64) {
        let mut state = self.state();
        let newest = state.newest.entry(chat).or_default();
        *newest = id.max(*newest);
    }

    /// The newest message that we know of in a chat, or 0.
    pub fn newest(&self, chat: i64) -> i64 {
        self.state().newest.get(&chat).copied().unwrap_or_default()
    }

    /// Whether we remember whose message this is.
    pub fn knows(&self, chat: i64, id: i64) -> bool {
        let state = self.state();
        let ours = || state.said().any(|it| it.chat == chat && it.id == id);
        ours() || state.heard().any(|it| it.chat == chat && i64::from(it.id) == id)
    }

    /// A message of ours, the model that wrote it, and the message that it answers.
    pub fn said(&self, chat: i64, id: i64, model: Option<Model>, to: Option<&Key>) {
        self.saw(chat, id);
        let mut state = self.state();
        let (model, to) = (model.map(Kept::Known), to.cloned().map(Kept::Known));
        let sent = Sent { chat, id, model, to, extra: Map::new() };
        state.pages.said.push_back(Kept::Known(sent));
        while state.pages.said.len() > MESSAGES_MAX {
            state.pages.said.pop_front();
        }
        state.dirty = true;
    }

    /// Which model wrote a message of ours.
    pub fn model_of(&self, chat: i64, id: i64) -> Option<Model> {
        let state = self.state();
        let said = state.said().rev().find(|it| it.chat == chat && it.id == id)?;
        said.model.as_ref()?.known().copied()
    }

    /// Which message a message of ours answers.
    pub fn answered_by(&self, chat: i64, id: i64) -> Option<Key> {
        let state = self.state();
        let said = state.said().rev().find(|it| it.chat == chat && it.id == id)?;
        said.to.as_ref()?.known().cloned()
    }

    /// Begins to create a topic on behalf of `key`. `false` when that was begun before and nobody knows how it ended.
    pub fn begin_topic(&self, key: &Key, name: &str) -> Result<bool, DiskError> {
        {
            let mut state = self.state();
            if state.pages.creating.contains_key(key) {
                return Ok(false);
            }
            state.pages.creating.insert(key.clone(), name.to_owned());
            state.dirty = true;
        }
        self.write(Copies::Two)?;
        Ok(true)
    }

    /// The creation of a topic ended, well or not.
    pub fn end_topic(&self, key: &Key) {
        let mut state = self.state();
        state.pages.creating.remove(key);
        state.dirty = true;
    }

    /// Whether these commands still have to be registered; they count as registered from now on.
    pub fn take_commands(&self, commands: &str) -> bool {
        let mut state = self.state();
        if state.pages.commands == commands {
            return false;
        }
        commands.clone_into(&mut state.pages.commands);
        state.dirty = true;
        true
    }

    /// The commands could not be registered: they are tried again with the next start.
    pub fn forget_commands(&self) {
        self.state().pages.commands.clear();
    }

    /// Writes the file if something changed since it was last written. Flushed.
    pub fn save(&self) -> Result<(), DiskError> {
        if !self.state().dirty {
            return Ok(());
        }
        self.write(Copies::One)
    }

    /// Writes the file as things are now. The one before stays whole until this one is on the disk.
    fn write(&self, copies: Copies) -> Result<(), DiskError> {
        let _writing = self.writing.lock().unwrap_or_else(|it| it.into_inner());
        let bytes = {
            let mut state = self.state();
            state.dirty = false;
            state.pages.to_bytes()
        };
        let written = bytes
            .map_err(|source| DiskError { step: "write", path: self.path.clone(), source })
            .and_then(|bytes| {
                tinyclaw_disk::replace(&self.path, &bytes, Flush::Strict)?;
                if copies == Copies::Two {
                    tinyclaw_disk::replace(
                        &with_ending(&self.path, "last"),
                        &bytes,
                        Flush::Strict,
                    )?;
                }
                Ok(())
            });
        if written.is_err() {
            self.state().dirty = true;
        }
        written
    }
}

/// How often what is known is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    One,
    /// Its copy too: an address changed.
    Two,
}

impl State {
    /// A thread lives there from now on; with a name, its topic is called so.
    fn settle(&mut self, thread: &ThreadId, address: Address, name: Option<&str>) {
        let before = self.pages.threads.remove(thread);
        let (old, extra) = before.map(|it| (it.name, it.extra)).unwrap_or_default();
        let name = name.map(str::to_owned).or(old);
        self.pages.threads.insert(thread.clone(), ThreadEntry { address, name, extra });
        self.dirty = true;
    }

    fn heard(&self) -> impl DoubleEndedIterator<Item = &Heard> {
        self.pages.heard.iter().filter_map(Kept::known)
    }

    fn said(&self) -> impl DoubleEndedIterator<Item = &Sent> {
        self.pages.said.iter().filter_map(Kept::known)
    }
}

/// `telegram.json` and, behind a dot, another word.
fn with_ending(path: &Path, word: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    path.with_file_name(name)
}

/// Where a thread was born, as its name says.
fn born_at(thread: &ThreadId, home: Option<i64>) -> Option<Address> {
    if let Some(number) = thread.number() {
        let topic = (number != 1).then_some(number).map(i32::try_from).transpose().ok()?;
        return Some(Address { chat: home?, topic });
    }
    if let Some(user) = thread.as_str().strip_prefix('u') {
        return Some(Address { chat: user.parse().ok().filter(|it| *it > 0)?, topic: None });
    }
    let (chat, topic) = thread.as_str().strip_prefix('g')?.rsplit_once('.')?;
    let topic: i32 = topic.parse().ok()?;
    Some(Address { chat: chat.parse().ok()?, topic: (topic != 1).then_some(topic) })
}

/// The name of a thread that is born there.
fn name_of(address: Address, home: Option<i64>) -> Option<ThreadId> {
    let topic = address.topic.unwrap_or(1);
    if address.chat > 0 {
        return format!("u{}", address.chat).parse().ok();
    }
    if Some(address.chat) == home {
        return Some(ThreadId::topic(topic.try_into().ok()?));
    }
    format!("g{}.{topic}", address.chat).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: i64 = -1001;

    fn book(dir: &tempfile::TempDir) -> AddressBook {
        AddressBook::open(&dir.path().join("telegram.json")).unwrap().0
    }

    #[test]
    fn a_threads_name_says_where_it_was_born() {
        let dir = tempfile::tempdir().unwrap();
        let book = book(&dir);
        for (name, chat, topic) in [
            ("1", HOME, None),
            ("42", HOME, Some(42)),
            ("u7", 7, None),
            ("g-1002.5", -1002, Some(5)),
            ("g-5.1", -5, None),
        ] {
            let thread: ThreadId = name.parse().unwrap();
            let address = Address { chat, topic };
            assert_eq!(book.address(&thread, Some(HOME)), Some(address), "{name}");
            assert_eq!(book.thread_at(address, Some(HOME)), Some(thread), "{name}");
        }
        assert_eq!(book.address(&"cli".parse().unwrap(), Some(HOME)), None);
    }

    #[test]
    fn a_supergroups_topics_have_addresses() {
        let link = |chat, topic| Address { chat, topic }.link();
        let there = "https://t.me/c/1/7".to_owned();
        assert_eq!(link(-1_000_000_000_001, Some(7)), Some(there));
        assert_eq!((link(-5, None), link(101, None), link(i64::MIN, None)), (None, None, None));
    }

    #[test]
    fn a_topic_made_anew_keeps_its_thread_over_a_restart_and_a_migration() {
        let dir = tempfile::tempdir().unwrap();
        let (thread, there) = (ThreadId::topic(42), Address { chat: HOME, topic: Some(99) });
        book(&dir).bind(&thread, there).unwrap();
        let again = book(&dir);
        assert_eq!(again.thread_at(there, Some(HOME)), Some(thread.clone()));
        again.migrate(HOME, -1009).unwrap();
        let last = book(&dir);
        let moved = Address { chat: -1009, topic: Some(99) };
        assert_eq!(last.address(&thread, Some(last.present(HOME))), Some(moved));
        assert_eq!(last.thread_at(moved, Some(last.present(HOME))), Some(thread));
    }

    #[test]
    fn a_thread_of_a_group_that_moved_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let book = book(&dir);
        let (old, new) = (Address { chat: -5, topic: None }, Address { chat: -1005, topic: None });
        let thread = book.thread_at(old, Some(HOME)).unwrap();
        book.migrate(old.chat, new.chat).unwrap();
        assert_eq!(book.thread_at(new, Some(HOME)), Some(thread.clone()));
        assert_eq!(book.address(&thread, Some(HOME)), Some(new));
        // So does one that comes into being there afterwards.
        let later = Address { topic: Some(7), ..new };
        let thread = book.thread_at(later, Some(HOME)).unwrap();
        assert_eq!(book.address(&thread, Some(HOME)), Some(later));
    }

    /// The greatest number made whoever read the update fall over, one run in a hundred of the test with nonsense.
    #[test]
    fn no_number_of_a_chat_is_too_great_for_a_link() {
        let link = |chat| Address { chat, topic: None }.link();
        assert_eq!(link(-1_001_234_567_890).as_deref(), Some("https://t.me/c/1234567890/1"));
        assert_eq!(
            [i64::MAX, i64::MIN, i64::MIN + 1, 0, -5].map(link).map(|it| it.is_some()),
            [false, false, true, false, false]
        );
    }

    #[test]
    fn an_old_offset_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let book = book(&dir);
        book.set_offset(5, 1000);
        assert_eq!(book.offset(2000), Some(5));
        assert_eq!(book.offset(1000 + OFFSET_AGE_MAX.as_millis() as u64), None);
    }
}
