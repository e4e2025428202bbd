//! A job that is taken in beside its request: the request may end at any moment, and the job is taken in whole or not at all.

use std::sync::Arc;

use axum::http::StatusCode;
use tinyclaw_domain::Envs;
use tokio::task::JoinHandle;

use super::App;
use crate::access::Caller;
use crate::jobs::{Accepted, Wanted};
use crate::problem::Problem;

/// Takes a job in beside its request, which may end at any moment, and stops it when its caller leaves who wants it so.
pub(super) struct Tie {
    app: Arc<App>,
    caller: Caller,
    envs: Arc<Envs>,
    accepting: Option<JoinHandle<Result<Accepted, Problem>>>,
    accepted: Option<Accepted>,
    is_tied: bool,
}

impl Tie {
    pub(super) fn accepting(
        app: &Arc<App>,
        caller: &Caller,
        envs: &Arc<Envs>,
        wanted: Wanted,
        again: Option<String>,
        is_tied: bool,
    ) -> Tie {
        let (app, caller, envs) = (Arc::clone(app), caller.clone(), Arc::clone(envs));
        let (of, by, there) = (Arc::clone(&app), caller.clone(), Arc::clone(&envs));
        let accepting = tokio::spawn(async move {
            let accepted = of.jobs.accept(&by, &there, wanted, again.as_deref()).await?;
            if accepted.callback_secret.is_some() {
                of.callbacks.changed();
            }
            Ok(accepted)
        });
        Tie { app, caller, envs, accepting: Some(accepting), accepted: None, is_tied }
    }

    /// The job, when it is in the queue.
    pub(super) async fn accepted(&mut self) -> Result<Accepted, Problem> {
        let failed = |why: String| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable", why).retry_after(2)
        };
        let accepting = self.accepting.as_mut().ok_or_else(|| failed("it ended".to_owned()))?;
        let accepted = accepting.await;
        self.accepting = None;
        let accepted = accepted.map_err(|err| failed(err.to_string()))??;
        self.accepted = Some(accepted.clone());
        Ok(accepted)
    }

    /// The caller has its answer.
    pub(super) fn let_go(&mut self) {
        self.is_tied = false;
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        // Who is sent away by a shutdown has not left.
        if !self.is_tied || self.app.shutdown.has_begun() {
            return;
        }
        let (app, caller, envs) =
            (Arc::clone(&self.app), self.caller.clone(), Arc::clone(&self.envs));
        let (accepting, accepted) = (self.accepting.take(), self.accepted.take());
        tokio::spawn(async move {
            let accepted = match (accepting, accepted) {
                (Some(accepting), _) => accepting.await.ok().and_then(Result::ok),
                (None, accepted) => accepted,
            };
            // What was refused does not run.
            let Some(Accepted { key, .. }) = accepted else { return };
            let stopped = match app.jobs.find(&caller, &envs, key.as_str()).await {
                Ok(job) => app.jobs.cancel(&caller, &job).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = stopped {
                tracing::warn!(key = %key, "job {key} was left and cannot be stopped: {problem:?}");
            }
        });
    }
}
