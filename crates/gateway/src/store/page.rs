//! Reading the database: pages of events in their order, by whatever somebody filters for, and where it begins.
//!
//! Each question is answered from one look at the database and leaves no transaction open.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, Error, OptionalExtension as _, Row, Rows, params, params_from_iter};
use serde::Serialize;

use super::{Frame, Head, schema};
use crate::event::{Cursor, Epoch};
use crate::filter::{Filter, Pattern};

/// Beyond so many types that begin alike, all events are looked at.
const TYPES_MAX: usize = 256;

const COLUMNS: &str = "seq, type, source, session, subject, time, body";

/// A page of events, and what there is around it.
#[derive(Debug, Clone)]
pub struct Page {
    /// The events, oldest first.
    pub frames: Vec<Arc<Frame>>,
    /// Up to here everything was looked at.
    pub next: u64,
    /// The oldest event that is kept; one after the head when there is none.
    pub first: u64,
    /// The last event at that moment.
    pub head: Head,
}

/// How many events of a type there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeCount {
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// The oldest that is kept, and the last.
fn range(connection: &Connection) -> rusqlite::Result<(u64, Head)> {
    let epoch: String =
        connection.query_row("SELECT v FROM meta WHERE k = 'epoch'", [], |row| row.get(0))?;
    let epoch: Epoch = epoch.parse().map_err(|_| Error::InvalidQuery)?;
    let ends = "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)";
    let (first, last): (Option<i64>, Option<i64>) =
        connection.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let seq = last.map_or(0, i64::unsigned_abs);
    Ok((first.map_or(seq + 1, i64::unsigned_abs), Cursor { epoch, seq }))
}

/// How much is read at most: a page ends with the event that reaches one of the two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// So many events are looked at where no index leads to those that pass. There is none of the sources.
    pub(super) look: u64,
}

impl Most {
    /// Whether so many events of so many bytes are a whole page.
    fn is_reached(self, rows: usize, bytes: usize) -> bool {
        rows >= self.rows || bytes >= self.bytes
    }

    /// The first of these that make a page, and whether that is a whole one.
    fn cut(self, frames: &mut Vec<Arc<Frame>>) -> bool {
        let mut bytes = 0;
        let end = frames.iter().enumerate().find_map(|(at, it)| {
            bytes += it.body().len();
            self.is_reached(at + 1, bytes).then_some(at + 1)
        });
        frames.truncate(end.unwrap_or(usize::MAX));
        end.is_some()
    }
}

/// The events after a place.
pub(super) fn after(
    connection: &Connection,
    filter: &Filter,
    after: u64,
    most: Most,
) -> rusqlite::Result<Page> {
    let look = connection.unchecked_transaction()?;
    let (first, head) = range(&look)?;
    let mut from = after.max(first.saturating_sub(1));
    if let Some(since) = filter.since {
        from = from.max(before_time(&look, first, head.seq, since)?);
    }
    let kinds = kinds(&look, &filter.types)?;
    let until = match kinds.is_found_by_looking(filter) {
        true => head.seq.min(from.saturating_add(most.look)),
        false => head.seq,
    };
    let reading = Reading { from, until, most, is_backwards: false };
    let (frames, is_whole) = select(&look, filter, kinds, head, reading)?;
    let next = match frames.last() {
        Some(last) if is_whole => last.cursor.seq,
        _ => until.max(after),
    };
    Ok(Page { frames, next, first, head })
}

/// The last events.
pub(super) fn last(connection: &Connection, filter: &Filter, most: Most) -> rusqlite::Result<Page> {
    let look = connection.unchecked_transaction()?;
    let (first, head) = range(&look)?;
    let kinds = kinds(&look, &filter.types)?;
    let from = match kinds.is_found_by_looking(filter) {
        true => head.seq.saturating_sub(most.look),
        false => 0,
    };
    let reading = Reading { from, until: head.seq, most, is_backwards: true };
    let (mut frames, _) = select(&look, filter, kinds, head, reading)?;
    frames.reverse();
    Ok(Page { frames, next: head.seq, first, head })
}

/// The events about any of these, in their order.
pub(super) fn about(
    connection: &Connection,
    subjects: &[String],
    most: Most,
) -> rusqlite::Result<Vec<Arc<Frame>>> {
    let look = connection.unchecked_transaction()?;
    let (_, head) = range(&look)?;
    let question = format!("SELECT {COLUMNS} FROM events WHERE subject = ?1 ORDER BY seq LIMIT ?2");
    let mut statement = look.prepare_cached(&question)?;
    let mut found = Vec::new();
    for it in subjects {
        let rows = statement.query(params![it, signed(most.rows)])?;
        found.extend(read(rows, head, most, |_| true)?);
    }
    found.sort_by_key(|it: &Arc<Frame>| it.cursor.seq);
    found.dedup_by_key(|it| it.cursor.seq);
    most.cut(&mut found);
    Ok(found)
}

struct Reading {
    /// After this,
    from: u64,
    /// and up to this.
    until: u64,
    most: Most,
    is_backwards: bool,
}

/// Reads what passes, until it is a page.
fn read(
    mut rows: Rows<'_>,
    head: Head,
    most: Most,
    admits: impl Fn(&Frame) -> bool,
) -> rusqlite::Result<Vec<Arc<Frame>>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    while !most.is_reached(found.len(), bytes)
        && let Some(row) = rows.next()?
    {
        let it = frame(row, head.epoch)?;
        if admits(&it) {
            bytes += it.body().len();
            found.push(it);
        }
    }
    Ok(found)
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// What passes, the nearest first, and whether that is a whole page.
fn select(
    connection: &Connection,
    filter: &Filter,
    kinds: Kinds,
    head: Head,
    reading: Reading,
) -> rusqlite::Result<(Vec<Arc<Frame>>, bool)> {
    let (condition, values) = filter.condition();
    let order = if reading.is_backwards { "DESC" } else { "ASC" };
    let ask = |kind: Option<&str>| -> rusqlite::Result<Vec<Arc<Frame>>> {
        let of_kind = if kind.is_some() { "type = ? AND " } else { "" };
        let question = format!(
            "SELECT {COLUMNS} FROM events WHERE {of_kind}seq > ? AND seq <= ?{condition} ORDER BY seq {order} LIMIT ?"
        );
        let mut all: Vec<Value> = kind.map(|it| it.to_owned().into()).into_iter().collect();
        all.extend([reading.from, reading.until].map(|it| Value::from(place(it))));
        all.extend(values.iter().cloned());
        all.push(signed(reading.most.rows).into());
        let mut statement = connection.prepare_cached(&question)?;
        read(statement.query(params_from_iter(all))?, head, reading.most, |_| true)
    };
    let mut found = match kinds {
        // Each type has an index in the right order; what they give is put together here. One that gave a whole page has
        // nothing of its own behind the end of the page that all of them make.
        Kinds::These(kinds) => {
            let mut found = Vec::new();
            for kind in &kinds {
                found.extend(ask(Some(kind))?);
            }
            found.sort_by_key(|it: &Arc<Frame>| it.cursor.seq);
            if reading.is_backwards {
                found.reverse();
            }
            found
        }
        Kinds::All => ask(None)?,
        Kinds::TooMany => sift(connection, filter, head, &reading)?,
    };
    let is_whole = reading.most.cut(&mut found);
    found.shrink_to_fit();
    Ok((found, is_whole))
}

/// Reads everything in its order and keeps what passes.
fn sift(
    connection: &Connection,
    filter: &Filter,
    head: Head,
    reading: &Reading,
) -> rusqlite::Result<Vec<Arc<Frame>>> {
    let order = if reading.is_backwards { "DESC" } else { "ASC" };
    let question =
        format!("SELECT {COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq {order}");
    let mut statement = connection.prepare_cached(&question)?;
    let between = params![place(reading.from), place(reading.until)];
    read(statement.query(between)?, head, reading.most, |it| filter.admits(it))
}

enum Kinds {
    All,
    These(Vec<String>),
    TooMany,
}

impl Kinds {
    /// Whether events that do not pass may have to be looked at in any number.
    fn is_found_by_looking(&self, filter: &Filter) -> bool {
        let has_index = filter.session.is_some() || filter.subject.is_some();
        matches!(self, Kinds::TooMany) || (filter.source.is_some() && !has_index)
    }
}

/// The types there are that a filter's patterns mean. Each step jumps to the next type in the index.
fn kinds(connection: &Connection, patterns: &[Pattern]) -> rusqlite::Result<Kinds> {
    if patterns.is_empty() {
        return Ok(Kinds::All);
    }
    let mut kinds = Vec::new();
    let mut next = connection
        .prepare_cached("SELECT type FROM events WHERE type > ?1 ORDER BY type LIMIT 1")?;
    let mut here = connection
        .prepare_cached("SELECT type FROM events WHERE type >= ?1 ORDER BY type LIMIT 1")?;
    for pattern in patterns {
        match pattern {
            Pattern::Exactly(it) => kinds.push(it.clone()),
            Pattern::Beginning(it) if it.is_empty() => return Ok(Kinds::All),
            Pattern::Beginning(beginning) => {
                let get = |row: &Row<'_>| row.get::<_, String>(0);
                let mut kind = here.query_row([beginning], get).optional()?;
                while let Some(it) = kind.filter(|it| it.starts_with(beginning.as_str())) {
                    if kinds.len() >= TYPES_MAX {
                        return Ok(Kinds::TooMany);
                    }
                    kind = next.query_row([&it], get).optional()?;
                    kinds.push(it);
                }
            }
        }
    }
    kinds.sort();
    kinds.dedup();
    Ok(Kinds::These(kinds))
}

/// The place before the first event that came at `since` or later. What happened then or later came no earlier, and
/// events lie in the order in which they came.
fn before_time(
    connection: &Connection,
    first: u64,
    last: u64,
    since: u64,
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT at FROM events WHERE seq = ?1")?;
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let seq = i64::try_from(middle).unwrap_or(i64::MAX);
        let at: i64 = statement.query_row(params![seq], |row| row.get(0))?;
        if at.unsigned_abs() < since { low = middle + 1 } else { high = middle }
    }
    Ok(low.saturating_sub(1))
}

fn frame(row: &Row<'_>, epoch: Epoch) -> rusqlite::Result<Arc<Frame>> {
    let text = |at| row.get_ref(at)?.as_str().map_err(|_| broken(at));
    let maybe = |at| row.get_ref(at)?.as_str_or_null().map_err(|_| broken(at));
    let cursor = Cursor { epoch, seq: row.get::<_, i64>(0)?.unsigned_abs() };
    let body = text(6)?;
    if !schema::is_of(body, cursor) {
        return Err(broken(6));
    }
    let time = row.get::<_, i64>(5)?.unsigned_abs();
    Ok(Arc::new(Frame::new(cursor, text(1)?, text(2)?, maybe(3)?, maybe(4)?, time, body)))
}

fn broken(column: usize) -> Error {
    Error::InvalidColumnType(column, "events".to_owned(), rusqlite::types::Type::Null)
}

/// How many events of each type there are, the most frequent first.
pub(super) fn types(connection: &Connection) -> rusqlite::Result<Vec<TypeCount>> {
    let question = "SELECT type, count(*) FROM events GROUP BY type ORDER BY 2 DESC, 1 LIMIT 256";
    let mut statement = connection.prepare_cached(question)?;
    let rows = statement.query_map([], |row| {
        Ok(TypeCount { kind: row.get(0)?, count: row.get::<_, i64>(1)?.unsigned_abs() })
    })?;
    rows.collect()
}

/// How far a followed log was read.
pub(super) fn position(connection: &Connection, log: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT position FROM cursors WHERE name = ?1", [log], |row| row.get(0))
        .optional()
}

/// How many logs are followed.
pub(super) fn followed(connection: &Connection) -> rusqlite::Result<u64> {
    let count =
        connection.query_row("SELECT count(*) FROM cursors", [], |row| row.get::<_, i64>(0))?;
    Ok(count.unsigned_abs())
}
