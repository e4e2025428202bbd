//! Jobs and sessions in `events.db`: which there are, for whoever lists them. What became of a job the queue says; here
//! stands what it said last, once nothing can change it any more.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tinyclaw_domain::{EnvName, EnvSession, Key, ThreadId};

use super::JobState;
use crate::store::{Store, StoreError};

/// A job that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobRow {
    pub(super) key: Key,
    /// Whose it is.
    pub(super) account: String,
    /// None: a thread of a chat or a terminal was spoken to.
    pub(super) env: Option<EnvName>,
    pub(super) created: u64,
    /// It is stopped then, in ms since 1970.
    pub(super) deadline: Option<u64>,
    /// How it ended.
    pub(super) state: Option<JobState>,
}

/// A conversation of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) id: EnvSession,
    pub(crate) name: Option<String>,
    pub(crate) created: u64,
    /// When it was ended by somebody.
    pub(crate) removed: Option<u64>,
    /// Whether it was begun as such, and not by a prompt that named none.
    pub(crate) is_begun: bool,
}

/// Who is to be told what came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallbackRow {
    pub(super) key: Key,
    pub(super) thread: ThreadId,
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) created: u64,
    /// How often it was not taken.
    pub(super) attempts: u32,
    /// When it is tried again, in ms since 1970.
    pub(super) due: u64,
}

/// Notes an accepted job, and its conversation when that is not known yet.
pub(super) async fn keep(
    store: &Store,
    row: JobRow,
    session: Option<EnvSession>,
) -> Result<(), StoreError> {
    let put = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        let env = row.env.as_ref().map(EnvName::as_str);
        transaction.execute(
            "INSERT OR IGNORE INTO jobs VALUES(?1, ?2, ?3, ?4, ?5, NULL, NULL)",
            params![row.key.as_str(), row.account, env, row.created, row.deadline],
        )?;
        if let (Some(env), Some(session)) = (env, session) {
            transaction.execute(
                "INSERT OR IGNORE INTO sessions VALUES(?1, ?2, NULL, ?3, NULL, 0)",
                params![env, session.to_string(), row.created],
            )?;
        }
        transaction.commit()
    };
    store.change(put).await
}

/// Notes how jobs ended, and what they cost.
pub(super) async fn ended(
    store: &Store,
    jobs: Vec<(Key, JobState, f64)>,
) -> Result<(), StoreError> {
    let note = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        for (key, state, cost) in jobs {
            let question = "UPDATE jobs SET state = ?2, cost = ?3 WHERE key = ?1";
            transaction.execute(question, params![key.as_str(), state.as_str(), cost])?;
        }
        transaction.commit()
    };
    store.change(note).await
}

fn job(row: &Row<'_>) -> rusqlite::Result<Option<JobRow>> {
    let (key, env): (String, Option<String>) = (row.get(0)?, row.get(2)?);
    let state: Option<String> = row.get(5)?;
    // What another version wrote there and this one does not know is passed over.
    let (Ok(key), Ok(env)) = (key.parse(), env.map(|it| it.parse()).transpose()) else {
        return Ok(None);
    };
    Ok(Some(JobRow {
        key,
        account: row.get(1)?,
        env,
        created: row.get(3)?,
        deadline: row.get(4)?,
        state: state.and_then(|it| JobState::named(&it)),
    }))
}

/// The jobs before a place, the newest first, at most `most` of them.
pub(super) async fn before(
    store: &Store,
    before: Option<(u64, Key)>,
    most: usize,
) -> Result<Vec<JobRow>, StoreError> {
    let (created, key) =
        before.map_or((i64::MAX as u64, String::new()), |it| (it.0, it.1.to_string()));
    store
        .read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key, account, env, created, deadline, state FROM jobs
                 WHERE (created, key) < (?1, ?2) ORDER BY created DESC, key DESC LIMIT ?3",
            )?;
            let rows = statement.query_map(params![created, key, most as u64], job)?;
            rows.filter_map(Result::transpose).collect()
        })
        .await
}

/// The place of a job in the order of all.
pub(super) async fn place(store: &Store, key: &Key) -> Result<Option<u64>, StoreError> {
    let key = key.to_string();
    store
        .read(move |connection| {
            let question = "SELECT created FROM jobs WHERE key = ?1";
            connection.query_row(question, [key], |row| row.get(0)).optional()
        })
        .await
}

/// The jobs that have a deadline and have not ended, as far as that is noted.
pub(super) async fn with_deadline(store: &Store) -> Result<Vec<(u64, Key)>, StoreError> {
    store
        .read(|connection| {
            let question =
                "SELECT deadline, key FROM jobs WHERE deadline IS NOT NULL AND state IS NULL";
            let mut statement = connection.prepare(question)?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            let rows: Vec<(u64, String)> = rows.collect::<rusqlite::Result<_>>()?;
            Ok(rows.into_iter().filter_map(|(at, key)| Some((at, key.parse().ok()?))).collect())
        })
        .await
}

/// Notes a conversation that somebody began.
pub(super) async fn begin(store: &Store, env: &EnvName, row: SessionRow) -> Result<(), StoreError> {
    let env = env.to_string();
    let put = move |connection: &mut Connection| {
        connection.execute(
            "INSERT INTO sessions VALUES(?1, ?2, ?3, ?4, NULL, 1)",
            params![env, row.id.to_string(), row.name, row.created],
        )
    };
    store.change(put).await.map(|_| ())
}

/// Notes that a conversation is over, also one that nobody noted before.
pub(super) async fn remove_session(
    store: &Store,
    env: &EnvName,
    id: &EnvSession,
    now: u64,
) -> Result<(), StoreError> {
    let (env, id) = (env.to_string(), id.to_string());
    let note = move |connection: &mut Connection| {
        connection.execute(
            "INSERT INTO sessions VALUES(?1, ?2, NULL, ?3, ?3, 0)
             ON CONFLICT(env, id) DO UPDATE SET removed = ?3",
            params![env, id, now],
        )
    };
    store.change(note).await.map(|_| ())
}

/// The conversations of an environment, the newest first, at most `most` of them.
pub(super) async fn sessions(
    store: &Store,
    env: &EnvName,
    most: usize,
) -> Result<Vec<SessionRow>, StoreError> {
    let env = env.to_string();
    store
        .read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, name, created, removed, begun FROM sessions WHERE env = ?1
                 ORDER BY created DESC, id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![env, most as u64], session)?;
            rows.filter_map(Result::transpose).collect()
        })
        .await
}

/// One of them.
pub(super) async fn session_of(
    store: &Store,
    env: &EnvName,
    id: &EnvSession,
) -> Result<Option<SessionRow>, StoreError> {
    let (env, id) = (env.to_string(), id.to_string());
    store
        .read(move |connection| {
            let question =
                "SELECT id, name, created, removed, begun FROM sessions WHERE env = ?1 AND id = ?2";
            Ok(connection.query_row(question, [env, id], session).optional()?.flatten())
        })
        .await
}

fn session(row: &Row<'_>) -> rusqlite::Result<Option<SessionRow>> {
    let id: String = row.get(0)?;
    let (name, created, removed, is_begun) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    Ok(id.parse().ok().map(|id| SessionRow { id, name, created, removed, is_begun }))
}

/// The conversations of all environments, those that were ended as well.
pub(super) async fn all_sessions(
    store: &Store,
) -> Result<Vec<((EnvName, EnvSession), SessionRow)>, StoreError> {
    store
        .read(|connection| {
            let question = "SELECT id, name, created, removed, begun, env FROM sessions";
            let mut statement = connection.prepare_cached(question)?;
            let rows = statement.query_map([], |row| {
                let env: String = row.get(5)?;
                Ok(session(row)?.zip(env.parse::<EnvName>().ok()))
            })?;
            let rows = rows.filter_map(Result::transpose);
            rows.map(|it| it.map(|(row, env)| ((env, row.id.clone()), row))).collect()
        })
        .await
}

/// Drops a conversation of which nothing is left.
pub(super) async fn drop_session(
    store: &Store,
    env: &EnvName,
    id: &EnvSession,
) -> Result<(), StoreError> {
    let (env, id) = (env.to_string(), id.to_string());
    let drop = move |connection: &mut Connection| {
        connection.execute("DELETE FROM sessions WHERE env = ?1 AND id = ?2", params![env, id])
    };
    store.change(drop).await.map(|_| ())
}

/// Whose these jobs are, as far as they are listed.
pub(super) async fn accounts(
    store: &Store,
    keys: Vec<Key>,
) -> Result<Vec<(Key, String)>, StoreError> {
    store
        .read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT account FROM jobs WHERE key = ?1")?;
            let mut found = Vec::new();
            for key in keys {
                let account = statement.query_row([key.as_str()], |row| row.get(0)).optional()?;
                found.extend(account.map(|it| (key, it)));
            }
            Ok(found)
        })
        .await
}

/// Notes who is to be told of a job; the same job again changes nothing. Its secret.
pub(super) async fn call_back(store: &Store, it: CallbackRow) -> Result<String, StoreError> {
    let put = move |connection: &mut Connection| {
        let key = it.key.as_str();
        connection.execute(
            "INSERT OR IGNORE INTO callbacks VALUES(?1, ?2, ?3, ?4, ?5, 0, 0, NULL, 0)",
            params![key, it.thread.as_str(), it.url, it.secret, it.created],
        )?;
        connection.query_row("SELECT secret FROM callbacks WHERE key = ?1", [key], |row| row.get(0))
    };
    store.change(put).await
}

/// The secret of a job's callback.
pub(super) async fn callback_secret(
    store: &Store,
    key: &Key,
) -> Result<Option<String>, StoreError> {
    let key = key.to_string();
    store
        .read(move |connection| {
            let question = "SELECT secret FROM callbacks WHERE key = ?1";
            connection.query_row(question, [key], |row| row.get(0)).optional()
        })
        .await
}

/// Who has not been told yet.
pub(super) async fn open_callbacks(store: &Store) -> Result<Vec<CallbackRow>, StoreError> {
    store
        .read(|connection| {
            let question = "SELECT key, thread, url, secret, created, attempts, due FROM callbacks
                 WHERE is_over = 0";
            let mut statement = connection.prepare_cached(question)?;
            let rows = statement.query_map([], |row| {
                let (key, thread): (String, String) = (row.get(0)?, row.get(1)?);
                let (Ok(key), Ok(thread)) = (key.parse(), thread.parse()) else { return Ok(None) };
                Ok(Some(CallbackRow {
                    key,
                    thread,
                    url: row.get(2)?,
                    secret: row.get(3)?,
                    created: row.get(4)?,
                    attempts: row.get(5)?,
                    due: row.get(6)?,
                }))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
        .await
}

/// It was not taken, and is tried again.
pub(super) async fn callback_failed(
    store: &Store,
    it: CallbackRow,
    why: String,
) -> Result<(), StoreError> {
    let note = move |connection: &mut Connection| {
        let question = "UPDATE callbacks SET attempts = ?2, due = ?3, error = ?4 WHERE key = ?1";
        connection.execute(question, params![it.key.as_str(), it.attempts, it.due, why])
    };
    store.change(note).await.map(|_| ())
}

/// It was told, or given up for this reason.
pub(super) async fn callback_over(
    store: &Store,
    key: &Key,
    why: Option<String>,
) -> Result<(), StoreError> {
    let key = key.to_string();
    let note = move |connection: &mut Connection| {
        let question = "UPDATE callbacks SET is_over = 1, error = ?2 WHERE key = ?1";
        connection.execute(question, params![key, why])
    };
    store.change(note).await.map(|_| ())
}

/// Drops what is listed of jobs that ended so long ago that the queue does not know them any more.
pub(super) async fn drop_old(store: &Store, before: u64) -> Result<(), StoreError> {
    let drop = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM jobs WHERE created < ?1", [before])?;
        let question = "DELETE FROM callbacks WHERE created < ?1 AND is_over = 1";
        transaction.execute(question, [before])?;
        transaction.commit()
    };
    store.change(drop).await
}
