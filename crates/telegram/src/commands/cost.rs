//! `/cost`: what today cost, and how far the plan is used.

use tinyclaw_ledger::{Costs, plan};

use crate::commands::Given;

impl Given<'_> {
    pub(super) fn cost(&self) -> String {
        let settings = self.commands.bot.settings.current();
        let (zone, now) = (settings.0.timezone.clone(), tinyclaw_service::now_ms());
        let state = &self.commands.state;
        let (costs, plan) = tokio::task::block_in_place(|| {
            (Costs::read(state, zone.clone(), now), plan::read(state).unwrap_or_default())
        });
        match costs {
            Ok(mut costs) => {
                let (here, all) = (costs.thread(&self.thread, now), costs.office(now));
                let answers = if here.turns == 1 { "answer" } else { "answers" };
                let today = format!(
                    "Today: ${:.2} for {} {answers} in this thread, ${:.2} for {} in all.",
                    here.usd, here.turns, all.usd, all.turns
                );
                [Some(today), plan::sentence(&plan, &zone, now)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            Err(err) => format!("The history cannot be read: {err}."),
        }
    }
}
