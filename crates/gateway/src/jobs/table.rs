//! Jobs and sessions in `events.db`: which there are, for whoever lists them. What became of a job the queue says; here
//! stands what it said last, once nothing can change it any more.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tinyclaw_domain::{EnvName, EnvSession, Key};

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
                "INSERT OR IGNORE INTO sessions VALUES(?1, ?2, NULL, ?3, NULL)",
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
            "INSERT INTO sessions VALUES(?1, ?2, ?3, ?4, NULL)",
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
            "INSERT INTO sessions VALUES(?1, ?2, NULL, ?3, ?3)
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
                "SELECT id, name, created, removed FROM sessions WHERE env = ?1
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
                "SELECT id, name, created, removed FROM sessions WHERE env = ?1 AND id = ?2";
            Ok(connection.query_row(question, [env, id], session).optional()?.flatten())
        })
        .await
}

fn session(row: &Row<'_>) -> rusqlite::Result<Option<SessionRow>> {
    let id: String = row.get(0)?;
    let (name, created, removed) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(id.parse().ok().map(|id| SessionRow { id, name, created, removed }))
}
