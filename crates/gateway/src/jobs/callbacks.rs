//! `callbackUrl`: what came of a job is posted there once it has ended, signed as Standard Webhooks have it.
//!
//! Who is to be told is on disk before the job is accepted, and stays until it was told or given up, over restarts. Told is at
//! least once: a receiver knows a repetition by its `webhook-id`, the job's own id. Nothing is posted to a host that is not in
//! the settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tinyclaw_client::{Ending, WaitError};
use tinyclaw_domain::Key;
use tinyclaw_service::{Shutdown, now_ms};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::table::{self, CallbackRow};
use super::{Finished, Jobs};
use crate::envs::EnvBook;
use crate::store::StoreError;
use crate::webhooks::{Dialler, WebhookConfig, sign_once};

/// So many are posted at once.
const POSTS_MAX: usize = 32;
/// It is looked so often for one that no task has, when nothing else happens.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What cannot be looked at or noted is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// A job that is not in the queue so long after it was announced was never accepted.
const UNBORN_MS: u64 = 60_000;
/// So much of what went wrong is noted.
const ERROR_CHARS: usize = 200;

/// Whoever tells callers of their jobs.
#[derive(Debug)]
pub(crate) struct Callbacks {
    jobs: Arc<Jobs>,
    envs: Arc<EnvBook>,
    config: WebhookConfig,
    posts: Semaphore,
    changes: watch::Sender<u64>,
}

/// What a receiver said.
enum Answer {
    Taken,
    Gone,
    Refused(String),
}

impl Callbacks {
    pub(crate) fn new(
        jobs: Arc<Jobs>,
        envs: Arc<EnvBook>,
        config: WebhookConfig,
    ) -> Arc<Callbacks> {
        let (posts, changes) = (Semaphore::new(POSTS_MAX), watch::Sender::new(0));
        Arc::new(Callbacks { jobs, envs, config, posts, changes })
    }

    /// There is one more.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|it| *it += 1);
    }

    /// Tells until the shutdown: a task for each job, which sleeps until it has ended.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut changes = self.changes.subscribe();
        let mut running: HashMap<Key, JoinHandle<()>> = HashMap::new();
        loop {
            changes.mark_unchanged();
            running.retain(|_, it| !it.is_finished());
            match table::open_callbacks(&self.jobs.store).await {
                Ok(all) => {
                    for row in all {
                        running
                            .entry(row.key.clone())
                            .or_insert_with(|| tokio::spawn(Arc::clone(&self).teller(row)));
                    }
                }
                Err(err) => tracing::warn!("cannot read who is to be told of jobs: {err}"),
            }
            tokio::select! {
                _ = tokio::time::timeout(LOOK_EVERY, changes.changed()) => {}
                () = shutdown.begun() => break,
            }
        }
        // What is being posted is posted again after the start.
        running.into_values().for_each(|it| it.abort());
    }

    async fn teller(self: Arc<Self>, mut row: CallbackRow) {
        let Some(finished) = self.ended(&row).await else {
            return self.note(&row.key, Some("the job is not known any more".to_owned())).await;
        };
        let mut dialler = Dialler::new(&row.url, &self.config);
        loop {
            let wait = row.due.saturating_sub(now_ms());
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let answer = {
                // Never closed.
                let _place = self.posts.acquire().await;
                self.post(&row, &finished, &mut dialler).await
            };
            let why = match answer {
                Answer::Taken => return self.note(&row.key, None).await,
                Answer::Gone => {
                    let why = "its receiver answered 410 Gone".to_owned();
                    return self.note(&row.key, Some(why)).await;
                }
                Answer::Refused(why) => why.chars().take(ERROR_CHARS).collect::<String>(),
            };
            let Some(pause) = self.config.retries.get(row.attempts as usize) else {
                self.jobs.vitals.count("webhooksDeadTotal", 1);
                tracing::warn!(key = %row.key, "nobody takes what came of job {}: {why}", row.key);
                return self.note(&row.key, Some(why)).await;
            };
            row.attempts += 1;
            row.due = now_ms() + u64::try_from(pause.as_millis()).unwrap_or(0);
            if let Err(err) = table::callback_failed(&self.jobs.store, row.clone(), why).await {
                tracing::warn!("cannot note a failed callback: {err}");
            }
        }
    }

    /// What came of the job. `None`: nothing is known of it any more.
    async fn ended(&self, row: &CallbackRow) -> Option<Finished> {
        loop {
            let told = async {
                let client = self.jobs.client().await?;
                Ok::<_, crate::problem::Problem>(client.wait(&row.key).await)
            };
            let ending: Result<Ending, String> = match told.await {
                Ok(Ok(ending)) => Ok(ending),
                Ok(Err(WaitError::Gone { .. })) if now_ms() > row.created + UNBORN_MS => {
                    return None;
                }
                Ok(Err(err)) => Err(err.to_string()),
                Err(problem) => Err(format!("{problem:?}")),
            };
            let finished = match ending {
                Ok(ending) => {
                    let envs = self.envs.current();
                    let finished = self.jobs.finished(&envs, &row.thread, &row.key, ending).await;
                    finished.map_err(|it| format!("{it:?}"))
                }
                Err(why) => Err(why),
            };
            match finished {
                Ok(it) => return Some(it),
                Err(why) => {
                    tracing::debug!(key = %row.key, "job {} cannot be looked at: {why}", row.key);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn post(&self, row: &CallbackRow, finished: &Finished, dialler: &mut Dialler) -> Answer {
        let seconds = now_ms() / 1_000;
        let timestamp = jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
        let body = json!({
            "type": format!("tinyclaw.job.{}", finished.state.as_str()),
            "timestamp": timestamp.to_string(), "data": finished.to_json(),
        })
        .to_string();
        let client = match dialler.client().await {
            Ok(client) => client,
            Err(why) => return Answer::Refused(why),
        };
        let request = client
            .post(&row.url)
            .header("content-type", "application/json")
            .header("webhook-id", row.key.as_str())
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", sign_once(&row.secret, row.key.as_str(), seconds, &body))
            .body(body);
        match request.send().await {
            Ok(it) if it.status().is_success() => Answer::Taken,
            Ok(it) if it.status() == StatusCode::GONE => Answer::Gone,
            Ok(it) => Answer::Refused(format!("answered {}", it.status())),
            // Its address may hold a secret.
            Err(err) => Answer::Refused(format!("{:#}", anyhow::Error::from(err.without_url()))),
        }
    }

    /// It was told, or given up, and is over either way.
    async fn note(&self, key: &Key, why: Option<String>) {
        loop {
            let noted: Result<(), StoreError> =
                table::callback_over(&self.jobs.store, key, why.clone()).await;
            match noted {
                Ok(()) => return,
                Err(err) => {
                    tracing::warn!(key = %key, "cannot note that job {key} was told: {err}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}
