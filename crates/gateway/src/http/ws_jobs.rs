//! Jobs on a WebSocket: who subscribes to one is told every line of its story and its result, as its stream tells them.
//!
//! A task reads each story and waits until the socket takes what it told, so that a client that does not read costs a few
//! frames and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_client::Stream as Story;
use tinyclaw_domain::{JobId, Key, ThreadId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::App;
use super::job_stream::told_of;
use crate::access::Caller;

/// So many jobs a socket follows at once.
const JOBS_MAX: usize = 16;
/// So many frames wait for the socket.
const FRAMES: usize = 32;
/// What cannot be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The jobs that one socket follows. Dropped, nothing is read for it any more.
#[derive(Debug)]
pub(super) struct Jobs {
    frames: mpsc::Receiver<String>,
    teller: mpsc::Sender<String>,
    tasks: JoinSet<()>,
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        let (teller, frames) = mpsc::channel(FRAMES);
        Jobs { frames, teller, tasks: JoinSet::new() }
    }

    /// The next frame about a job. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> String {
        match self.frames.recv().await {
            Some(frame) => frame,
            // A sender is kept here, so this does not happen.
            None => std::future::pending().await,
        }
    }

    /// Follows a job behind a line of its story; the first one is told when nothing is said. It gives what the client is told
    /// of that, or why there is nothing to follow.
    pub(super) async fn follow(
        &mut self,
        app: &Arc<App>,
        caller: &Caller,
        id: &str,
        after: Option<&str>,
    ) -> Result<Value, String> {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= JOBS_MAX {
            return Err(format!(
                "{JOBS_MAX} jobs are followed on this socket, which is all there may be"
            ));
        }
        let last =
            after.map(|it| it.parse::<JobId>().map_err(|err| err.to_string())).transpose()?;
        let last = last.unwrap_or_default();
        let found = app.jobs.find(caller, &app.envs.current(), id).await;
        let job = found.map_err(|it| it.detail().to_owned())?;
        let story = app.jobs.stream(&job.key, last).await.map_err(|it| it.detail().to_owned())?;
        let told =
            json!({ "type": "subscribed", "data": { "job": job.key, "next": last.to_string() } });
        let (app, teller) = (Arc::clone(app), self.teller.clone());
        let has_told = last != JobId::default();
        self.tasks.spawn(tell(app, job.key, job.thread, story, has_told, teller));
        Ok(told)
    }
}

/// Tells the story to its end, as fast as it is taken.
async fn tell(
    app: Arc<App>,
    key: Key,
    thread: ThreadId,
    mut story: Story,
    mut has_told: bool,
    teller: mpsc::Sender<String>,
) {
    loop {
        let told = match story.next().await {
            Ok(told) => told,
            Err(err) => {
                tracing::warn!(key = %key, "cannot go on with the story of job {key}: {err}");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let told = told_of(&app, &key, &thread, has_told, told).await;
        has_told = true;
        for (id, mut data) in told.lines {
            data["job"] = json!(key);
            if let Some(id) = id {
                data["id"] = id.into();
            }
            let frame = json!({ "type": "job", "data": data }).to_string();
            if teller.send(frame).await.is_err() {
                return;
            }
        }
        if told.is_over {
            return;
        }
    }
}
