//! The engine on folders: one file a message, whose folder is its state and whose name says the rest; `rename` is the only
//! transition, and the kernel's locks decide who owns a lane.
//!
//! Everything that knows a path, a descriptor or a lock lives below this folder. What a message means, how often it may
//! be tried and how much may wait is not known here.

mod claim;
mod group;
mod hold;
mod index;
mod layout;
mod look;
mod note;
mod notices;
mod plain;
mod publish;
mod record;
mod retire;
#[cfg(test)]
mod simulation;
mod sweep;
mod trouble;
mod watch;

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tinyclaw_domain::{Key, Message};
use tokio::sync::Notify;

use self::group::Group;
use self::index::Index;
use self::layout::Folders;
use self::look::FolderLook;
use self::notices::Notices;
pub use self::record::message_in;
use self::sweep::SweepState;
use self::trouble::Troubles;
use crate::clock::{Clock, now_ms};
use crate::error::{ClaimError, MoveError, OpenError, PublishError};
use crate::work::{Draft, Look, Taken, Work};
use crate::{Durability, Keep, Options, Place, Published, Side, Swept, Trouble, Which, name};

/// A look at the folders below `state`, which need not exist yet.
pub(crate) fn look(state: &Path) -> Arc<dyn Look> {
    Arc::new(FolderLook::new(Folders::of(state)))
}

/// What the openings of one queue share within this process.
pub(crate) struct Inner {
    folders: Arc<Folders>,
    options: Options,
    clock: Clock,
    group: Group,
    sweep: Mutex<SweepState>,
    /// Woken by every change; a claimer registers before it looks.
    changed: Arc<Notify>,
    index: Arc<Mutex<Index>>,
    /// Lanes that an error of the disk holds up.
    troubles: Mutex<Troubles>,
    /// Threads that wait for a foreign lock. A handful gives takeover at once; the sweep serves the rest.
    waiters: Arc<AtomicUsize>,
    /// Whether the keys in `done/` are in the index: only publishers need them, and they may be many.
    done_listed: AtomicBool,
    _notices: Option<Notices>,
}

impl Inner {
    pub(crate) fn open(state: &Path, options: Options) -> Result<Arc<Inner>, OpenError> {
        let folders = Folders::prepare(state, &options)?;
        let index = Arc::new(Mutex::new(Index::default()));
        let changed = Arc::new(Notify::new());
        // Watch before listing, so that what moves between the two is seen by one of them.
        let notices = options
            .watch
            .then(|| watch::feed(&folders, index.clone(), changed.clone()))
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
            _notices: notices,
            folders,
            options,
            changed,
            index,
        };
        inner.rescan()?;
        let clock = Clock::starting_after(inner.index().greatest());
        Ok(Arc::new(Inner { clock, ..inner }))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists every place, in the direction of travel.
    fn rescan(&self) -> Result<(), OpenError> {
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
    fn know_done(&self) -> Result<(), OpenError> {
        if !self.done_listed.load(Ordering::SeqCst) {
            self.list(Place::Done)?;
            self.done_listed.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Lists one place into the index, holding the index only for a handful of names at a time.
    fn list(&self, place: Place) -> Result<bool, OpenError> {
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
}

impl Work for Inner {
    fn put(&self, draft: Draft, durability: Durability) -> Result<Published, PublishError> {
        self.know_done().map_err(|source| PublishError::Look {
            key: draft.key.clone(),
            source: Box::new(source),
        })?;
        self.put_draft(draft, durability)
    }

    fn take(self: Arc<Inner>, side: Side, which: &Which) -> Result<Option<Taken>, ClaimError> {
        self.claim_from_index(side, which)
    }

    fn catch_up(&self) -> Result<(), ClaimError> {
        if self.index().stale {
            self.rescan().map_err(ClaimError::from_listing)?;
        }
        Ok(())
    }

    fn sweep(&self) -> Result<bool, ClaimError> {
        self.sweep_listing()
    }

    fn edit(&self, key: &Key, change: &mut dyn FnMut(&mut Message)) -> Result<bool, MoveError> {
        self.edit_waiting(key, change)
    }

    fn requeue(
        &self,
        key: &Key,
        renew: &mut dyn FnMut(&mut Message) -> Place,
    ) -> Result<Place, MoveError> {
        self.take_up(key, renew)
    }

    fn bury(&self, key: &Key, reason: &str) -> Result<(), MoveError> {
        self.bury_idle(key, reason)
    }

    fn purge(&self, key: &Key) -> Result<(), MoveError> {
        self.remove_for_good(key)
    }

    fn housekeep(&self) -> Result<Swept, OpenError> {
        self.keep_house()
    }

    fn retire(&self, keep: &Keep) -> Result<usize, OpenError> {
        self.retire_old(keep)
    }

    fn waiting(&self, side: Side, lane: &str) -> (usize, usize) {
        self.index().waiting(side, lane)
    }

    fn has_work(&self, side: Side, lane: &str) -> bool {
        self.index().has_work(side, lane)
    }

    fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.known_troubles().list()
    }

    fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    fn next_due(&self, side: Side) -> Option<u64> {
        self.index().next_due(side)
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // What we hold is ours until we die: the kernel holds the locks for us.
        Box::pin(std::future::pending())
    }

    fn look(&self) -> Arc<dyn Look> {
        Arc::new(FolderLook::new(self.folders.clone()))
    }
}
