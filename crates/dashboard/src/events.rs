//! The events that the gateway keeps, from its `events.db`: through a connection that can only read, and that is not kept,
//! so that a database which was set aside is not read on.

use std::path::Path;

use axum::http::StatusCode;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Refused;
use crate::redact::redacted_json;

/// So many events in one answer.
const EVENTS_MAX: usize = 200;
/// There is no index of the sources: so many of the last events are looked at.
const SOURCE_LOOK: u64 = 500_000;

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
}

/// The events, oldest first, as JSON.
pub(crate) fn events(path: &Path, wanted: &Wanted) -> Result<String, Refused> {
    if !path.exists() {
        let why = "no gateway has kept events here yet: docs/OPERATIONS.md, \"The event bus\"";
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    }
    let read = || -> rusqlite::Result<Value> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        read(&Connection::open_with_flags(path, flags)?, wanted)
    };
    let page = read().map_err(|err| {
        let why = format!("events.db cannot be read: {err}");
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    Ok(redacted_json(&page))
}

fn read(connection: &Connection, wanted: &Wanted) -> rusqlite::Result<Value> {
    // One look, so that what is told fits together.
    let look = connection.unchecked_transaction()?;
    let epoch: String =
        look.query_row("SELECT v FROM meta WHERE k = 'epoch'", [], |row| row.get(0))?;
    let ends = "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)";
    let (first, last): (Option<u64>, Option<u64>) =
        look.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (last, total) =
        (last.unwrap_or(0), last.zip(first).map_or(0, |(last, first)| last + 1 - first));
    // A place of another database is none here: the last events are told.
    let after = wanted.after.strip_prefix(&epoch).and_then(|it| it.strip_prefix('-'));
    let after = after.and_then(|it| it.parse::<u64>().ok()).filter(|it| *it <= last);
    let mut from = after.unwrap_or(0);
    let (mut conditions, mut values) = (String::new(), Vec::<Sql>::new());
    if let Some(beginning) = wanted.kind.strip_suffix('*') {
        // Everything that begins so comes before its beginning with the last of all letters behind.
        conditions.push_str(" AND type >= ? AND type < ?");
        values.extend([beginning.to_owned().into(), format!("{beginning}\u{10ffff}").into()]);
    } else if !wanted.kind.is_empty() {
        conditions.push_str(" AND type = ?");
        values.push(wanted.kind.clone().into());
    }
    let named = [("session", &wanted.session), ("subject", &wanted.subject)];
    for (column, value) in named.into_iter().filter(|it| !it.1.is_empty()) {
        conditions.push_str(&format!(" AND {column} = ?"));
        values.push(value.clone().into());
    }
    if !wanted.source.is_empty() {
        conditions.push_str(" AND source = ?");
        values.push(wanted.source.clone().into());
        from = from.max(last.saturating_sub(SOURCE_LOOK));
    }
    let order = if after.is_some() { "ASC" } else { "DESC" };
    let question = format!(
        "SELECT seq, body FROM events WHERE seq > {from}{conditions} ORDER BY seq {order} LIMIT {EVENTS_MAX}"
    );
    let mut statement = look.prepare(&question)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut rows: Vec<(u64, String)> = rows.collect::<Result<_, _>>()?;
    rows.sort_by_key(|it| it.0);
    // What is more than fits comes with the next question.
    let next = match rows.last() {
        Some((seq, _)) if rows.len() == EVENTS_MAX => *seq,
        _ => last,
    };
    let events: Vec<Value> =
        rows.iter().filter_map(|(_, body)| serde_json::from_str(body).ok()).collect();
    Ok(serde_json::json!({
        "events": events, "next": format!("{epoch}-{next}"), "total": total,
    }))
}
