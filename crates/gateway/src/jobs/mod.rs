//! Jobs: what callers ask of Claude over HTTP, each a message of the queue.
//!
//! The queue has the truth about a job; `events.db` only lists which there are. Nothing here runs Claude, and nothing is
//! said of a job that the queue or the turn's own log does not say. A gateway that is killed loses no job that it
//! accepted, and begins none twice: what comes again under its key is the one that is there.

mod accept;
mod callbacks;
mod deadlines;
mod files;
mod forgetting;
mod orders;
mod shown;
mod spending;
mod table;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;
use tinyclaw_client::{Client, Ending, Stream, WaitError};
use tinyclaw_domain::{
    Command, EnvName, EnvSession, Envs, JobId, Key, Lane, Source, StateDir, ThreadId,
};
use tinyclaw_ledger::{Progresses, read_threads};
use tinyclaw_queue::{LookError, Options, Place, Seen};
use tinyclaw_service::{Vitals, now_ms};
use tokio::sync::{Mutex, OnceCell};

pub(crate) use self::accept::{Accepted, Wanted};
pub(crate) use self::callbacks::Callbacks;
use self::deadlines::Deadlines;
pub(crate) use self::files::FILE_BYTES_MAX;
pub use self::forgetting::SessionKeep;
pub(crate) use self::orders::{Answered, Given};
pub(crate) use self::shown::{Finished, Job, JobState, identify};
use self::spending::Spending;
use self::table::JobRow;
pub(crate) use self::table::SessionRow;
use crate::access::Caller;
use crate::problem::Problem;
use crate::store::Store;

/// How the keys of jobs begin.
const FAMILY: &str = "api";
/// So many callers with keys of their own choosing are taken at once, each key once at a time.
const KEY_LOCKS: usize = 64;
/// So many jobs are looked at for one page, however few of them are wanted.
const LISTED_MAX: usize = 1_000;
/// So many conversations of an environment are listed.
const SESSIONS_MAX: usize = 1_000;

/// Whoever lets Claude work for callers.
pub(crate) struct Jobs {
    state: StateDir,
    store: Store,
    vitals: Vitals,
    progresses: Progresses,
    /// Opened for the first job: a gateway that only keeps events has no use for a queue.
    client: OnceCell<Client>,
    /// Two requests of one key go one after the other.
    keys: Vec<Mutex<()>>,
    deadlines: Deadlines,
    spending: Spending,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Which jobs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) env: Option<EnvName>,
    pub(crate) state: Option<JobState>,
    /// The job before the first one that is wanted.
    pub(crate) after: Option<Key>,
    pub(crate) limit: usize,
}

impl Jobs {
    pub(crate) fn new(
        state: &StateDir,
        store: &Store,
        vitals: Vitals,
        zone: TimeZone,
    ) -> Arc<Jobs> {
        Arc::new(Jobs {
            state: state.clone(),
            store: store.clone(),
            vitals,
            progresses: Progresses::new(state),
            client: OnceCell::new(),
            keys: (0..KEY_LOCKS).map(|_| Mutex::default()).collect(),
            deadlines: Deadlines::default(),
            spending: Spending::new(state, zone),
        })
    }

    /// The office's client.
    pub(crate) async fn client(&self) -> Result<&Client, Problem> {
        let open = || async {
            let state = self.state.clone();
            // Watched, so that what waits is counted as it is: publishing has limits.
            let opened = blocking(move || Client::open(&state, Options::default())).await?;
            opened.map_err(|err| unavailable(&format!("cannot open the queue: {err}")))
        };
        self.client.get_or_try_init(open).await
    }

    /// The job of this id, if the caller may know of it.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        envs: &Envs,
        id: &str,
    ) -> Result<Job, Problem> {
        let key: Key = id.parse().map_err(|_| unknown_job())?;
        let seen = self.seen(&key).await?.filter(is_job).ok_or_else(unknown_job)?;
        let env = seen.message.thread_id.env().map(|it| it.0);
        if !caller.may_use(env.as_ref()) {
            return Err(unknown_job());
        }
        self.look(envs, seen).await
    }

    async fn seen(&self, key: &Key) -> Result<Option<Seen>, Problem> {
        let (view, key) = (self.client().await?.view().clone(), key.clone());
        blocking(move || view.find(&key)).await?.map_err(unlooked)
    }

    async fn look(&self, envs: &Envs, seen: Seen) -> Result<Job, Problem> {
        let (client, envs) = (self.client().await?.clone(), envs.clone());
        let progresses = self.progresses.clone();
        let job = blocking(move || Job::of(&client, &envs, &progresses, seen)).await?;
        if let Some(finished) = &job.finished {
            self.note(&job.key, finished);
        }
        Ok(job)
    }

    /// A job as it is told.
    pub(crate) async fn told(&self, job: Job) -> Result<Value, Problem> {
        let state = self.state.clone();
        blocking(move || {
            let mut told = job.to_json(&state);
            // In a list it would be too much.
            told["prompt"] = job.prompt.into();
            told
        })
        .await
    }

    /// Notes beside the request how a job ended: for lists, which then need not look. A note that is lost is made again.
    fn note(&self, key: &Key, finished: &Finished) {
        if finished.is_final {
            let (store, key) = (self.store.clone(), key.clone());
            let (state, cost) = (finished.state, finished.cost_usd);
            tokio::spawn(async move {
                if let Err(err) = table::ended(&store, vec![(key, state, cost)]).await {
                    tracing::warn!("cannot note how a job ended: {err}");
                }
            });
        }
    }

    /// Waits until something has come of a job, or the time is over.
    pub(crate) async fn wait(
        &self,
        envs: &Envs,
        thread: &ThreadId,
        key: &Key,
        patience: Duration,
    ) -> Result<Option<Finished>, Problem> {
        let client = self.client().await?;
        let waited = tokio::time::timeout(patience, client.wait(key)).await;
        match waited {
            Err(_) => Ok(None),
            Ok(Ok(ending)) => self.finished(envs, thread, key, ending).await.map(Some),
            Ok(Err(WaitError::Gone { .. })) => Err(unknown_job()),
            Ok(Err(WaitError::Look { source })) => Err(unlooked(source)),
        }
    }

    /// What came of a job that has ended.
    pub(crate) async fn finished(
        &self,
        envs: &Envs,
        thread: &ThreadId,
        key: &Key,
        ending: Ending,
    ) -> Result<Finished, Problem> {
        let client = self.client().await?.clone();
        let (envs, thread, of) = (envs.clone(), thread.clone(), key.clone());
        let finished =
            blocking(move || Finished::of(&client, &envs, &thread, &of, &ending)).await?;
        self.note(key, &finished);
        Ok(finished)
    }

    /// The story of a job from the line after `last`.
    pub(crate) async fn stream(&self, key: &Key, last: JobId) -> Result<Stream, Problem> {
        Ok(self.client().await?.stream_after(key, last))
    }

    /// Whether the story of a job is there to be read.
    pub(crate) fn has_story(&self, key: &Key) -> bool {
        self.state.job(key).exists()
    }

    /// The jobs that the caller may know of, the newest first, and whether there are more.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        envs: &Envs,
        listing: &Listing,
    ) -> Result<(Vec<Value>, bool), Problem> {
        let mut place = match &listing.after {
            None => None,
            Some(after) => {
                let created = table::place(&self.store, after).await?.ok_or_else(unknown_job)?;
                Some((created, after.clone()))
            }
        };
        let (mut told, mut looked_at) = (Vec::new(), 0);
        while looked_at < LISTED_MAX {
            let rows = table::before(&self.store, place.clone(), listing.limit).await?;
            let is_last = rows.len() < listing.limit;
            looked_at += rows.len();
            place = rows.last().map(|it| (it.created, it.key.clone())).or(place);
            let is_wanted = |it: &JobRow| {
                let is_of_state =
                    listing.state.is_none() || it.state.is_none() || it.state == listing.state;
                caller.may_use(it.env.as_ref())
                    && (listing.env.is_none() || it.env == listing.env)
                    && is_of_state
            };
            for row in rows.into_iter().filter(is_wanted) {
                if told.len() == listing.limit {
                    return Ok((told, true));
                }
                // Gone when its days in the queue are over.
                let Some(seen) = self.seen(&row.key).await? else { continue };
                let job = self.look(envs, seen).await?;
                if listing.state.is_none_or(|it| it == job.state) {
                    told.push(self.told(job).await?);
                }
            }
            if is_last {
                return Ok((told, false));
            }
        }
        Ok((told, true))
    }

    /// How many turns run in an environment now, and how many messages wait there.
    pub(crate) async fn load(&self, env: &EnvName) -> Result<(Vec<Key>, usize), Problem> {
        let (view, env) = (self.client().await?.view().clone(), env.clone());
        let looked = blocking(move || -> Result<_, LookError> {
            let is_of = |thread: &ThreadId| thread.env().is_some_and(|it| it.0 == env);
            let running = view.list(Place::Processing, usize::MAX)?;
            let running =
                running.into_iter().filter(|it| !it.lane.is_control() && is_of(it.lane.thread()));
            let waiting = view.waiting()?;
            let waiting =
                waiting.lanes.iter().filter(|it| !it.0.is_control() && is_of(it.0.thread()));
            Ok((running.map(|it| it.key).collect(), waiting.map(|it| it.1).sum()))
        });
        looked.await?.map_err(unlooked)
    }

    /// Begins a conversation in an environment, which its first message makes a thread.
    pub(crate) async fn begin_session(
        &self,
        env: &EnvName,
        name: Option<String>,
    ) -> Result<SessionRow, Problem> {
        let row = SessionRow {
            id: fresh_session(),
            name,
            created: now_ms(),
            removed: None,
            is_begun: true,
        };
        table::begin(&self.store, env, row.clone()).await?;
        Ok(row)
    }

    /// The conversations of an environment, the newest first.
    pub(crate) async fn sessions(&self, env: &EnvName) -> Result<Vec<SessionRow>, Problem> {
        let rows = table::sessions(&self.store, env, SESSIONS_MAX).await?;
        Ok(rows.into_iter().filter(|it| it.removed.is_none()).collect())
    }

    /// Ends a conversation: what it was asked before is answered, and nothing after that. The standing one begins anew.
    pub(crate) async fn end_session(
        &self,
        caller: &Caller,
        env: &EnvName,
        id: &str,
    ) -> Result<(), Problem> {
        let (session, _) = self.session(env, id).await?;
        let thread = ThreadId::of_env(env, &session);
        let (view, lane) = (self.client().await?.view().clone(), Lane::Thread(thread.clone()));
        let waits = blocking(move || view.in_lane(Place::Incoming, &lane, 1)).await?;
        let is_open =
            !waits.map_err(unlooked)?.is_empty() || self.threads().await?.contains_key(&thread);
        let command = match session {
            EnvSession::Standing => Command::Reset {},
            EnvSession::Own(_) => Command::Close {},
        };
        if is_open {
            self.order(&thread, command, &caller.name).await?;
        }
        if session != EnvSession::Standing {
            table::remove_session(&self.store, env, &session, now_ms()).await?;
        }
        Ok(())
    }

    /// The conversation that a caller means: by the id it was given, by that of Claude's session in it, or the standing one.
    async fn session(
        &self,
        env: &EnvName,
        text: &str,
    ) -> Result<(EnvSession, Option<String>), Problem> {
        let unknown = || {
            let detail = format!(
                "environment {env} has no session of that id; begin one with POST /api/sessions, or leave it out"
            );
            Problem::new(axum::http::StatusCode::NOT_FOUND, "unknown_session", detail)
        };
        if let Ok(session) = text.parse::<EnvSession>() {
            if session == EnvSession::Standing {
                return Ok((session, None));
            }
            let row = table::session_of(&self.store, env, &session).await?;
            return match row {
                Some(it) if it.removed.is_none() => Ok((session, it.name)),
                Some(_) => Err(unknown()),
                // One of before `events.db` was made anew.
                None => {
                    let thread = ThreadId::of_env(env, &session);
                    let is_known = self.threads().await?.contains_key(&thread);
                    if is_known { Ok((session, None)) } else { Err(unknown()) }
                }
            };
        }
        let threads = self.threads().await?;
        let mut of_env = threads.iter().filter_map(|(id, it)| Some((id.env()?, it)));
        let found = of_env.find(|((of, _), it)| {
            of == env && it.session_id.as_ref().is_some_and(|it| it.as_str() == text)
        });
        found.map(|((_, session), _)| (session, None)).ok_or_else(unknown)
    }

    /// Every thread as it is on disk.
    pub(crate) async fn threads(&self) -> Result<tinyclaw_domain::Threads, Problem> {
        let state = self.state.clone();
        let read = blocking(move || read_threads(&state)).await?;
        read.map_err(|err| unavailable(&err.to_string()))
    }
}

/// Whether a message is somebody's job, and no order of a gateway's own.
fn is_job(seen: &Seen) -> bool {
    let it = &seen.message;
    it.source == Source::Api && it.command.is_none() && it.key.as_str().starts_with("api-")
}

fn fresh_ulid() -> String {
    ulid::Ulid::from_parts(now_ms(), rand::random()).to_string().to_ascii_lowercase()
}

fn fresh_session() -> EnvSession {
    // A ULID in small letters is one.
    fresh_ulid().parse().unwrap_or(EnvSession::Standing)
}

fn unknown_job() -> Problem {
    let detail = "no job of that id is known here, or its days are over";
    Problem::new(axum::http::StatusCode::NOT_FOUND, "unknown_job", detail)
}

fn unavailable(detail: &str) -> Problem {
    let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "queue_unavailable", detail).retry_after(2)
}

fn unlooked(err: LookError) -> Problem {
    unavailable(&err.to_string())
}

/// What waits for the disk, where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|err| unavailable(&err.to_string()))
}
