//! The login of whoever works: renewed before it ends, and handed on.
//!
//! Only a Claude in the office's own home renews it, one at a time; desks have copies that cannot be renewed.

use std::time::Duration;

use tinyclaw_domain::{Place, ThreadId};
use tokio::time::Instant;

use super::Pool;
use crate::config::{Auth, EngineConfig};
use crate::home::Home;
use crate::launch::PROBE;
use crate::login::Login;

/// After an attempt to renew the login, until the next one.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

impl Pool {
    /// Renews the login before it ends, and hands it to whoever works.
    pub(super) async fn look_after_login(&self) {
        let config = self.config();
        let warm: Vec<ThreadId> = {
            let members = self.lock_members();
            members.iter().filter(|it| it.1.is_warm_here()).map(|it| it.0.clone()).collect()
        };
        if !matches!(config.auth, Auth::Login) || warm.is_empty() {
            return;
        }
        self.renew_login(&config).await;
        for thread in warm.iter().filter(|it| it.as_str() != PROBE) {
            if let Err(err) = Home::of(&config, thread).hand_over_login(&config) {
                tracing::warn!(thread.id = %thread, "thread {thread} keeps the login it has: {err}");
            }
        }
    }

    /// Has the office's login renewed when it is about to end, by a Claude in the office's own home.
    pub(super) async fn renew_login(&self, config: &EngineConfig) {
        if !matches!(config.auth, Auth::Login) {
            return;
        }
        let is_due =
            || Login::read(&config.claude_home).is_ok_and(|it| it.is_some_and(|it| it.is_due()));
        if !is_due() {
            return;
        }
        let mut renewed = self.renewed.lock().await;
        // Another one may have done it meanwhile.
        if renewed.is_some_and(|it| it.elapsed() < RENEW_AGAIN) || !is_due() {
            return;
        }
        if let Err(failure) = self.probe(&Place::Here).await {
            tracing::warn!("claude's login ends soon and was not renewed: {failure}");
        }
        *renewed = Some(Instant::now());
    }
}
