//! Looking at the tables: no locks, no writes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tinyclaw_domain::Message;
use tinyclaw_postgres::{Args, Database, Kind, Row, args};
use tokio::sync::{Notify, broadcast};

use super::Office;
use super::news::{Watching, name_of};
use crate::entry::{At, Shelf};
use crate::error::{Fault, LookError};
use crate::name::{self, Parts};
use crate::watch::NEWS_MAX;
use crate::work::Look;
use crate::{Place, Watch};

/// What a name is made of. Each place is named in the statement itself, so that its own index serves.
macro_rules! names {
    ($($rest:literal)*) => {
        concat!(
            "select prio, ord, ms_of(queued_at), not_before, lane, key, place from message where office = $1 ",
            $($rest),*
        )
    };
}

/// How old what is known of the lanes may be, for whoever only looks: it is not asked for.
const NO_SWEEP: Duration = Duration::from_secs(1);

pub(super) struct RowLook {
    database: Option<Database>,
    office: Mutex<Option<Arc<Office>>>,
}

impl RowLook {
    pub(super) fn at(office: Arc<Office>) -> RowLook {
        RowLook { database: None, office: Mutex::new(Some(office)) }
    }

    pub(super) fn lazily(database: Database) -> RowLook {
        RowLook { database: Some(database), office: Mutex::new(None) }
    }

    fn office(&self) -> Result<Arc<Office>, LookError> {
        let mut office = self.office.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(office) = &*office {
            return Ok(office.clone());
        }
        let nowhere = || LookError::Away { why: Fault::because("it is nowhere") };
        let database = self.database.as_ref().ok_or_else(nowhere)?;
        let opened = Office::open(database, NO_SWEEP);
        let opened = opened.map_err(|err| LookError::Away { why: Fault::because(told(&err)) })?;
        *office = Some(opened.clone());
        Ok(opened)
    }

    fn ask(
        &self,
        statement: &'static str,
        args: impl FnOnce(i32) -> Args,
    ) -> Result<Vec<Row>, LookError> {
        let office = self.office()?;
        let args = args(office.session.office());
        let rows = office.session.call(Kind::Plain, statement, args);
        rows.map_err(|err| LookError::Away { why: Fault::of(err) })
    }

    /// A column of the row from which a message is read, as long as it is where and as it was listed.
    fn column(&self, statement: &'static str, at: &At) -> Result<Option<String>, LookError> {
        let At::Row(place, text) = at else { return Ok(None) };
        let Some(parts) = name::parts(text) else { return Ok(None) };
        let (key, epoch) = (parts.key.to_owned(), parts.epoch as i64);
        let rows = self.ask(statement, |office| args![office, key, place.number(), epoch])?;
        Ok(rows.first().and_then(|it| it.get(0)))
    }
}

impl Look for RowLook {
    fn shelves(&self, place: Place) -> Result<Vec<Shelf>, LookError> {
        if place != Place::Done {
            return Ok(vec![Shelf { place, day: None }]);
        }
        let statement = "select to_char(day, 'YYYY-MM-DD') from generate_series( \
            (select min(moved_at) from message where office = $1 and place = 5) at time zone 'UTC', \
            date_trunc('day', (select max(moved_at) from message where office = $1 and place = 5) \
                at time zone 'UTC') + interval '1 day' - interval '1 microsecond', \
            interval '1 day') as day";
        let rows = self.ask(statement, |office| args![office])?;
        Ok(rows.iter().map(|it| Shelf { place, day: Some(it.get(0)) }).collect())
    }

    fn scan(&self, shelf: &Shelf, each: &mut dyn FnMut(&str, Parts<'_>)) -> Result<(), LookError> {
        let statement = match shelf.place {
            Place::Incoming => names!("and place = 1"),
            Place::Processing => names!("and place = 2"),
            Place::Outgoing => names!("and place = 3"),
            Place::Sending => names!("and place = 4"),
            Place::Dead => names!("and place = 6"),
            Place::Quarantine => names!("and place = 7"),
            Place::Done => names!(
                "and place = 5 and moved_at >= $2::text::timestamp at time zone 'UTC' "
                "and moved_at < ($2::text::timestamp + interval '1 day') at time zone 'UTC'"
            ),
        };
        let rows = self.ask(statement, |office| match &shelf.day {
            Some(day) => args![office, day.clone()],
            None => args![office],
        })?;
        for row in &rows {
            let text = name_in(row);
            if let Some(parts) = name::parts(&text) {
                each(&text, parts);
            }
        }
        Ok(())
    }

    fn named(&self, keys: &[&str]) -> Result<Option<Vec<(Place, String)>>, LookError> {
        let keys: Vec<String> = keys.iter().map(|&it| it.to_owned()).collect();
        let rows = self.ask(names!("and key = any($2)"), |office| args![office, keys])?;
        let place = |row: &Row| Place::of_number(row.get(6));
        Ok(Some(rows.iter().filter_map(|it| Some((place(it)?, name_in(it)))).collect()))
    }

    fn at(&self, shelf: &Shelf, name: &str) -> At {
        At::Row(shelf.place, name.to_owned())
    }

    fn read(&self, at: &At) -> Result<Option<Message>, LookError> {
        let statement = "select doc::text from message \
            where office = $1 and key = $2 and place = $3 and not_before = $4";
        // What is no message is none, as in a file.
        Ok(self.column(statement, at)?.and_then(|it| serde_json::from_str(&it).ok()))
    }

    fn reason(&self, at: &At) -> Result<Option<String>, LookError> {
        let statement = "select reason from message \
            where office = $1 and key = $2 and place = $3 and not_before = $4";
        self.column(statement, at)
    }

    fn put_aside(&self) -> Result<usize, LookError> {
        let statement = "select count(*) from message where office = $1 and place = 7";
        let rows = self.ask(statement, |office| args![office])?;
        Ok(rows.first().map_or(0, |it| it.get::<_, i64>(0).max(0) as usize))
    }

    fn watch(&self) -> Watch {
        match self.office() {
            Ok(office) => {
                let watching = Watching::of(&office);
                let (changed, news) = (office.changed.clone(), office.news.clone());
                // The office lives as long as somebody watches it.
                Watch::new(changed, news, Arc::new((watching, office)))
            }
            // Slower, not wrong: whoever watches is told to look again every two seconds.
            Err(err) => {
                tracing::warn!("moves are not told: {err}");
                Watch::new(Arc::new(Notify::new()), broadcast::channel(NEWS_MAX).0, Arc::new(()))
            }
        }
    }
}

fn name_in(row: &Row) -> String {
    name_of(row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5))
}

/// An error with its causes on one line.
fn told(err: &dyn std::error::Error) -> String {
    match err.source() {
        Some(source) => format!("{err}: {}", told(source)),
        None => err.to_string(),
    }
}

impl fmt::Debug for RowLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowLook({:?})", self.database)
    }
}
