//! Sessions that nobody goes on with: the office lets go of them, so that neither its threads nor their homes grow for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{
    Channel, Command, EnvName, EnvSession, Key, Message, Source, ThreadId, ThreadStatus,
};
use tinyclaw_service::{Shutdown, now_ms};

use super::table::{self, SessionRow};
use super::{FAMILY, Jobs, blocking, unlooked};
use crate::problem::Problem;

/// How long sessions are kept that nobody goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionKeep {
    /// One that a prompt without `sessionId` began.
    pub by_prompt: Duration,
    /// One that was begun as such, with `POST /api/sessions`.
    pub by_name: Duration,
    /// So many stay: the list of threads is written whole with every change.
    pub most: usize,
    /// It is looked so often.
    pub look_every: Duration,
}

const DAY: u64 = 24 * 3_600;
/// The list of jobs reaches back so far; the queue itself remembers no longer.
const LIST_KEEP_MS: u64 = 30 * DAY * 1_000;

impl Default for SessionKeep {
    fn default() -> SessionKeep {
        SessionKeep {
            by_prompt: Duration::from_secs(DAY),
            by_name: Duration::from_secs(30 * DAY),
            most: 1_000,
            look_every: Duration::from_secs(600),
        }
    }
}

impl SessionKeep {
    fn of(&self, row: Option<&SessionRow>) -> u64 {
        let keep = if row.is_some_and(|it| it.is_begun) { self.by_name } else { self.by_prompt };
        u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Jobs {
    /// Has idle sessions forgotten, until the shutdown.
    pub(crate) async fn forget_idle(self: Arc<Jobs>, keep: SessionKeep, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(keep.look_every) => {}
                () = shutdown.begun() => return,
            }
            if let Err(problem) = self.forget(&keep).await {
                tracing::warn!("idle sessions stay for now: {problem:?}");
            }
        }
    }

    async fn forget(&self, keep: &SessionKeep) -> Result<(), Problem> {
        let now = now_ms();
        let rows: HashMap<(EnvName, EnvSession), SessionRow> =
            table::all_sessions(&self.store).await?.into_iter().collect();
        let threads = self.threads().await?;
        let view = self.client().await?.view().clone();
        let waiting = blocking(move || view.waiting()).await?.map_err(unlooked)?;
        let waits = |thread: &ThreadId| waiting.lanes.iter().any(|it| it.0.thread() == thread);
        let mut idle: Vec<(u64, ThreadId, (EnvName, EnvSession))> = threads
            .iter()
            .filter(|(id, it)| {
                !matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting) && !waits(id)
            })
            .filter_map(|(id, it)| {
                let of = id.env().filter(|it| it.1 != EnvSession::Standing)?;
                Some((it.last_active, id.clone(), of))
            })
            .collect();
        idle.sort();
        let too_many = idle.len().saturating_sub(keep.most);
        for (at, (last_active, thread, of)) in idle.into_iter().enumerate() {
            let is_old = now.saturating_sub(last_active) > keep.of(rows.get(&of));
            if !is_old && at >= too_many {
                continue;
            }
            // The same session, idle since the same moment, is told of once.
            let key = Key::hashed(FAMILY, &format!("forget-{thread}-{last_active}"));
            let mut order = Message::new(key, Channel::Api, thread, "", now);
            order.source = Source::System;
            order.command = Some(Command::Forget {});
            self.publish(order).await?;
            table::remove_session(&self.store, &of.0, &of.1, now).await?;
        }
        table::drop_old(&self.store, now.saturating_sub(LIST_KEEP_MS)).await?;
        // Nobody said anything there, or it was closed long ago.
        for ((env, id), row) in rows {
            let is_old = now.saturating_sub(row.created) > keep.of(Some(&row));
            if is_old && !threads.contains_key(&ThreadId::of_env(&env, &id)) {
                table::drop_session(&self.store, &env, &id).await?;
            }
        }
        Ok(())
    }
}
