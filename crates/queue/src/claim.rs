//! Claiming: choose a lane, take its lock, carry on from whoever died in it, or take its head.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tinyclaw_disk::{DiskError, Lock, rename_no_replace};
use tinyclaw_domain::{Channel, Lane, MESSAGE_VERSION};
use tokio::sync::Notify;

use crate::clock::{Clock, now_ms};
use crate::error::{ClaimError, OpenError};
use crate::folders::Folders;
use crate::group::Group;
use crate::index::{Among, Index};
use crate::lease::Lease;
use crate::name::{self, Name};
use crate::note::Note;
use crate::plain::{self, Plain};
use crate::record::{self, Record};
use crate::sweep::SweepState;
use crate::trouble::{Trouble, Troubles};
use crate::watch::Watcher;
use crate::{Options, Place, Queue, Side};

#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;

/// Which lanes a claim looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The lanes of threads and of housekeeping.
    Ordinary,
    /// The control lanes, which ignore every limit.
    Control,
    /// One lane.
    Lane(Lane),
    /// All lanes whose head is of this channel: for a sender that knows one way out.
    Channel(Channel),
}

/// What a queue shares between its clones.
pub(crate) struct Inner {
    pub(crate) folders: Arc<Folders>,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) group: Group,
    pub(crate) sweep: Mutex<SweepState>,
    /// Woken by every change; a claimer registers before it looks.
    pub(crate) changed: Arc<Notify>,
    index: Arc<Mutex<Index>>,
    /// Lanes that an error of the disk holds up.
    troubles: Mutex<Troubles>,
    /// Threads that wait for a foreign lock. A handful gives takeover at once; the sweep serves the rest.
    waiters: Arc<AtomicUsize>,
    /// Whether the keys in `done/` are in the index: only publishers need them, and they may be many.
    done_listed: AtomicBool,
    _watcher: Option<Watcher>,
}

const WAITERS_MAX: usize = 16;

enum Taken {
    Lease(Box<Lease>),
    /// Somebody alive owns the lane.
    Owned,
    /// Its head goes another way out.
    Foreign,
    /// The lane has nothing for us after all.
    Nothing,
}

impl Inner {
    pub(crate) fn open(state: &Path, options: Options) -> Result<Arc<Inner>, OpenError> {
        let folders = Folders::prepare(state, &options)?;
        let index = Arc::new(Mutex::new(Index::default()));
        let changed = Arc::new(Notify::new());
        // Watch before listing, so that what moves between the two is seen by one of them.
        let watcher = options
            .watch
            .then(|| Watcher::start(&folders, index.clone(), changed.clone()))
            .transpose()
            .unwrap_or_else(|err| {
                // No inotify instance left, say: slower, not wrong.
                tracing::warn!(
                    "cannot watch {}, so changes there are seen by the sweep alone: {err}",
                    folders.root().display()
                );
                None
            });
        let inner = Inner {
            group: Group::new(),
            sweep: Mutex::new(SweepState::default()),
            clock: Clock::starting_after(None),
            troubles: Mutex::default(),
            waiters: Arc::default(),
            done_listed: AtomicBool::new(false),
            _watcher: watcher,
            folders,
            options,
            changed,
            index,
        };
        inner.rescan()?;
        let clock = Clock::starting_after(inner.index().greatest());
        Ok(Arc::new(Inner { clock, ..inner }))
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists every place, in the direction of travel.
    pub(crate) fn rescan(&self) -> Result<(), OpenError> {
        self.index().stale = false;
        for place in Place::ALL {
            if place != Place::Done || self.done_listed.load(Ordering::SeqCst) {
                self.list(place)?;
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Makes sure that a key in `done/` is known for one.
    pub(crate) fn know_done(&self) -> Result<(), OpenError> {
        if !self.done_listed.load(Ordering::SeqCst) {
            self.list(Place::Done)?;
            self.done_listed.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Lists one place into the index, holding the index only for a handful of names at a time.
    pub(crate) fn list(&self, place: Place) -> Result<bool, OpenError> {
        const HANDFUL: usize = 256;
        let mut names: Vec<Box<str>> = Vec::with_capacity(HANDFUL);
        let mut news = false;
        let mut tell = |names: &mut Vec<Box<str>>| {
            let (mut index, now) = (self.index(), now_ms());
            for text in names.drain(..) {
                if let Some(parts) = name::parts(&text) {
                    news |= index.saw(&text, &parts, place, now);
                }
            }
        };
        self.folders.scan(place, |text, _| {
            names.push(text.into());
            if names.len() == HANDFUL {
                tell(&mut names);
            }
        })?;
        tell(&mut names);
        Ok(news)
    }

    fn try_claim(
        self: &Arc<Inner>,
        side: Side,
        which: &Which,
    ) -> Result<Option<Lease>, ClaimError> {
        if self.index().stale {
            self.rescan().map_err(ClaimError::from_listing)?;
        }
        if let Some(lease) = self.claim_from_index(side, which)? {
            return Ok(Some(lease));
        }
        if self.sweep_listing(side)? { self.claim_from_index(side, which) } else { Ok(None) }
    }

    fn claim_from_index(
        self: &Arc<Inner>,
        side: Side,
        which: &Which,
    ) -> Result<Option<Lease>, ClaimError> {
        let one;
        let (among, channel) = match which {
            Which::Ordinary => (vec![Among::Ordinary], None),
            Which::Control => (vec![Among::Control], None),
            Which::Lane(lane) => {
                one = lane.to_string();
                (vec![Among::One(&one)], None)
            }
            Which::Channel(channel) => (vec![Among::Control, Among::Ordinary], Some(*channel)),
        };
        if *which == Which::Ordinary && side == Side::Run {
            // New turns make new answers. Control lanes go on, and so does the sender.
            let (outgoing, _) = self.index().waiting(Side::Send, "");
            if outgoing >= self.options.outgoing_max {
                return Ok(None);
            }
        }
        // What one lane suffers from is told when no other has anything to offer: it must stop none of them.
        let mut trouble = None;
        for among in among {
            let mut last = None;
            loop {
                let Some(lane) = self.index().pick(side, among, now_ms()) else { break };
                let taken = self.take_lane(side, &lane, channel);
                if taken.is_ok() {
                    self.troubles().end(side, &lane);
                }
                match taken {
                    Ok(Taken::Lease(lease)) => return Ok(Some(*lease)),
                    // Once more at most: what index and folders cannot agree on waits for the sweep.
                    Ok(Taken::Nothing) if last.as_ref() != Some(&lane) => {
                        self.index().release(side, &lane, now_ms());
                        last = Some(lane);
                    }
                    Ok(Taken::Nothing | Taken::Foreign) => {
                        self.index().set_aside(side, &lane, now_ms())
                    }
                    Ok(Taken::Owned) => {
                        self.index().set_aside(side, &lane, now_ms());
                        self.wait_for(side, lane);
                    }
                    Err(err) => {
                        // Set aside, not released: a sweep tries again, and other lanes go on.
                        self.index().set_aside(side, &lane, now_ms());
                        self.troubles().add(side, &lane, &err, self.options.sweep_every);
                        trouble.get_or_insert(err);
                    }
                }
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// Takes the lane's lock and a message, if there is one. The lane is ours in the index.
    fn take_lane(
        self: &Arc<Inner>,
        side: Side,
        lane: &Arc<str>,
        channel: Option<Channel>,
    ) -> Result<Taken, ClaimError> {
        let lock = |source| ClaimError::Lock { lane: lane.to_string(), source };
        let Some(guard) = Lock::try_take(&self.folders.lane(side, lane)).map_err(lock)? else {
            return Ok(Taken::Owned);
        };
        // The note names the message that the last owner had in hand, whatever our index has heard of it. What we know
        // to have moved on need not be looked for.
        let note = Note::parse(&guard.note().map_err(lock)?, lane);
        let is_past = |it: &&str| name::parts(it).is_none_or(|it| self.index().is_past(&it, side));
        let noted: Vec<&str> = note.names().filter(|it| !is_past(it)).collect();
        // A new note keeps what the last one named and still lies there.
        let leave_note = |text: &str| {
            let is_there = |it: &&str| {
                let places = [side.waiting(), side.working()];
                *it != text && places.iter().any(|at| plain::is_there(&self.folders.file(*at, it)))
            };
            let next = Note::of(&[text], noted.iter().copied().filter(is_there));
            if next != note {
                guard.leave_note(&next.to_string()).map_err(lock)?;
            }
            Ok::<Note, ClaimError>(next)
        };
        loop {
            let (_, working) = self.index().names(side, lane);
            if let Some(text) = self.left_behind(side, &working, &noted) {
                if !self.is_of(side.working(), &text, channel)? {
                    return Ok(Taken::Foreign);
                }
                let note = leave_note(&text)?;
                let died = !self.troubles().is_ours(side, lane, &text);
                match self.read(side, lane, &text, !died)? {
                    Some(message) => {
                        return Ok(self.lease(side, lane, &text, message, guard, note, died));
                    }
                    None => continue,
                }
            }
            for text in &noted {
                if let Some(parts) = name::parts(text)
                    && plain::is_there(&self.folders.file(side.waiting(), text))
                {
                    self.index().saw(text, &parts, side.waiting(), now_ms());
                }
            }
            let (Some(text), _) = self.index().names(side, lane) else { return Ok(Taken::Nothing) };
            let Some(parts) = name::parts(&text) else { return Ok(Taken::Nothing) };
            if !self.index().is_due(side, lane, now_ms()) {
                return Ok(Taken::Nothing);
            }
            if !self.is_of(side.waiting(), &text, channel)? {
                return Ok(Taken::Foreign);
            }
            let (from, to) = (
                self.folders.file(side.waiting(), &text),
                self.folders.file(side.working(), &text),
            );
            // Looked for before it is noted: our picture may be old, and a note of what is long gone would take the
            // place of one that others need.
            if !plain::is_there(&from) {
                self.index().gone(&parts, side.waiting(), now_ms());
                continue;
            }
            let note = leave_note(&text)?;
            match rename_no_replace(&from, &to) {
                Ok(()) => {}
                Err(err) if err.is_not_found() => {
                    self.index().gone(&parts, side.waiting(), now_ms());
                    continue;
                }
                // After a power cut a weak file system may show a name twice: the further place wins.
                Err(err) if err.is_already_exists() => {
                    tinyclaw_disk::remove(&from).map_err(|err| moved(&text, err))?;
                    self.index().saw(&text, &parts, side.working(), now_ms());
                    continue;
                }
                Err(err) => return Err(moved(&text, err)),
            }
            self.index().saw(&text, &parts, side.working(), now_ms());
            match self.read(side, lane, &text, true)? {
                Some(message) => {
                    return Ok(self.lease(side, lane, &text, message, guard, note, false));
                }
                None => continue,
            }
        }
    }

    /// The name of a message of this lane that lies where it was worked on although its lane is free.
    fn left_behind(&self, side: Side, working: &[Box<str>], noted: &[&str]) -> Option<Box<str>> {
        let working = working.iter().map(|it| &**it);
        let mut names: Vec<&str> = working.chain(noted.iter().copied()).collect();
        names.sort_unstable();
        for text in names {
            let parts = name::parts(text)?;
            if plain::is_there(&self.folders.file(side.working(), text)) {
                self.index().saw(text, &parts, side.working(), now_ms());
                return Some(text.into());
            }
            self.index().gone(&parts, side.working(), now_ms());
        }
        None
    }

    fn is_of(
        &self,
        place: Place,
        text: &str,
        channel: Option<Channel>,
    ) -> Result<bool, ClaimError> {
        let Some(channel) = channel else { return Ok(true) };
        // What cannot be read is everybody's: whoever comes first puts it into quarantine.
        let Ok(Plain::Bytes(bytes)) = plain::read(&self.folders.file(place, text)) else {
            return Ok(true);
        };
        Ok(record::read(&bytes).map_or(true, |it| it.message.channel == channel))
    }

    /// Reads a message that is ours. What is none, and will not become one, goes to quarantine with its reason, and
    /// `None` comes back; so does what could not be read time and again.
    fn read(
        &self,
        side: Side,
        lane: &str,
        text: &str,
        is_ours: bool,
    ) -> Result<Option<Record>, ClaimError> {
        let place = side.working();
        let unread = |source| ClaimError::Read { name: text.to_owned(), source };
        let why = match plain::read(&self.folders.file(place, text)) {
            Ok(Plain::Bytes(bytes)) => match record_of(&bytes, text) {
                Ok(record) => return Ok(Some(record)),
                Err(why) => why,
            },
            Ok(Plain::Unfit(why)) => why,
            Ok(Plain::Gone) => return Err(unread(io::ErrorKind::NotFound.into())),
            Err(err) if self.troubles().unread(side, lane, text, &err, is_ours) => {
                format!("it cannot be read: {err}")
            }
            Err(err) => return Err(unread(err)),
        };
        self.quarantine(place, text, &why).map_err(|err| moved(text, err))?;
        Ok(None)
    }

    #[expect(clippy::too_many_arguments, reason = "they are what a lease is made of")]
    fn lease(
        self: &Arc<Inner>,
        side: Side,
        lane: &Arc<str>,
        text: &str,
        record: Record,
        guard: Lock,
        note: Note,
        recovered: bool,
    ) -> Taken {
        match text.parse::<Name>() {
            Ok(name) => Taken::Lease(Box::new(Lease::new(
                self.clone(),
                side,
                lane.clone(),
                name,
                record,
                (guard, note),
                recovered,
            ))),
            // `read` has parsed the same text.
            Err(_) => Taken::Nothing,
        }
    }

    /// Frees a lane of another process for us the moment its lock is free.
    fn wait_for(&self, side: Side, lane: Arc<str>) {
        if self.waiters.fetch_add(1, Ordering::SeqCst) >= WAITERS_MAX {
            self.waiters.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let (path, index) = (self.folders.lane(side, &lane), self.index.clone());
        let (changed, waiters) = (self.changed.clone(), self.waiters.clone());
        std::thread::spawn(move || {
            // An error is as good as an answer: the claimer tries again and sees for itself.
            drop(Lock::take(&path));
            waiters.fetch_sub(1, Ordering::SeqCst);
            index.lock().unwrap_or_else(PoisonError::into_inner).unblock(side, &lane, now_ms());
            changed.notify_waiters();
        });
    }
}

/// The message in a file of this name, or what is wrong with it.
fn record_of(bytes: &[u8], text: &str) -> Result<Record, String> {
    let record = record::read(bytes)?;
    let (message, name) = (&record.message, text.parse::<Name>()?);
    if message.v != MESSAGE_VERSION {
        Err(format!("its version is {}, this one knows 1", message.v))
    } else if name.key != message.key {
        Err(format!("its key is {}, its name says {}", message.key, name.key))
    } else if name.lane != message.lane() {
        Err(format!("its lane is {}, its name says {}", message.lane(), name.lane))
    } else {
        Ok(record)
    }
}

fn moved(text: &str, source: DiskError) -> ClaimError {
    ClaimError::Move { name: text.to_owned(), source }
}

impl ClaimError {
    pub(crate) fn from_listing(err: OpenError) -> ClaimError {
        match err {
            OpenError::List { path, source } => ClaimError::List { path, source },
            other => ClaimError::List {
                path: "queue".into(),
                source: io::Error::other(other.to_string()),
            },
        }
    }
}

impl Queue {
    /// Takes a message, or `None` when there is nothing to do now.
    ///
    /// Any number of claimers in any number of processes may call this at once: a lane's lock picks one, and the others
    /// go on to the next lane. Within a lane messages come in order, one at a time. A message whose owner died comes
    /// first, and its lease says so. A lane whose head waits for its time offers nothing. A lane whose file cannot be read
    /// stops no other: the error comes back only when no other has a message, and [`Queue::troubles`] names it.
    pub fn try_claim(&self, side: Side, which: &Which) -> Result<Option<Lease>, ClaimError> {
        self.inner.try_claim(side, which)
    }

    /// How many messages wait for Claude in all, and in one thread, as far as this process knows. Costs nothing.
    pub fn waiting_in(&self, thread: &tinyclaw_domain::ThreadId) -> (usize, usize) {
        self.inner.index().waiting(Side::Run, thread.as_str())
    }

    /// Whether anything of a lane waits or is worked on, as far as this process knows. Costs nothing, however much waits.
    pub fn has_work(&self, side: Side, lane: &Lane) -> bool {
        self.inner.index().has_work(side, &lane.to_string())
    }

    /// The lanes that an error of the disk holds up now, each with the file and the reason. The others go on.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.inner.troubles().list()
    }

    /// Waits until there is a message, and takes it. Dropping the future takes nothing.
    pub async fn claim(&self, side: Side, which: &Which) -> Result<Lease, ClaimError> {
        let inner = &self.inner;
        loop {
            // Register for the wake-up before looking, so a message that arrives between is not missed.
            let mut changed = std::pin::pin!(inner.changed.notified());
            changed.as_mut().enable();
            if let Some(lease) = inner.try_claim(side, which)? {
                return Ok(lease);
            }
            let due = inner
                .index()
                .next_due(side)
                .map(|it| Duration::from_millis(it.saturating_sub(now_ms()).max(1)));
            let wait = due.unwrap_or(Duration::MAX).min(inner.options.sweep_every);
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }
}
