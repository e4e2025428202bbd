//! What an import took, what it left and why, for a person and for a script.

use std::fmt::Write as _;

use serde::Serialize;

use crate::terminal::{Style, count, one_line};

/// So many single things are remembered of each kind; the rest is counted.
const NAMED_MAX: usize = 1_000;
/// So many of them are printed.
const PRINTED_MAX: usize = 8;

/// The whole import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The original's folder.
    pub(super) from: String,
    /// The state folder.
    pub(super) into: String,
    /// Whether nothing was written.
    pub(super) dry_run: bool,
    pub(super) parts: Vec<ReportPart>,
    /// What a person should do or know, in order.
    pub(super) todo: Vec<String>,
}

/// One kind of thing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportPart {
    /// `threads`, `history`, `settings`, `queue`, `folders`, `sessions`, `other`.
    pub(super) part: &'static str,
    /// One of them, for a person: `thread`, `line`.
    #[serde(skip)]
    one: &'static str,
    /// Taken over now; in a dry run: would be.
    pub(super) taken: usize,
    /// Here already, from an earlier import or from the start.
    pub(super) here: usize,
    /// What is here is not the same, and stayed.
    pub(super) kept: Named,
    /// Not taken.
    pub(super) left: Named,
}

/// Single things and why.
#[derive(Debug, Default, Serialize)]
pub(super) struct Named {
    pub(super) count: usize,
    /// The first of them.
    pub(super) named: Vec<Because>,
}

/// One thing and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Because {
    pub(super) what: String,
    pub(super) why: String,
    /// The command that helps, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) way_out: Option<String>,
}

impl Named {
    pub(super) fn add(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.push(Because { what: what.into(), why: why.into(), way_out: None });
    }

    pub(super) fn push(&mut self, it: Because) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(it);
        }
    }
}

impl ReportPart {
    pub(super) fn new(part: &'static str, one: &'static str) -> ReportPart {
        let (kept, left) = (Named::default(), Named::default());
        ReportPart { part, one, taken: 0, here: 0, kept, left }
    }

    fn summary(&self) -> String {
        let mut told = Vec::new();
        if self.taken > 0 {
            let is_looked_for = matches!(self.part, "folders" | "sessions");
            let verb = if is_looked_for { "found" } else { "taken" };
            told.push(format!("{} {verb}", count(self.taken, self.one)));
        }
        for (number, verb) in [
            (self.here, "here already"),
            (self.kept.count, "kept as it is here"),
            (self.left.count, "left"),
        ] {
            if number > 0 {
                told.push(format!("{number} {verb}"));
            }
        }
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}

impl Report {
    /// For a terminal.
    pub(crate) fn draw(&self, style: Style) -> String {
        let mut text = format!("from {} into {}\n", one_line(&self.from), one_line(&self.into));
        if self.dry_run {
            text += "a dry run: this is what would be, and nothing was written\n";
        }
        for part in &self.parts {
            let _ = writeln!(text, "{:<10}{}", part.part, part.summary());
            for (named, is_left) in [(&part.kept, false), (&part.left, true)] {
                for it in named.named.iter().take(PRINTED_MAX) {
                    let what = one_line(&it.what);
                    let what = if is_left { style.yellow(&what) } else { what };
                    let _ = writeln!(text, "{:10}{what}: {}", "", one_line(&it.why));
                    if let Some(way_out) = &it.way_out {
                        let _ = writeln!(text, "{:10}→ {}", "", one_line(way_out));
                    }
                }
                if named.count > PRINTED_MAX {
                    let more = format!("and {} more", named.count - PRINTED_MAX);
                    let _ = writeln!(text, "{:10}{}", "", style.dim(&more));
                }
            }
        }
        for it in &self.todo {
            let _ = writeln!(text, "→ {}", one_line(it));
        }
        text
    }
}
