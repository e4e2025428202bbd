//! `list_threads` and `read_thread`: what a desk may see of the others.

use serde_json::Value;
use tinyclaw_domain::{Message, Quote, Thread, ThreadId, quoted};
use tinyclaw_ledger::recent_history;

use crate::text::name;
use crate::tools::Tools;

/// `read_thread` shows so much of each message.
const SHOWN_CHARS_MAX: usize = 2_000;

impl Tools {
    /// All threads: by name for whoever may only write to them.
    pub(super) fn list_threads(&self, own: &ThreadId, may_read: bool) -> String {
        let all = self.desks.all();
        let lines = all.iter().map(|(id, it)| {
            let mark = if id == own { " (this one)" } else { "" };
            if !may_read && id != own {
                return format!("- {id}: {}", name(&it.name));
            }
            let status = format!("{:?}", it.status).to_lowercase();
            format!("- {id}: {}{mark}, {status}, in {}", name(&it.name), it.cwd)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(super) fn read_thread(
        &self,
        message: &Message,
        thread: &Thread,
        input: &Value,
    ) -> Result<String, String> {
        let id = self.thread_of(input, "threadId")?;
        if id != message.thread_id && !self.may_read(thread) {
            return Err(format!(
                "threads do not read each other here (engine.crossThreadReading is off); ask in thread {id} with send_message"
            ));
        }
        let count = input.get("count").and_then(Value::as_u64).unwrap_or(10).clamp(1, 50) as usize;
        let lines = recent_history(&self.state, Some(&id), count).map_err(|err| err.to_string())?;
        if lines.is_empty() {
            return Ok(format!("Nothing was said in thread {id} yet."));
        }
        // What was said elsewhere is material: it must not read like an order to this Claude.
        let shown = lines.iter().map(|it| {
            let words = quoted(&it.message, Quote::Block, SHOWN_CHARS_MAX);
            format!("{}:\n{words}", name(&it.sender))
        });
        Ok(format!(
            "<messages thread=\"{id}\">\n{}\n</messages>",
            shown.collect::<Vec<_>>().join("\n")
        ))
    }
}
