//! Wake-ups: the kernel says what moved. A hint; whoever misses one finds the message at the next sweep.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, broadcast};

use super::index::Index;
use super::layout::Folders;
use crate::clock::now_ms;
use crate::entry::At;
use crate::watch::NEWS_MAX;
use crate::{Entry, Moved, News, Place, Side, Watch, name};

/// The places a queue watches. What goes to `done/` was known before, and what lies there does not move.
const WATCHED: [Place; 5] =
    [Place::Incoming, Place::Processing, Place::Outgoing, Place::Sending, Place::Dead];

/// Feeds the index. Ends when dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    _watcher: RecommendedWatcher,
}

impl Watcher {
    pub(super) fn start(
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
pub(super) enum Happened {
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
pub(super) fn tell(index: &mut Index, place: Place, text: &str, happened: Happened) {
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
    let is_in = |place: &Place| {
        let day = if *place == Place::Done { dir.parent() } else { None };
        folders.place(*place) == day.unwrap_or(dir)
    };
    Place::ALL.into_iter().find(is_in).map(|it| (it, text))
}

/// Feeds a reader: every move by its key, where the kernel tells it.
pub(super) fn start(folders: &Arc<Folders>) -> Watch {
    let changed = Arc::new(Notify::new());
    let (news, _) = broadcast::channel(NEWS_MAX);
    let (told, teller) = (changed.clone(), news.clone());
    let mut teller = Teller { folders: folders.clone(), news: teller, left: Vec::new() };
    let on_event = move |event: notify::Result<Event>| {
        if is_move(&event) {
            teller.tell(&event);
            told.notify_waiters();
        }
    };
    let watcher = RecommendedWatcher::new(on_event, Config::default());
    let watcher = watcher.and_then(|mut it| {
        for place in WATCHED.into_iter().chain([Place::Quarantine]) {
            it.watch(folders.place(place), RecursiveMode::NonRecursive)?;
        }
        it.watch(folders.place(Place::Done), RecursiveMode::Recursive)?;
        Ok(it)
    });
    // No watcher (no inotify instance left, say) makes it slower, not wrong.
    Watch::new(changed, news, Arc::new(watcher.ok()))
}

/// Makes moves of what the kernel says of names: a rename is told as one that leaves and one that comes, with the same
/// number.
struct Teller {
    folders: Arc<Folders>,
    news: broadcast::Sender<News>,
    /// What left last, and from where. Few: where it came to is told right after.
    left: Vec<(usize, Place)>,
}

/// What left for a folder that nobody watches is never told to have come anywhere.
const LEFT_MAX: usize = 16;

impl Teller {
    fn tell(&mut self, event: &notify::Result<Event>) {
        let Some(event) = event.as_ref().ok().filter(|it| !it.need_rescan()) else {
            return self.say(News::LookAgain);
        };
        let number = event.attrs.tracker();
        for path in &event.paths {
            let Some((place, text)) = place_of(&self.folders, path) else {
                // A new day in `done/`, which may have been moved into before it was watched.
                if path.parent() == Some(self.folders.place(Place::Done)) {
                    self.say(News::LookAgain);
                }
                continue;
            };
            match event.kind {
                EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                    if let Some(number) = number {
                        if self.left.len() == LEFT_MAX {
                            self.left.remove(0);
                        }
                        self.left.push((number, place));
                    }
                }
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) | EventKind::Create(_) => {
                    let at = self.left.iter().position(|it| Some(it.0) == number);
                    let from = at.map(|at| self.left.remove(at).1);
                    self.moved(place, text, path, from, true);
                }
                EventKind::Remove(_) => self.moved(place, text, path, Some(place), false),
                // The two ends of a rename in one, after they were told one by one.
                _ => {}
            }
        }
    }

    fn moved(&self, place: Place, text: &str, path: &Path, from: Option<Place>, came: bool) {
        let Some(entry) = Entry::of(place, text, || At::File(path.to_owned())) else { return };
        self.say(News::Moved(Arc::new(Moved {
            key: entry.key.clone(),
            lane: entry.lane.clone(),
            from,
            to: came.then_some(place),
            entry: came.then_some(entry),
        })));
    }

    fn say(&self, news: News) {
        // Nobody may be listening.
        let _ = self.news.send(news);
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
