//! What a new session is told: the last summaries, and the notes of today and yesterday, within a budget of bytes.
//!
//! The oldest is left out first, and from there on everything older: a session that remembers Monday and Wednesday but
//! not Tuesday would draw wrong conclusions.

use jiff::Zoned;
use jiff::civil::Date;
use tinyclaw_domain::{InjectedPart, Quote, ThreadId, quoted};

use crate::{Memory, MemoryError, cut};

const OPENING: &str = "<memory>\nFrom earlier sessions in this thread, oldest first. It may be out of date; what is \
                       said now counts more.\n";
const CLOSING: &str = "</memory>\n";

/// How much a new session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// So many summaries at most.
    pub summaries: usize,
    /// So many bytes at most, headings and all.
    pub bytes_max: usize,
}

/// What a new session is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// The text that goes in front of the first message; empty when there is nothing to tell.
    pub text: String,
    /// What it is made of, as the prompt log has it: `summaries` and `daily`, with their sizes in characters.
    pub parts: Vec<InjectedPart>,
    /// How many summaries and notes did not fit.
    pub left_out: usize,
}

/// One summary, or one note.
struct Piece {
    kind: &'static str,
    text: String,
}

impl Memory {
    /// What a session that begins at `now` is told.
    pub fn context(
        &self,
        who: &ThreadId,
        now: &Zoned,
        wanted: Wanted,
    ) -> Result<Context, MemoryError> {
        let newest_first = self.pieces(who, now.date(), wanted.summaries)?;
        let count = newest_first.len();
        let frame = OPENING.len() + CLOSING.len();
        let mut room = wanted.bytes_max.saturating_sub(frame);
        let mut kept: Vec<Piece> = Vec::new();
        for mut piece in newest_first {
            if piece.text.len() > room {
                // Something is better than nothing, but half a thought only when there is no whole one.
                if kept.is_empty() && room > 200 {
                    piece.text = format!("{}\n[cut]\n", cut(&piece.text, room - "\n[cut]\n".len()));
                    kept.push(piece);
                }
                break;
            }
            room -= piece.text.len();
            kept.push(piece);
        }
        if kept.is_empty() {
            return Ok(Context { left_out: count, ..Context::default() });
        }
        kept.reverse();
        let left_out = count - kept.len();
        let texts: Vec<&str> = kept.iter().map(|it| it.text.as_str()).collect();
        let text = format!("{OPENING}{}{CLOSING}", texts.concat());
        let parts = ["summaries", "daily"].into_iter().filter_map(|kind| {
            let of_kind = kept.iter().filter(|it| it.kind == kind);
            let chars: usize = of_kind.map(|it| it.text.chars().count()).sum();
            (chars > 0).then(|| InjectedPart { name: kind.to_owned(), chars: chars as u64 })
        });
        Ok(Context { parts: parts.collect(), text, left_out })
    }

    /// Summaries and notes, newest first; of one day, its notes are newer than its summaries.
    fn pieces(&self, who: &ThreadId, today: Date, count: usize) -> Result<Vec<Piece>, MemoryError> {
        let mut dated: Vec<(Date, Piece)> = Vec::new();
        let yesterday = today.yesterday().unwrap_or(today);
        for day in [today, yesterday] {
            let notes = self.notes(who, day)?;
            for text in entries(&notes).into_iter().rev() {
                let text = format!("\n[note of {day}] {}\n", framed(text.trim_start_matches("- ")));
                dated.push((day, Piece { kind: "daily", text }));
            }
        }
        for it in self.summaries(who, count)? {
            let text = format!("\n[session that ended on {}]\n{}\n", it.day, framed(&it.text));
            dated.push((it.day, Piece { kind: "summaries", text }));
        }
        // The sort is stable: within a day the notes stay before the summaries, each newest first.
        dated.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
        Ok(dated.into_iter().map(|(_, piece)| piece).collect())
    }
}

/// A day's notes, one by one: each begins with `- ` at the start of a line. What a person wrote before the first is one
/// too.
fn entries(notes: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = vec![0];
    starts.extend(notes.match_indices("\n- ").map(|(at, _)| at + 1));
    starts.push(notes.len());
    let entries = starts.windows(2).map(|it| notes[it[0]..it[1]].trim_end());
    entries.filter(|it| !it.is_empty()).collect()
}

/// Nothing that was remembered can end the frame it stands in, or begin a message.
fn framed(text: &str) -> String {
    quoted(text, Quote::Text, usize::MAX)
}
