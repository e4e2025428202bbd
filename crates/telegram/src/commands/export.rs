//! `/export`: a thread's history as a file that a person can read. Nothing here writes a log.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tinyclaw_client::Attachment;
use tinyclaw_domain::{Direction, HistoryLine};
use tinyclaw_ledger::recent_history;

use crate::commands::Given;
use crate::inbound::compose::origin;
use crate::publish::Notice;

/// Older lines are left out, and the file says so.
const LINES_MAX: usize = 20_000;

impl Given<'_> {
    pub(super) async fn export(&self) -> Option<String> {
        let settings = self.commands.bot.settings.current();
        let name = self.name();
        let written = tokio::task::block_in_place(|| {
            let lines = recent_history(&self.commands.state, Some(&self.thread), LINES_MAX)?;
            if lines.is_empty() {
                return anyhow::Ok(None);
            }
            let text = text_of(lines, &name, &settings.0.timezone);
            let file =
                Attachment { name: "history.md", mime: "text/markdown", bytes: text.as_bytes() };
            let client = &self.commands.publisher.client;
            Ok(Some(client.attach(&self.thread, self.said.update, file)?))
        });
        match written {
            Ok(Some(file)) => {
                let it = Notice {
                    about: self.key.clone(),
                    kind: "export",
                    thread: self.thread.clone(),
                    text: "The history of this thread:".to_owned(),
                    origin: Some(origin(self.said)),
                    files: vec![file],
                };
                self.commands.publisher.notify(it).await;
                self.commands.bot.react(self.said.address.chat, self.said.message, None);
                None
            }
            Ok(None) => Some("Nothing was said here yet.".to_owned()),
            Err(err) => Some(format!("The history cannot be exported: {err:#}.")),
        }
    }
}

/// What was said in a thread, as Markdown.
fn text_of(lines: Vec<HistoryLine>, name: &str, zone: &TimeZone) -> String {
    let mut text = format!("# {name}\n\n");
    if lines.len() == LINES_MAX {
        let _ = write!(text, "(only the last {LINES_MAX} messages)\n\n");
    }
    for line in lines {
        let at = Timestamp::from_millisecond(line.timestamp.cast_signed()).unwrap_or_default();
        let at = at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M");
        let who = match (line.direction, line.model) {
            (Direction::Out, Some(model)) => model.to_string(),
            _ => line.sender,
        };
        let _ = write!(text, "## {who}, {at}\n\n{}\n\n", line.message.trim());
    }
    text
}
