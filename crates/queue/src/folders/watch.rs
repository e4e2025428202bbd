//! Wake-ups: the kernel says what moved. A hint; whoever misses one finds the message at the next sweep.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, broadcast};

use super::index::Index;
use super::layout::Folders;
use super::notices::{Happened, Notice, Notices};
use crate::clock::now_ms;
use crate::entry::At;
use crate::watch::NEWS_MAX;
use crate::{Entry, Moved, News, Place, Side, Watch, name};

/// The places a queue watches. What goes to `done/` was known before, and what lies there does not move.
const WATCHED: [Place; 5] =
    [Place::Incoming, Place::Processing, Place::Outgoing, Place::Sending, Place::Dead];

/// Feeds the index. Ends when dropped.
pub(super) fn feed(
    folders: &Arc<Folders>,
    index: Arc<Mutex<Index>>,
    changed: Arc<Notify>,
) -> io::Result<Notices> {
    let known = folders.clone();
    let places = WATCHED.map(|it| folders.place(it));
    Notices::start(&places, None, move |notice| {
        let index = || index.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Name { folder, text, happened, .. } => {
                if let Some(place) = place_of(&known, folder) {
                    tell(&mut index(), place, text, happened);
                }
            }
            Notice::Missed => index().stale = true,
            Notice::Caught => {}
        }
        if notice == Notice::Caught {
            changed.notify_waiters();
        }
    })
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

/// The place that a folder is, or is a day of.
fn place_of(folders: &Folders, folder: &Path) -> Option<Place> {
    let is_in = |place: &Place| {
        let day = if *place == Place::Done { folder.parent() } else { None };
        folders.place(*place) == day.unwrap_or(folder)
    };
    Place::ALL.into_iter().find(is_in)
}

/// Feeds a reader: every move by its key, where the kernel tells it.
pub(super) fn start(folders: &Arc<Folders>) -> Watch {
    let changed = Arc::new(Notify::new());
    let (news, _) = broadcast::channel(NEWS_MAX);
    let (told, teller) = (changed.clone(), news.clone());
    let mut teller = Teller { folders: folders.clone(), news: teller, left: Vec::new() };
    let places: Vec<&Path> =
        WATCHED.into_iter().chain([Place::Quarantine]).map(|it| folders.place(it)).collect();
    let notices =
        Notices::start(&places, Some(folders.place(Place::Done)), move |notice| match notice {
            Notice::Name { folder, text, happened, number } => {
                teller.tell(folder, text, happened, number);
            }
            Notice::Missed => teller.say(News::LookAgain),
            Notice::Caught => told.notify_waiters(),
        });
    // No notices (no inotify instance left, say) make it slower, not wrong.
    Watch::new(changed, news, Arc::new(notices.ok()))
}

/// Makes moves of what the kernel says of names: a rename is told as one that leaves and one that comes, with the same
/// number.
struct Teller {
    folders: Arc<Folders>,
    news: broadcast::Sender<News>,
    /// What left last, and from where. Few: where it came to is told right after.
    left: Vec<(u32, Place)>,
}

/// What left for a folder that nobody watches is never told to have come anywhere.
const LEFT_MAX: usize = 16;

impl Teller {
    fn tell(&mut self, folder: &Path, text: &str, happened: Happened, number: u32) {
        let Some(place) = place_of(&self.folders, folder) else { return };
        let path = folder.join(text);
        match happened {
            Happened::Left => {
                if self.left.len() == LEFT_MAX {
                    self.left.remove(0);
                }
                self.left.push((number, place));
            }
            Happened::Came => {
                // What was made where it lies has no number.
                let at = self.left.iter().position(|it| it.0 == number && number != 0);
                let from = at.map(|at| self.left.remove(at).1);
                self.moved(place, text, &path, from, true);
            }
            Happened::Removed => self.moved(place, text, &path, Some(place), false),
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
