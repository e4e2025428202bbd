//! The database: its tables, how it is opened, what its errors mean, and how a damaged one is set aside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, OptionalExtension as _, params};

use super::{Head, StoreError};
use crate::event::{Cursor, Epoch};

/// What this program writes; a later one's is not touched.
const VERSION: i64 = 6;
/// So long is waited for somebody else who holds the database, such as a person with a shell.
const PATIENCE: Duration = Duration::from_secs(2);
/// The log of what is written is cut back to this.
const WAL_BYTES: i64 = 16 << 20;
/// It is written into the database when it has so many pages, 16 MiB: that takes two flushes more.
const WAL_PAGES: i64 = 4_096;

const TABLES: &str = "
    CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT;
    CREATE TABLE cursors(name TEXT PRIMARY KEY, position TEXT NOT NULL) STRICT;
    CREATE TABLE events(
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        time INTEGER NOT NULL,
        type TEXT NOT NULL,
        source TEXT NOT NULL,
        session TEXT,
        subject TEXT,
        id TEXT,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_type ON events(type, seq);
    CREATE INDEX events_session ON events(session, seq) WHERE session IS NOT NULL;
    CREATE INDEX events_subject ON events(subject, seq) WHERE subject IS NOT NULL;
    CREATE TABLE seen(
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        PRIMARY KEY(source, id)
    ) STRICT, WITHOUT ROWID;
";

/// Where events are posted to, and what was not delivered.
const WEBHOOKS: &str = "
    CREATE TABLE webhooks(
        id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        types TEXT NOT NULL,
        secret TEXT NOT NULL,
        before TEXT,
        before_until INTEGER,
        cursor INTEGER NOT NULL,
        created INTEGER NOT NULL,
        disabled TEXT
    ) STRICT;
    CREATE TABLE deliveries(
        webhook TEXT NOT NULL,
        seq INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        due INTEGER NOT NULL,
        status INTEGER,
        error TEXT NOT NULL,
        dead INTEGER NOT NULL,
        PRIMARY KEY(webhook, seq)
    ) STRICT, WITHOUT ROWID;
";

/// What waits for somebody else's session.
const NOTES: &str = "
    CREATE TABLE notes(
        id TEXT PRIMARY KEY,
        session TEXT NOT NULL,
        sender TEXT NOT NULL,
        text TEXT NOT NULL,
        until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX notes_session ON notes(session, until);
";

/// What was asked of Claude, and in which conversation. Of each job the queue has the truth; this is where to look.
const JOBS: &str = "
    CREATE TABLE jobs(
        key TEXT PRIMARY KEY,
        account TEXT NOT NULL,
        env TEXT,
        created INTEGER NOT NULL,
        deadline INTEGER,
        state TEXT,
        cost REAL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX jobs_created ON jobs(created, key);
    CREATE TABLE sessions(
        env TEXT NOT NULL,
        id TEXT NOT NULL,
        name TEXT,
        created INTEGER NOT NULL,
        removed INTEGER,
        PRIMARY KEY(env, id)
    ) STRICT, WITHOUT ROWID;
";

/// Which sessions were begun as such, and who is to be told what came of a job.
const CALLBACKS: &str = "
    ALTER TABLE sessions ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE callbacks(
        key TEXT PRIMARY KEY,
        thread TEXT NOT NULL,
        url TEXT NOT NULL,
        secret TEXT NOT NULL,
        created INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        due INTEGER NOT NULL,
        error TEXT,
        is_over INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// What a receiver was to be told is missing: a failure to say so is a delivery, too.
const GAPS: &str = "ALTER TABLE deliveries ADD COLUMN first INTEGER;";

/// Why a database could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It is damaged: it can be set aside.
    Damaged(String),
    /// Another time, perhaps.
    Other(StoreError),
}

impl From<Error> for OpenError {
    fn from(err: Error) -> OpenError {
        if is_damage(&err) {
            OpenError::Damaged(err.to_string())
        } else {
            OpenError::Other(told(&err))
        }
    }
}

/// Opens the database for its one writer, and makes it where there is none.
pub(super) fn open(path: &Path, bytes_max: u64) -> Result<(Connection, Head), OpenError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: the log is flushed with every commit.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "cache_size", -8192)?;
    let page: u64 =
        connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.max(1) as u64;
    let pages = i64::try_from(bytes_max / page).unwrap_or(i64::MAX);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > VERSION {
        let why =
            format!("it was written by a later TinyClaw (format {version}, this is {VERSION})");
        return Err(OpenError::Other(StoreError::Unavailable(why)));
    }
    if version == 0 {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} {WEBHOOKS} {NOTES} {JOBS} {CALLBACKS} {GAPS} INSERT INTO meta VALUES('epoch', '{}');
             PRAGMA user_version = {VERSION}; COMMIT;",
            Epoch::fresh()
        ))?;
    }
    if (1..VERSION).contains(&version) {
        // Before there were webhooks, notes, jobs, callbacks, and gaps.
        let webhooks = if version < 2 { WEBHOOKS } else { "" };
        let notes = if version < 3 { NOTES } else { "" };
        let jobs = if version < 4 { JOBS } else { "" };
        let callbacks = if version < 5 { CALLBACKS } else { "" };
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {webhooks} {notes} {jobs} {callbacks} {GAPS} PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
    }
    let epoch: String =
        connection.query_row("SELECT v FROM meta WHERE k = 'epoch'", [], |row| row.get(0))?;
    let epoch: Epoch =
        epoch.parse().map_err(|_| OpenError::Damaged(format!("{epoch:?} is no epoch")))?;
    let newest = "SELECT seq, body FROM events ORDER BY seq DESC LIMIT 1";
    let newest: Option<(i64, String)> =
        connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let seq = newest.as_ref().map_or(0, |it| it.0.unsigned_abs());
    let head = Cursor { epoch, seq };
    if newest.is_some_and(|(_, body)| !is_of(&body, head)) {
        return Err(OpenError::Damaged("its last event is not the one of that number".to_owned()));
    }
    Ok((connection, head))
}

/// A connection that can only read.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    Ok(connection)
}

/// Gives the database another epoch: after a restore, so that nobody takes the numbers that come for those that went.
pub(crate) fn new_epoch(path: &Path) -> Result<Epoch, StoreError> {
    let renew = || -> rusqlite::Result<Epoch> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(PATIENCE)?;
        let epoch = Epoch::fresh();
        connection
            .execute("UPDATE meta SET v = ?1 WHERE k = 'epoch'", params![epoch.to_string()])?;
        Ok(epoch)
    };
    renew().map_err(|err| told(&err))
}

/// Copies the database as it is at one moment, and gives the copy another epoch.
pub(crate) fn back_up(path: &Path, to: &Path) -> Result<u64, StoreError> {
    let unusable = |why: &str| StoreError::Unavailable(format!("{}: {why}", to.display()));
    if to.symlink_metadata().is_ok() {
        return Err(unusable("is there already; name another file"));
    }
    let to_text = to.to_str().ok_or_else(|| unusable("is no name in UTF-8"))?;
    let copy = || -> rusqlite::Result<u64> {
        let connection = open_to_read(path)?;
        connection.execute("VACUUM INTO ?1", params![to_text])?;
        let count = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
        count.map(i64::unsigned_abs)
    };
    let count = copy().map_err(|err| told(&err))?;
    new_epoch(to)?;
    Ok(count)
}

/// Whether this body stands under the place it says.
pub(super) fn is_of(body: &str, cursor: Cursor) -> bool {
    // The epoch may be another: the events of before a restore keep the ids they were told under.
    let rest = body.strip_prefix(r#"{"id":"evt_"#).and_then(|it| it.get(4..));
    let rest = rest.and_then(|it| it.strip_prefix('-'));
    rest.and_then(|it| it.split_once('"')).is_some_and(|(seq, _)| seq.parse() == Ok(cursor.seq))
}

/// Whether an error says that the file is no database, or a damaged one.
pub(super) fn is_damage(err: &Error) -> bool {
    matches!(err.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            err,
            Error::InvalidColumnType(..)
                | Error::FromSqlConversionFailure(..)
                | Error::Utf8Error(..)
        )
}

/// The error in words for who asked.
pub(super) fn told(err: &Error) -> StoreError {
    match err.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Unavailable("another program holds it; end that program".to_owned())
        }
        Some(ErrorCode::ReadOnly) => {
            StoreError::Unavailable("it may not be written; look at its owner and mode".to_owned())
        }
        _ => StoreError::Unavailable(err.to_string()),
    }
}

/// Where a damaged database is kept, in place of the one that was kept before.
pub(super) fn aside_of(path: &Path) -> PathBuf {
    with_suffix(path, ".bad")
}

/// Sets a damaged database aside, with its log.
pub(super) fn set_aside(path: &Path) -> Result<(), tinyclaw_disk::DiskError> {
    let aside = aside_of(path);
    for suffix in ["-wal", "-shm", ""] {
        let from = with_suffix(path, suffix);
        let to = with_suffix(&aside, suffix);
        match tinyclaw_disk::rename(&from, &to) {
            Ok(()) => {}
            // Without a log of its own it must not find that of the one before.
            Err(err) if err.is_not_found() => tinyclaw_disk::remove(&to)?,
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}
