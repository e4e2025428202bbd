//! The events that the gateway keeps, from its `events.db`: through a connection that can only read, and that is not kept,
//! so that a database which was set aside is not read on.

use std::ops::Range;
use std::path::Path;

use axum::http::StatusCode;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params, params_from_iter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Refused;
use crate::redact::redacted_json;

/// So many events in one answer, and so much of them: one may have 256 KiB.
const EVENTS_MAX: usize = 200;
const EVENTS_BYTES_MAX: usize = 2 << 20;
/// There is no index of the sources: so many events are looked at for one answer.
const SOURCE_LOOK: u64 = 500_000;
/// Beyond so many types that begin alike, the rest of them is not told.
const TYPES_MAX: usize = 256;
/// So many hook events are shown of one turn, out of so many of its session.
const HOOKS_MAX: usize = 300;
const HOOKS_LOOK: usize = 20_000;
/// Claude tells of a turn a little before our clock begins it, and a little after it has ended.
const HOOKS_MARGIN_MS: u64 = 3_000;

/// Which events are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    /// A type, or its beginning and a `*`.
    #[serde(rename = "type")]
    kind: String,
    source: String,
    session: String,
    subject: String,
    /// Those after this one; without it the last ones.
    after: String,
    /// The last ones before this one.
    before: String,
}

/// A page of events.
#[derive(Debug, Serialize)]
struct Page {
    /// Oldest first.
    events: Vec<Value>,
    /// What comes later is asked for after this place.
    next: String,
    /// What is older is asked for before this place; absent when there is nothing older.
    #[serde(skip_serializing_if = "Option::is_none")]
    past: Option<String>,
    /// The oldest event that is kept, and the last one.
    first: String,
    head: String,
    /// How many are kept.
    total: u64,
}

/// A hook event of a turn.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hook {
    /// Its id, such as `evt_k7q2-123`.
    id: String,
    /// Such as `claude.PreToolUse`.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened, in ms since 1970.
    at: u64,
    /// Claude's session.
    session: Option<String>,
    /// The id of the tool call it is about.
    subject: Option<String>,
}

/// The events, oldest first, as JSON.
pub(crate) fn events(path: &Path, wanted: &Wanted) -> Result<String, Refused> {
    let page = opened(path).and_then(|it| read(&it, wanted)).map_err(|err| {
        let why = format!("events.db cannot be read: {err}");
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    Ok(redacted_json(&page))
}

/// The hook events of a turn: those of its tool calls, by their ids, and what else their session told meanwhile, in ms since
/// 1970. `session` is Claude's, as the office knows it now.
pub(crate) fn hooks(
    path: &Path,
    tools: &[String],
    session: Option<String>,
    meanwhile: Range<u64>,
) -> Vec<Hook> {
    opened(path).and_then(|it| hooks_of(&it, tools, session, meanwhile)).unwrap_or_else(|err| {
        tracing::debug!("a story lacks its hook events: {err}");
        Vec::new()
    })
}

fn opened(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn epoch_of(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT v FROM meta WHERE k = 'epoch'", [], |row| row.get(0))
}

/// From where, and in which direction, events are looked for.
struct Reach {
    /// After this one.
    from: u64,
    /// Before this one.
    until: u64,
    is_backwards: bool,
}

fn read(connection: &Connection, wanted: &Wanted) -> rusqlite::Result<Page> {
    // One look, so that what is told fits together.
    let look = connection.unchecked_transaction()?;
    let epoch = epoch_of(&look)?;
    let ends = "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)";
    let (first, last): (Option<u64>, Option<u64>) =
        look.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let last = last.unwrap_or(0);
    let first = first.unwrap_or(last + 1);
    // A place of another database is none here: the last events are told.
    let place =
        |text: &str| -> Option<u64> { text.strip_prefix(&epoch)?.strip_prefix('-')?.parse().ok() };
    let after = place(&wanted.after).filter(|it| *it <= last);
    let mut reach = Reach {
        from: after.unwrap_or(0),
        until: place(&wanted.before).filter(|it| *it <= last).unwrap_or(last + 1),
        is_backwards: after.is_none(),
    };
    if !wanted.source.is_empty() {
        if reach.is_backwards {
            reach.from = reach.until.saturating_sub(SOURCE_LOOK + 1);
        } else {
            reach.until = reach.until.min(reach.from + SOURCE_LOOK + 1);
        }
    }
    let (mut rows, is_full) = select(&look, wanted, &reach)?;
    if reach.is_backwards {
        rows.reverse();
    }
    // What is more than fits comes with the next question.
    let next = match rows.last() {
        _ if reach.is_backwards => last,
        Some((seq, _)) if is_full => *seq,
        _ => reach.until - 1,
    };
    let past = match rows.first() {
        _ if !reach.is_backwards => None,
        Some((seq, _)) if is_full => Some(*seq),
        _ => Some(reach.from + 1),
    };
    let named = |seq: u64| format!("{epoch}-{seq}");
    let events = rows.iter().filter_map(|(_, body)| serde_json::from_str(body).ok()).collect();
    Ok(Page {
        events,
        next: named(next),
        past: past.filter(|it| *it > first).map(named),
        first: named(first),
        head: named(last),
        total: last + 1 - first,
    })
}

/// The events in reach, the nearest first, and whether there were more than fit.
fn select(
    connection: &Connection,
    wanted: &Wanted,
    reach: &Reach,
) -> rusqlite::Result<(Vec<(u64, String)>, bool)> {
    let (mut conditions, mut values) = (String::new(), Vec::<Sql>::new());
    let named =
        [("session", &wanted.session), ("subject", &wanted.subject), ("source", &wanted.source)];
    for (column, value) in named.into_iter().filter(|it| !it.1.is_empty()) {
        conditions.push_str(&format!(" AND {column} = ?"));
        values.push(value.clone().into());
    }
    let order = if reach.is_backwards { "DESC" } else { "ASC" };
    let (from, until) = (reach.from, reach.until);
    let mut rows = Vec::new();
    let mut is_full = false;
    for kind in kinds(connection, &wanted.kind)? {
        let of_kind = if kind.is_some() { "type = ? AND " } else { "" };
        let question = format!(
            "SELECT seq, body FROM events WHERE {of_kind}seq > {from} AND seq < {until}{conditions} \
             ORDER BY seq {order} LIMIT {EVENTS_MAX}"
        );
        let all = kind.into_iter().map(Sql::from).chain(values.iter().cloned());
        let mut statement = connection.prepare_cached(&question)?;
        let mut found = statement.query(params_from_iter(all))?;
        let (mut count, mut bytes) = (0, 0);
        while let Some(row) = found.next()? {
            let it: (u64, String) = (row.get(0)?, row.get(1)?);
            count += 1;
            bytes += it.1.len();
            rows.push(it);
            if bytes > EVENTS_BYTES_MAX {
                break;
            }
        }
        is_full |= count == EVENTS_MAX || bytes > EVENTS_BYTES_MAX;
    }
    // Of several types each gave its own: what lies nearest of all of them is told.
    rows.sort_by_key(|it| if reach.is_backwards { u64::MAX - it.0 } else { it.0 });
    let mut bytes = 0;
    let fit = rows.iter().take(EVENTS_MAX).take_while(|it| {
        let fits = bytes <= EVENTS_BYTES_MAX;
        bytes += it.1.len();
        fits
    });
    let fit = fit.count();
    is_full |= fit < rows.len();
    rows.truncate(fit);
    Ok((rows, is_full))
}

/// The types that are meant; one without a name is all of them. Each step goes to the next type in the index.
fn kinds(connection: &Connection, wanted: &str) -> rusqlite::Result<Vec<Option<String>>> {
    let beginning = match wanted.strip_suffix('*') {
        _ if wanted.is_empty() => return Ok(vec![None]),
        None => return Ok(vec![Some(wanted.to_owned())]),
        Some("") => return Ok(vec![None]),
        Some(it) => it,
    };
    let text = |row: &Row<'_>| row.get::<_, String>(0);
    let mut here =
        connection.prepare("SELECT type FROM events WHERE type >= ?1 ORDER BY type LIMIT 1")?;
    let mut next =
        connection.prepare("SELECT type FROM events WHERE type > ?1 ORDER BY type LIMIT 1")?;
    let mut kinds = Vec::new();
    let mut kind = here.query_row([beginning], text).optional()?;
    while let Some(it) = kind.filter(|it| it.starts_with(beginning) && kinds.len() < TYPES_MAX) {
        kind = next.query_row([&it], text).optional()?;
        kinds.push(Some(it));
    }
    Ok(kinds)
}

fn hooks_of(
    connection: &Connection,
    tools: &[String],
    session: Option<String>,
    meanwhile: Range<u64>,
) -> rusqlite::Result<Vec<Hook>> {
    let look = connection.unchecked_transaction()?;
    let epoch = epoch_of(&look)?;
    let hook = |row: &Row<'_>| -> rusqlite::Result<Hook> {
        Ok(Hook {
            id: format!("evt_{epoch}-{}", row.get::<_, u64>(0)?),
            kind: row.get(1)?,
            at: row.get::<_, i64>(2)?.unsigned_abs(),
            session: row.get(3)?,
            subject: row.get(4)?,
        })
    };
    let is_hook =
        |it: &rusqlite::Result<Hook>| !matches!(it, Ok(it) if !it.kind.starts_with("claude."));
    let mut found = Vec::new();
    let mut about = look.prepare(
        "SELECT seq, type, time, session, subject FROM events WHERE subject = ?1 ORDER BY seq LIMIT 32",
    )?;
    for tool in tools {
        for it in about.query_map([tool], hook)?.filter(is_hook) {
            found.push(it?);
        }
    }
    let mut sessions: Vec<String> =
        found.iter().filter_map(|it: &Hook| it.session.clone()).chain(session).collect();
    sessions.sort();
    sessions.dedup();
    let mut of_session = look.prepare(
        "SELECT * FROM (SELECT seq, type, time, session, subject FROM events WHERE session = ?1
         ORDER BY seq DESC LIMIT ?2) WHERE time BETWEEN ?3 AND ?4",
    )?;
    let from = meanwhile.start.saturating_sub(HOOKS_MARGIN_MS);
    let to = meanwhile.end + HOOKS_MARGIN_MS;
    for session in &sessions {
        let of = params![session, HOOKS_LOOK, from, to];
        for it in of_session.query_map(of, hook)?.filter(is_hook) {
            found.push(it?);
        }
    }
    found.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(HOOKS_MAX);
    Ok(found)
}
