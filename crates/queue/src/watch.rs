//! Wake-ups: the kernel says what moved. A hint; whoever misses one finds the message at the next sweep.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::clock::now_ms;
use crate::folders::Folders;
use crate::index::Index;
use crate::{Place, Side, name};

/// The places a queue watches. What goes to `done/` was known before, and what lies there does not move.
const WATCHED: [Place; 5] =
    [Place::Incoming, Place::Processing, Place::Outgoing, Place::Sending, Place::Dead];

/// Feeds the index. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    _watcher: RecommendedWatcher,
}

impl Watcher {
    pub(crate) fn start(
        folders: &Arc<Folders>,
        index: Arc<Mutex<Index>>,
        changed: Arc<Notify>,
    ) -> notify::Result<Watcher> {
        let known = folders.clone();
        let on_event = move |event: notify::Result<Event>| {
            if !is_move(&event) {
                return;
            }
            {
                let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(event) if event.need_rescan() => index.stale = true,
                    Ok(event) => apply(&known, &mut index, &event),
                    Err(err) => {
                        tracing::warn!("the watcher lost its way, the queue is listed anew: {err}");
                        index.stale = true;
                    }
                }
            }
            changed.notify_waiters();
        };
        let mut watcher = RecommendedWatcher::new(on_event, Config::default())?;
        for place in WATCHED {
            watcher.watch(folders.place(place), RecursiveMode::NonRecursive)?;
        }
        Ok(Watcher { _watcher: watcher })
    }
}

/// Whether something came, left or went, or may have. Files are opened and read there all the time, also by whoever
/// looks because of an event, and must not be woken by that.
fn is_move(event: &notify::Result<Event>) -> bool {
    event.as_ref().map_or(true, |event| {
        let kind = event.kind;
        event.need_rescan()
            || kind.is_create()
            || kind.is_remove()
            || matches!(kind, EventKind::Modify(ModifyKind::Name(_)))
    })
}

/// What the kernel says of a name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    Came,
    Left,
    Removed,
}

fn apply(folders: &Folders, index: &mut Index, event: &Event) {
    let happened = match event.kind {
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            Happened::Came
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Happened::Left,
        EventKind::Remove(_) => Happened::Removed,
        _ => return,
    };
    for path in &event.paths {
        if let Some((place, text)) = place_of(folders, path) {
            tell(index, place, text, happened);
        }
    }
}

/// Tells the index what happened to a name.
pub(crate) fn tell(index: &mut Index, place: Place, text: &str, happened: Happened) {
    let Some(parts) = name::parts(text) else { return };
    match happened {
        Happened::Came => {
            index.saw(text, &parts, place, now_ms());
        }
        Happened::Left => {
            for side in [Side::Run, Side::Send] {
                if side.working() == place {
                    index.left(&parts, side, now_ms());
                }
            }
        }
        Happened::Removed => index.removed(&parts, place, now_ms()),
    }
}

fn place_of<'a>(folders: &Folders, path: &'a Path) -> Option<(Place, &'a str)> {
    let (dir, text) = (path.parent()?, path.file_name()?.to_str()?);
    WATCHED.into_iter().find(|it| folders.place(*it) == dir).map(|it| (it, text))
}

/// Tells a reader that something moved in the queue. Takes no lock and writes nothing.
pub struct Watch {
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

/// A reader looks again after this time, whatever the kernel says: some mounts say nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Watch {
    pub(crate) fn start(folders: &Folders) -> Watch {
        let changed = Arc::new(Notify::new());
        let told = changed.clone();
        let on_event = move |event: notify::Result<Event>| {
            if is_move(&event) {
                told.notify_waiters();
            }
        };
        let watcher = RecommendedWatcher::new(on_event, Config::default());
        let watcher = watcher.and_then(|mut it| {
            for place in WATCHED {
                it.watch(folders.place(place), RecursiveMode::NonRecursive)?;
            }
            it.watch(folders.place(Place::Done), RecursiveMode::Recursive)?;
            Ok(it)
        });
        // No watcher (no inotify instance left, say) makes it slower, not wrong.
        Watch { changed, _watcher: watcher.ok() }
    }

    /// A ticket for the next change. Take it before looking, wait on it after: nothing between is missed.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut notified = Box::pin(self.changed.clone().notified_owned());
        notified.as_mut().enable();
        async move {
            let _ = tokio::time::timeout(LOOK_AGAIN, notified).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    #[test]
    fn looking_at_a_message_wakes_nobody() {
        let is_move = |kind| super::is_move(&Ok(Event::new(kind)));
        assert!(!is_move(EventKind::Access(AccessKind::Any)));
        assert!(!is_move(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(is_move(EventKind::Create(CreateKind::File)));
        assert!(is_move(EventKind::Modify(ModifyKind::Name(RenameMode::To))));
        assert!(is_move(EventKind::Remove(RemoveKind::File)));
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(super::is_move(&Ok(lost)), "events were lost: anything may have happened");
        assert!(super::is_move(&Err(notify::Error::generic("gone"))));
    }
}
