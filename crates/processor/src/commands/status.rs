//! `/status`: how a thread is.

use tinyclaw_domain::{PermissionMode, Thread, ThreadId, Tier};

use crate::commands::Commands;

impl Commands {
    pub(super) fn status(&self, id: &ThreadId, thread: &Thread) -> String {
        let (_, waiting) = self.queue.waiting_in(id);
        let spent = self.budgets.of_thread(id);
        let model = match (thread.pin, thread.model) {
            (Some(pin), _) => format!("{pin}, pinned"),
            (None, Some(last)) => format!("chosen for each message; last {last}"),
            (None, None) => "chosen for each message".to_owned(),
        };
        let own: Vec<String> = Tier::ALL
            .into_iter()
            .filter_map(|tier| Some(format!("{tier} {}", thread.tiers.get(tier)?)))
            .collect();
        let model = match own.is_empty() {
            true => model,
            false => format!("{model} ({})", own.join(", ")),
        };
        let model = match thread.effort {
            Some(effort) => format!("{model}, effort {effort}"),
            None => model,
        };
        let session =
            thread.session_id.as_ref().map_or_else(|| "none yet".to_owned(), ToString::to_string);
        let mode = match thread.permission_mode {
            PermissionMode::Plan => "proposes a plan first",
            PermissionMode::Ask => "asks",
            PermissionMode::AcceptEdits => "edits without asking",
            PermissionMode::Bypass => "does everything without asking",
        };
        let (place, _) = thread.place();
        let engine = match self.availability.paused(&place) {
            Some(paused) => self.availability.sentence(&paused.pause),
            None if self.availability.is_away(&place) => format!("{place} is out of reach"),
            None => "ready".to_owned(),
        };
        format!(
            "**{}** (thread {id})\n- directory: `{}`\n- model: {model}\n- Claude {mode}\n- session: `{session}`\n- waiting: {waiting}\n- today: {} answers, ${:.2}\n- engine: {engine}",
            thread.name, thread.cwd, spent.turns, spent.usd
        )
    }
}
