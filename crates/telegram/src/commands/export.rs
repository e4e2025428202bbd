//! `/export`: a thread's history as a file that a person can read. Nothing here writes a log.

use std::fmt::Write as _;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Direction, FileRef, ThreadId};
use tinyclaw_ledger::{StateDir, recent_history};

use crate::commands::Given;
use crate::files;
use crate::inbound::compose::origin;
use crate::publish::Notice;

/// Older lines are left out, and the file says so.
const LINES_MAX: usize = 20_000;

impl Given<'_> {
    pub(super) async fn export(&self) -> Option<String> {
        let settings = self.commands.bot.settings.current();
        let name = self.name();
        let written = tokio::task::block_in_place(|| {
            write(&self.commands.state, &self.thread, &name, self.said.update, &settings.0.timezone)
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

/// Writes what was said in a thread into a file of it. `None` when nothing was.
fn write(
    state: &StateDir,
    thread: &ThreadId,
    name: &str,
    update: i64,
    zone: &TimeZone,
) -> anyhow::Result<Option<FileRef>> {
    let lines = recent_history(state, Some(thread), LINES_MAX)?;
    if lines.is_empty() {
        return Ok(None);
    }
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
    let (there, path) = files::place(state, thread, &format!("{update}_history.md"))
        .context("cannot make the folder")?;
    tinyclaw_disk::replace(&there, text.as_bytes(), Flush::Strict)?;
    let name = Some("history.md".to_owned());
    Ok(Some(FileRef { path, mime: "text/markdown".to_owned(), name }))
}
