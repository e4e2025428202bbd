//! Publishing: write in `tmp/`, flush, rename into sight, flush the folder; only then is it said to be accepted.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tinyclaw_disk::{
    DiskError, Flush, Lock, exchange, remove, rename_no_replace, sync_dir, sync_file, write_new,
};
use tinyclaw_domain::{Key, Lane, Message, Source};

use crate::claim::Inner;
use crate::clock::now_ms;
use crate::error::{MoveError, PublishError};
use crate::group::Job;
use crate::name::{self, Name, Priority};
use crate::plain::{self, KEPT_BYTES_MAX, Plain};
use crate::record;
use crate::{Place, Queue, Side};

/// What has to be true when publishing returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives a power cut. Two flushes.
    #[default]
    Strict,
    /// The same, with the flushes shared among publishers that come within 2 ms.
    Group,
    /// It survives the death of any process, but not a power cut.
    None,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the queue now.
    New,
    /// A message of this key was there already; nothing was done.
    Duplicate(Place),
}

/// How long an answer about free disk space is believed.
const SPACE_ANSWER_AGE: Duration = Duration::from_secs(1);

static SPACE: Mutex<Option<(Instant, (f64, u64))>> = Mutex::new(None);

impl Queue {
    /// Accepts a message on one side, under its key: a key that is known already is not published again.
    ///
    /// When this returns without an error, the message is as safe as `durability` says and may be confirmed to the
    /// outside. After an error nothing of it is left behind, and it may be published again under the same key. Every
    /// family of keys has one publisher: two processes that publish the same key at the same moment are not kept
    /// apart. An answer of our own (a notice) is published on the send side, with its reply set.
    pub fn publish(
        &self,
        side: Side,
        message: Message,
        durability: Durability,
    ) -> Result<Published, PublishError> {
        let inner = &self.inner;
        let lane = message.lane();
        if !lane.is_control() {
            let (waiting, in_lane) = inner.index().waiting(side, &lane.to_string());
            let max = if side == Side::Run { inner.options.incoming_max } else { usize::MAX };
            if waiting >= max {
                return Err(PublishError::Full { waiting });
            }
            if in_lane >= inner.options.lane_max && side == Side::Run {
                return Err(PublishError::LaneFull { lane, waiting: in_lane });
            }
            if !inner.has_room(1) {
                return Err(PublishError::NoSpace { key: message.key });
            }
        }
        inner.know_done().map_err(|source| PublishError::Look {
            key: message.key.clone(),
            source: Box::new(source),
        })?;
        inner.publish_below(inner.options.message_bytes_max, side, message, durability)
    }

    /// Changes a message that still waits in `incoming/`, such as when its sender edited it. `false` when it does not
    /// wait any more; then nothing was changed.
    pub fn replace_waiting(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Message),
    ) -> Result<bool, MoveError> {
        let inner = &self.inner;
        let Some(text) = inner.find_name(Place::Incoming, key)? else { return Ok(false) };
        let path = inner.folders.file(Place::Incoming, &text);
        let Some(bytes) = bytes_of(&path, key)? else { return Ok(false) };
        let json = |source| MoveError::Json { key: key.clone(), source };
        let mut message = message_in(&bytes, key)?;
        change(&mut message);
        let bytes = record::line_of(&message).map_err(json)?;
        let tmp = inner.folders.tmp(&format!("edit-{text}"));
        let swap = || {
            remove(&tmp)?;
            sync_file(&write_new(&tmp, &bytes)?, &tmp)?;
            // A swap, not a rename: when somebody claims the message meanwhile, nothing of it must appear again.
            exchange(&tmp, &path)?;
            sync_dir(inner.folders.place(Place::Incoming))
        };
        let swapped = swap();
        let _ = remove(&tmp);
        match swapped {
            Ok(()) => Ok(true),
            Err(err) if err.is_not_found() => Ok(false),
            Err(source) => Err(MoveError::Disk { key: key.clone(), source }),
        }
    }

    /// Takes up a message that was given up: to `outgoing/` when it has a reply, else to `incoming/`, its attempts
    /// forgotten. Also one from quarantine that was mended by hand.
    pub fn requeue(&self, key: &Key) -> Result<Place, MoveError> {
        let inner = &self.inner;
        let found = match inner.find_name(Place::Dead, key)? {
            Some(text) => Some((Place::Dead, text)),
            None => inner.find_name(Place::Quarantine, key)?.map(|it| (Place::Quarantine, it)),
        };
        let Some((from, text)) = found else {
            return Err(MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" });
        };
        let path = inner.folders.file(from, &text);
        let Some(bytes) = bytes_of(&path, key)? else {
            return Err(MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" });
        };
        let json = |source| MoveError::Json { key: key.clone(), source };
        let mut message = message_in(&bytes, key)?;
        message.attempts = Default::default();
        message.trouble = None;
        let place = if message.reply.is_some() { Place::Outgoing } else { Place::Incoming };
        let bytes = record::line_of(&message).map_err(json)?;
        let failed = |source| MoveError::Disk { key: key.clone(), source };
        tinyclaw_disk::replace_through(&inner.folders.tmp(&text), &path, &bytes, Flush::Strict)
            .map_err(failed)?;
        let name: Name =
            text.parse().map_err(|_| MoveError::NotThere { key: key.clone(), wanted: "dead/" })?;
        // The next epoch is no time to wait for: it is due.
        let back = name.at_epoch(0).to_string();
        rename_no_replace(&path, &inner.folders.file(place, &back)).map_err(failed)?;
        sync_dir(inner.folders.place(place)).map_err(failed)?;
        let _ = remove(&inner.folders.reason(from, &text));
        inner.note_sighting(&back, place);
        Ok(place)
    }

    /// Gives up a message on an operator's word: one that waits, or one that lies where it is worked on although nobody
    /// works on it. One that is being worked on has to be stopped first. The file is not read, so that one that cannot
    /// be read can be given up as well.
    pub fn bury(&self, key: &Key, reason: &str) -> Result<(), MoveError> {
        let inner = &self.inner;
        for side in [Side::Run, Side::Send] {
            if let Some(text) = inner.find_name(side.waiting(), key)? {
                return inner.bury_from(side.waiting(), &text, key, reason);
            }
            let Some(text) = inner.find_name(side.working(), key)? else { continue };
            let busy = || MoveError::Busy { key: key.clone() };
            let lane = name::parts(&text).map(|it| inner.folders.lane(side, it.lane));
            // Held until the message is gone, so that nobody takes it up in between.
            let _lane = Lock::try_take(&lane.ok_or_else(busy)?)
                .map_err(|source| MoveError::Lock { key: key.clone(), source })?
                .ok_or_else(busy)?;
            return inner.bury_from(side.working(), &text, key, reason);
        }
        Err(MoveError::NotThere { key: key.clone(), wanted: "incoming/ or outgoing/" })
    }

    /// Removes a message that was given up, for good.
    pub fn purge(&self, key: &Key) -> Result<(), MoveError> {
        let inner = &self.inner;
        for place in [Place::Dead, Place::Quarantine] {
            if let Some(text) = inner.find_name(place, key)? {
                for path in [inner.folders.file(place, &text), inner.folders.reason(place, &text)] {
                    remove(&path).map_err(|source| MoveError::Disk { key: key.clone(), source })?;
                }
                return Ok(());
            }
        }
        Err(MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" })
    }
}

impl Inner {
    /// [`Queue::publish`] without the limits, for what running work makes, and without a look into `done/`.
    pub(crate) fn publish_unlimited(
        &self,
        side: Side,
        message: Message,
        durability: Durability,
    ) -> Result<Published, PublishError> {
        // What a turn sends on was kept in its own message, so it fits wherever that did.
        self.publish_below(KEPT_BYTES_MAX, side, message, durability)
    }

    fn publish_below(
        &self,
        max: usize,
        side: Side,
        message: Message,
        durability: Durability,
    ) -> Result<Published, PublishError> {
        let key = message.key.clone();
        let lane = message.lane();
        let line = record::line_of(&message)
            .map_err(|source| PublishError::Json { key: key.clone(), source })?;
        // The limit is one of what people send; the checksum is ours.
        let bytes = line.len() - record::OVERHEAD;
        if bytes > max || line.len() > KEPT_BYTES_MAX {
            return Err(PublishError::TooLarge { key, bytes, max });
        }
        let priority =
            if message.source == Source::Heartbeat { Priority::Low } else { Priority::Ordinary };
        {
            let mut index = self.index();
            if priority == Priority::Low && index.has_low_priority(side, &lane.to_string()) {
                // One heartbeat that waits says as much as two.
                return Ok(Published::Duplicate(side.waiting()));
            }
            if let Err(place) = index.reserve(key.as_str(), side.waiting()) {
                drop(index);
                self.keep_name(place, durability)
                    .map_err(|source| PublishError::Disk { key, source })?;
                return Ok(Published::Duplicate(place));
            }
        }
        match self.put_in_place(side, priority, lane, &key, &line, durability) {
            Ok(()) => Ok(Published::New),
            Err(source) => {
                self.index().forget(key.as_str());
                if source.is_no_space() {
                    Err(PublishError::NoSpace { key })
                } else {
                    Err(PublishError::Disk { key, source })
                }
            }
        }
    }

    /// Flushes where a known message lies. Its publisher may have died before that, and whoever hears that it is there
    /// confirms it to the outside.
    fn keep_name(&self, place: Place, durability: Durability) -> Result<(), DiskError> {
        let is_live = place <= Place::Sending;
        if is_live && durability != Durability::None {
            sync_dir(self.folders.place(place))?;
        }
        Ok(())
    }

    fn put_in_place(
        &self,
        side: Side,
        priority: Priority,
        lane: Lane,
        key: &Key,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let place = side.waiting();
        let name =
            Name { priority, ulid: self.clock.next(now_ms()), lane, key: key.clone(), epoch: 0 };
        let text = name.to_string();
        let (tmp, target) = (self.folders.tmp(&text), self.folders.file(place, &text));
        let written = write_new(&tmp, bytes);
        let file = match written {
            // Nobody has been promised anything, but the key is precious and the reserve is there for it.
            Err(err) if err.is_no_space() && self.folders.release_reserve() => {
                write_new(&tmp, bytes)?
            }
            other => other?,
        };
        let placed = match durability {
            Durability::Strict => sync_file(&file, &tmp)
                .and_then(|()| rename_no_replace(&tmp, &target))
                .and_then(|()| sync_dir(self.folders.place(place))),
            Durability::Group => sync_file(&file, &tmp)
                .and_then(|()| self.group.commit(Job { tmp: tmp.clone(), target: target.clone() })),
            Durability::None => rename_no_replace(&tmp, &target),
        };
        if let Err(err) = placed {
            // Take it back, so that an error means that nothing happened. When it cannot be taken back because
            // somebody has claimed it already, it did happen.
            let _ = remove(&tmp);
            return match rename_no_replace(&target, &tmp) {
                Ok(()) => {
                    let _ = remove(&tmp);
                    Err(err)
                }
                Err(gone) if gone.is_not_found() && self.is_further(key, place) => Ok(()),
                Err(_) => Err(err),
            };
        }
        self.note_sighting(&text, place);
        Ok(())
    }

    fn is_further(&self, key: &Key, place: Place) -> bool {
        self.index().place_of(key.as_str()).is_some_and(|it| it > place)
    }

    pub(crate) fn note_sighting(&self, text: &str, place: Place) {
        if let Some(parts) = name::parts(text) {
            self.index().saw(text, &parts, place, now_ms());
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn write_reason(
        &self,
        place: Place,
        text: &str,
        reason: &str,
    ) -> Result<(), DiskError> {
        let reason = format!("{reason}\n");
        tinyclaw_disk::replace_through(
            &self.folders.tmp(&format!("reason-{text}")),
            &self.folders.reason(place, text),
            reason.as_bytes(),
            Flush::Strict,
        )
    }

    /// Puts a file that is no message aside, with the reason beside it. Another that lies there under its name stays: the
    /// later one gets a number, `NAME.2`.
    pub(crate) fn quarantine(&self, from: Place, text: &str, why: &str) -> Result<(), DiskError> {
        tracing::warn!(place = from.as_str(), name = text, "{text} goes to quarantine: {why}");
        let path = self.folders.file(from, text);
        let mut name = text.to_owned();
        for number in 2.. {
            let target = self.folders.file(Place::Quarantine, &name);
            // Looked for first, or the other one would lose its reason to ours.
            if !plain::is_there(&target) {
                self.write_reason(Place::Quarantine, &name, why)?;
                match rename_no_replace(&path, &target) {
                    Err(err) if err.is_already_exists() => {}
                    other => {
                        other?;
                        break;
                    }
                }
            }
            name = format!("{text}.{number}");
        }
        self.note_sighting(text, Place::Quarantine);
        Ok(())
    }

    fn bury_from(
        &self,
        place: Place,
        text: &str,
        key: &Key,
        reason: &str,
    ) -> Result<(), MoveError> {
        let failed = |source| MoveError::Disk { key: key.clone(), source };
        self.write_reason(Place::Dead, text, reason).map_err(failed)?;
        let moved = rename_no_replace(
            &self.folders.file(place, text),
            &self.folders.file(Place::Dead, text),
        );
        match moved {
            Ok(()) => {
                self.note_sighting(text, Place::Dead);
                Ok(())
            }
            Err(err) => {
                let _ = remove(&self.folders.reason(Place::Dead, text));
                if err.is_not_found() {
                    Err(MoveError::Busy { key: key.clone() })
                } else {
                    Err(failed(err))
                }
            }
        }
    }

    /// Whether there is room for new messages, `times` over.
    pub(crate) fn has_room(&self, times: u32) -> bool {
        let mut answer = SPACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (share, bytes) = match *answer {
            Some((when, free)) if when.elapsed() < SPACE_ANSWER_AGE => free,
            _ => {
                // A file system that does not say is taken to have room: writing will tell.
                let free = self.folders.free().unwrap_or((1.0, u64::MAX));
                *answer = Some((Instant::now(), free));
                free
            }
        };
        let enough = self.options.free_bytes_enough.saturating_mul(times.into());
        share >= self.options.free_share_min * f64::from(times) || bytes >= enough
    }

    pub(crate) fn find_name(&self, place: Place, key: &Key) -> Result<Option<String>, MoveError> {
        let mut found = None;
        self.folders
            .scan(place, |text, parts| {
                if parts.key == key.as_str() {
                    found = Some(text.to_owned());
                }
            })
            .map_err(|err| MoveError::Read {
                key: key.clone(),
                source: std::io::Error::other(err.to_string()),
            })?;
        Ok(found)
    }
}

fn message_in(bytes: &[u8], key: &Key) -> Result<Message, MoveError> {
    let record = record::read(bytes);
    Ok(record.map_err(|why| MoveError::NoMessage { key: key.clone(), why })?.message)
}

/// The bytes of a message that was found by its name. `None` when it has moved on meanwhile.
fn bytes_of(path: &Path, key: &Key) -> Result<Option<Vec<u8>>, MoveError> {
    let failed = |source| MoveError::Read { key: key.clone(), source };
    match plain::read(path).map_err(failed)? {
        Plain::Bytes(bytes) => Ok(Some(bytes)),
        Plain::Gone => Ok(None),
        Plain::Unfit(why) => Err(failed(std::io::Error::other(why))),
    }
}
