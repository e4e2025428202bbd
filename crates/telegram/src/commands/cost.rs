//! `/cost`: what today cost.

use tinyclaw_ledger::Costs;

use crate::commands::Given;

impl Given<'_> {
    pub(super) fn cost(&self) -> String {
        let settings = self.commands.bot.settings.current();
        let (zone, now) = (settings.0.timezone.clone(), tinyclaw_service::now_ms());
        match tokio::task::block_in_place(|| Costs::read(&self.commands.state, zone, now)) {
            Ok(mut costs) => {
                let (here, all) = (costs.thread(&self.thread, now), costs.office(now));
                let answers = if here.turns == 1 { "answer" } else { "answers" };
                format!(
                    "Today: ${:.2} for {} {answers} in this thread, ${:.2} for {} in all.",
                    here.usd, here.turns, all.usd, all.turns
                )
            }
            Err(err) => format!("The history cannot be read: {err}."),
        }
    }
}
