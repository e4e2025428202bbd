//! The engine on PostgreSQL: a message is a row whose place is its state, a lane is a row that says who holds it, and every
//! operation is one function of `crates/postgres` in one transaction.
//!
//! Who holds a lane is a turn, a number that is never used twice: whatever a process does to a message names its turn, and is
//! refused when somebody else has the lane by now. What is known of how much waits is as old as the last sweep.

mod hold;
mod look;
mod news;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tinyclaw_postgres::{Database, Heard, Kind, Row, Session, Trouble, args};
use tokio::sync::{Notify, broadcast};

use self::look::RowLook;
use self::news::{Watching, moved_in};
use self::work::Rows;
use crate::error::{Fault, OpenError};
use crate::watch::NEWS_MAX;
use crate::work::{Look, Work};
use crate::{News, Options, Place, Side};

pub(crate) fn open(database: &Database, options: &Options) -> Result<Arc<dyn Work>, OpenError> {
    let office = Office::open(database, options.sweep_every)?;
    office.count().map_err(|err| OpenError::Away { source: Fault::of(err) })?;
    Ok(Arc::new(Rows { office, done_days: options.done_days, dues: Mutex::default() }))
}

/// A look at an office, which is connected to when something is asked.
pub(crate) fn look(database: &Database) -> Arc<dyn Look> {
    Arc::new(RowLook::lazily(database.clone()))
}

/// One process at an office's tables.
struct Office {
    session: Session,
    changed: Arc<Notify>,
    news: broadcast::Sender<News>,
    known: Mutex<Known>,
    sweep_every: Duration,
    watching: Mutex<Weak<Watching>>,
}

/// What was last heard of the lanes.
#[derive(Default)]
struct Known {
    lanes: HashMap<(Side, String), Count>,
    when: Option<Instant>,
    /// When dead owners were looked for last.
    swept: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    waiting: usize,
    /// Whether a message of it is worked on, or was left behind.
    is_busy: bool,
}

impl Office {
    fn open(database: &Database, sweep_every: Duration) -> Result<Arc<Office>, OpenError> {
        let changed = Arc::new(Notify::new());
        let (news, _) = broadcast::channel(NEWS_MAX);
        let (told, teller) = (changed.clone(), news.clone());
        let session = Session::open(database, move |heard| {
            let news = match heard {
                Heard::Told(text) => moved_in(text).map(News::Moved),
                Heard::Anew => Some(News::LookAgain),
            };
            if let Some(news) = news {
                // Nobody may be listening.
                let _ = teller.send(news);
            }
            told.notify_waiters();
        });
        let session = session.map_err(|err| {
            use tinyclaw_postgres::OpenError as Cause;
            match err {
                Cause::Pooler => OpenError::Pooler { source: Fault::of(err) },
                Cause::Newer { .. } | Cause::Migrate { .. } | Cause::Steps { .. } => {
                    OpenError::Schema { source: Fault::of(err) }
                }
                Cause::Reach { source } => OpenError::Away { source: Fault::of(source) },
                Cause::Begin { source } => OpenError::Begin { source: Fault::of(source) },
            }
        })?;
        let (known, watching) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Office { session, changed, news, known, sweep_every, watching }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts again what waits in every lane.
    fn count(&self) -> Result<(), Trouble> {
        let statement = "select side, lane, waiting, held is not null or hand is not null from lane \
            where office = $1 and (waiting > 0 or held is not null or hand is not null)";
        let rows = self.session.call(Kind::Plain, statement, args![self.session.office()])?;
        let mut known = self.known();
        known.lanes.clear();
        for row in rows {
            let side =
                if row.get::<_, i8>(0) == Side::Run.letter() { Side::Run } else { Side::Send };
            let waiting = row.get::<_, i32>(2).max(0) as usize;
            known.lanes.insert((side, row.get(1)), Count { waiting, is_busy: row.get(3) });
        }
        known.when = Some(Instant::now());
        Ok(())
    }

    /// Counts again, when what is known is older than a sweep.
    fn count_if_old(&self) {
        let is_old = self.known().when.is_none_or(|it| it.elapsed() >= self.sweep_every);
        if is_old && let Err(err) = self.count() {
            tracing::debug!("how much waits is as old as before: {err}");
        }
    }

    /// Notes what a call said of a lane.
    fn note(&self, side: Side, lane: &str, row: &Row, is_busy: bool) {
        if let Some(waiting) = row.get::<_, Option<i32>>("o_waiting") {
            let count = Count { waiting: waiting.max(0) as usize, is_busy };
            self.known().lanes.insert((side, lane.to_owned()), count);
        }
    }
}

impl Side {
    fn letter(self) -> i8 {
        match self {
            Side::Run => b'r' as i8,
            Side::Send => b's' as i8,
        }
    }
}

impl Place {
    /// Its number in the tables.
    fn number(self) -> i16 {
        match self {
            Place::Incoming => 1,
            Place::Processing => 2,
            Place::Outgoing => 3,
            Place::Sending => 4,
            Place::Done => 5,
            Place::Dead => 6,
            Place::Quarantine => 7,
        }
    }

    fn of_number(number: i16) -> Option<Place> {
        Place::ALL.into_iter().find(|it| it.number() == number)
    }
}
