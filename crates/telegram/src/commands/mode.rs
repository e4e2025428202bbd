//! `/mode`: what Claude may do without asking. `/trust`: what of a repository counts. Only admins let more happen.

use tinyclaw_domain::{Command, PermissionMode, Trust};

use crate::commands::Given;
use crate::commands::table::usage;
use crate::threads;

impl Given<'_> {
    pub(super) async fn mode(&self, word: &str) -> Option<String> {
        let mode = match word.to_ascii_lowercase().as_str() {
            "plan" => PermissionMode::Plan,
            "ask" | "default" => PermissionMode::Ask,
            "edits" | "acceptedits" => PermissionMode::AcceptEdits,
            "bypass" => PermissionMode::Bypass,
            _ => return Some(usage("mode")),
        };
        let now =
            threads::listed(&self.commands.state).get(&self.thread).map(|it| it.permission_mode);
        if mode.asks_less_than(now.unwrap_or_default()) && !self.may_rule() {
            return Some(self.only_admins("let Claude act without asking"));
        }
        self.order(Command::Mode { mode, admin: self.may_rule() }).await
    }

    /// `/trust`. Who works on the thread knows what counts now, and refuses more where no admin asks.
    pub(super) async fn trust(&self, word: &str) -> Option<String> {
        let Some(trust) = Trust::named(word) else { return Some(usage("trust")) };
        self.order(Command::Trust { trust, admin: self.may_rule() }).await
    }
}
