//! What is told between processes: that something may be taken, and, while somebody watches, every move.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tinyclaw_postgres::{Kind, Trouble, args};
use ulid::Ulid;

use super::Office;
use crate::entry::At;
use crate::{Entry, Moved, Place};

/// How long a word that moves are watched counts, and how often it is said again.
const WATCHED_FOR_S: f64 = 10.0;
const SAID_EVERY: Duration = Duration::from_secs(4);

/// `<prio>-<ulid>~<lane>~<key>[~<epoch>].json`: what a message would be named in folders. The order within the ulid's
/// millisecond is the one in which messages came in on all machines.
pub(super) fn name_of(
    prio: i16,
    ord: i64,
    queued_ms: i64,
    not_before: i64,
    lane: &str,
    key: &str,
) -> String {
    let ulid = Ulid::from_parts(queued_ms.max(0) as u64, ord.max(0) as u128);
    match not_before {
        0 => format!("{prio}-{ulid}~{lane}~{key}.json"),
        _ => format!("{prio}-{ulid}~{lane}~{key}~{not_before}.json"),
    }
}

/// The move in a text that was told; `None` for other texts, and for what is no move. See `move_of` in the functions.
pub(super) fn moved_in(text: &str) -> Option<Arc<Moved>> {
    let mut words = text.strip_prefix('m')?.split(' ');
    let mut places = words.next()?.bytes().map(|it| it.wrapping_sub(b'0').into());
    let (from, to) = (Place::of_number(places.next()?), Place::of_number(places.next()?));
    let mut number = || words.next()?.parse::<i64>().ok();
    let (prio, ord) = (number()?, number()?);
    let (queued_ms, not_before) = (number()?, number()?);
    let (lane, key) = (words.next()?, words.next()?);
    let name = name_of(prio as i16, ord, queued_ms, not_before, lane, key);
    let entry = to.and_then(|to| Entry::of(to, &name, || At::Row(to, name.clone())));
    Some(Arc::new(Moved { key: key.parse().ok()?, lane: lane.parse().ok()?, from, to, entry }))
}

/// Says that moves are watched, for as long as it lives.
pub(super) struct Watching {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::Thread>,
}

impl Watching {
    /// Those who watch in one process share one of these.
    pub(super) fn of(office: &Arc<Office>) -> Arc<Watching> {
        let mut shared = office.watching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(watching) = shared.upgrade() {
            return watching;
        }
        // Listens before it asks to be told, so that nothing that is told is missed.
        if let Err(err) = office.session.me().and_then(|_| say(office)) {
            tracing::debug!("moves are not told yet: {err}");
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let (weak, over) = (Arc::downgrade(office), is_over.clone());
        let thread = std::thread::Builder::new().name("queue-watch".to_owned());
        // Without a thread moves are told for ten seconds, and a look again every two finds the rest.
        let thread = thread.spawn(move || keep_saying(&weak, &over)).ok();
        let thread = thread.map(|it| it.thread().clone());
        let watching = Arc::new(Watching { is_over, thread });
        *shared = Arc::downgrade(&watching);
        watching
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

fn keep_saying(office: &Weak<Office>, is_over: &AtomicBool) {
    loop {
        std::thread::park_timeout(SAID_EVERY);
        let Some(office) = office.upgrade().filter(|_| !is_over.load(Ordering::SeqCst)) else {
            return;
        };
        if let Err(err) = say(&office) {
            tracing::debug!("moves may not be told: {err}");
        }
    }
}

fn say(office: &Office) -> Result<(), Trouble> {
    let statement = "select watch($1, make_interval(secs => $2))";
    let args = args![office.session.office(), WATCHED_FOR_S];
    office.session.call(Kind::Plain, statement, args).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_read_as_it_was_told_and_anything_else_is_none() {
        let moved = moved_in("m12 0 77 1771234567890 0 c.42 tg-1").unwrap();
        assert_eq!((moved.from, moved.to), (Some(Place::Incoming), Some(Place::Processing)));
        assert_eq!((moved.key.as_str(), moved.lane.to_string().as_str()), ("tg-1", "c.42"));
        let entry = moved.entry.as_ref().unwrap();
        assert_eq!((entry.queued_at, entry.not_before), (1_771_234_567_890, None));
        let gone = moved_in("m60 1 77 1771234567890 5 42 hb-1").unwrap();
        assert_eq!((gone.from, gone.to, &gone.entry), (Some(Place::Dead), None, &None));
        for text in
            ["", "w", "m", "m1", "m12 0 77", "m12 x 77 1 0 42 tg-1", "m12 0 77 1 0 4/2 tg-1"]
        {
            assert!(moved_in(text).is_none(), "{text:?}");
        }
    }
}
