//! A thread's history as a file that a person can read. Nothing here writes a log.

use std::fmt::Write as _;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Direction, FileRef, ThreadId};
use tinyclaw_ledger::recent_history;

use crate::face::Face;

/// Older lines are left out, and the file says so.
const LINES_MAX: usize = 20_000;

/// Writes what was said in a thread into a file of it. `None` when nothing was.
pub(crate) fn write(
    face: &Face,
    thread: &ThreadId,
    name: &str,
    update: i64,
    zone: &TimeZone,
) -> anyhow::Result<Option<FileRef>> {
    let lines = recent_history(&face.state, Some(thread), LINES_MAX)?;
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
    let (there, path) = face
        .place_for_file(thread, &format!("{update}_history.md"))
        .context("cannot make the folder")?;
    tinyclaw_disk::replace(&there, text.as_bytes(), Flush::Strict)?;
    let name = Some("history.md".to_owned());
    Ok(Some(FileRef { path, mime: "text/markdown".to_owned(), name }))
}
