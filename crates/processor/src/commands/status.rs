//! `/status`: how a thread is.

use tinyclaw_domain::{PermissionMode, Thread, ThreadId, Tier, Trust};
use tinyclaw_service::now_ms;
use tinyclaw_service::words::span;

use crate::commands::Commands;
use crate::desks::trust;

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
        let trust = match trust(&self.settings.current(), thread) {
            Trust::None => "nothing of a repository counts",
            Trust::Text => "a repository's CLAUDE.md counts",
            Trust::Settings => "a repository's settings count and run",
        };
        let (place, _) = thread.place();
        let engine = match self.availability.paused(&place) {
            Some(paused) => self.availability.sentence(&paused.pause),
            None if self.availability.is_away(&place) => format!("{place} is out of reach"),
            None => "ready".to_owned(),
        };
        let claude = self.engine.version(&place);
        let claude = match &claude.seen {
            None => "not asked yet".to_owned(),
            Some(seen) => {
                let tested = match seen == claude.pinned {
                    true => "as tested".to_owned(),
                    false => format!("{} was tested", claude.pinned),
                };
                let age = claude.installed_at.map_or_else(String::new, |at| {
                    format!(", installed {} ago", span(now_ms().saturating_sub(at)))
                });
                let news = match claude.unknown.len() {
                    0 => String::new(),
                    1 => ", and says 1 thing that is not known here".to_owned(),
                    many => format!(", and says {many} things that are not known here"),
                };
                format!("{seen}, {tested}{age}{news}")
            }
        };
        let answers = match spent.turns {
            1 => "1 answer".to_owned(),
            many => format!("{many} answers"),
        };
        format!(
            "**{}** (thread {id})\n- directory: `{}`\n- model: {model}\n- Claude {mode}\n- {trust}\n- session: `{session}`\n- waiting: {waiting}\n- today: {answers}, ${:.2}\n- engine: {engine}\n- Claude Code: {claude}",
            thread.name, thread.cwd, spent.usd
        )
    }
}
