//! Daily notes: a Markdown list a day, appended to by the `note` tool and at the end of each session.

use std::path::PathBuf;

use jiff::Zoned;
use jiff::civil::Date;
use tinyclaw_disk::{Appender, Rotation};
use tinyclaw_domain::{SessionId, ThreadId};

use crate::{Memory, MemoryError, Summary};

/// A longer note is an essay, and belongs into a file.
pub const NOTE_BYTES_MAX: usize = 4096;

/// A day is one file, however much happens in it.
const ONE_FILE: Rotation = Rotation { bytes_max: u64::MAX, segments_max: None, age_max: None };

impl Memory {
    /// Where a day's notes are.
    pub fn notes_path(&self, who: &ThreadId, day: Date) -> PathBuf {
        self.folder("daily", who).join(format!("{day}.md"))
    }

    /// A day's notes; empty when there are none.
    pub fn notes(&self, who: &ThreadId, day: Date) -> Result<String, MemoryError> {
        Ok(self.read_text(&self.notes_path(who, day))?.unwrap_or_default())
    }

    /// Adds a note to the day of `now`: `- 14:32 text`, further lines below it.
    pub fn note(&self, who: &ThreadId, now: &Zoned, text: &str) -> Result<(), MemoryError> {
        let text = text.trim();
        if text.is_empty() || text.len() > NOTE_BYTES_MAX {
            return Err(MemoryError::NoteSize { bytes: text.len() });
        }
        let path = self.notes_path(who, now.date());
        self.check_target(&path)?;
        let mut file = Appender::new(path, ONE_FILE);
        let mut lines = text.lines().map(str::trim_end).filter(|it| !it.is_empty());
        let first = lines.next().unwrap_or_default();
        file.append(format!("- {} {first}", now.strftime("%H:%M")).as_bytes())?;
        // Set in, so that a line of a note never reads as a note or a heading of its own.
        lines.try_for_each(|line| file.append(format!("  {line}").as_bytes()))?;
        Ok(())
    }

    /// Adds the line of an ended session, once: again, after a crash, changes nothing.
    pub fn note_end(
        &self,
        who: &ThreadId,
        now: &Zoned,
        session: &SessionId,
        summary: Option<&Summary>,
    ) -> Result<(), MemoryError> {
        let mark = format!("(session {})", &session.as_str()[..8]);
        let yesterday = now.date().yesterday().unwrap_or_else(|_| now.date());
        for day in [now.date(), yesterday] {
            if self.notes(who, day)?.contains(&mark) {
                return Ok(());
            }
        }
        let title = summary.map_or("a session ended without anything to remember", Summary::title);
        self.note(who, now, &format!("{title} {mark}"))
    }
}
