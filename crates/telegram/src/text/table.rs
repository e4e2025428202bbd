//! Tables: aligned columns while they are narrow enough for a phone, one record after the other when they are not.

use pulldown_cmark::Alignment;
use unicode_segmentation::UnicodeSegmentation;

/// A wider table is shown as records: code does not wrap well on a phone.
const COLUMNS_MAX: usize = 60;

/// A table's cells as plain text.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) alignments: Vec<Alignment>,
    pub(super) rows: Vec<Vec<String>>,
}

/// How a table is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Lines of equal columns.
    Aligned(String),
    /// One group of `(heading, cell)` for each row.
    Records(Vec<Vec<(String, String)>>),
}

impl Table {
    pub(super) fn shown(self) -> Shown {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|at| {
                self.rows.iter().filter_map(|it| it.get(at)).map(|it| width(it)).max().unwrap_or(0)
            })
            .collect();
        let total = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
        if total > COLUMNS_MAX && self.rows.len() > 1 {
            return Shown::Records(self.records());
        }
        let mut lines = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            if at > 0 {
                lines.push('\n');
            }
            self.line(row, &widths, &mut lines);
            if at == 0 && self.rows.len() > 1 {
                lines.push('\n');
                let rules: Vec<String> = widths.iter().map(|it| "─".repeat(*it)).collect();
                lines.push_str(&rules.join("  "));
            }
        }
        Shown::Aligned(lines)
    }

    fn line(&self, row: &[String], widths: &[usize], out: &mut String) {
        let start = out.len();
        for (at, wide) in widths.iter().enumerate() {
            if at > 0 {
                out.push_str("  ");
            }
            let cell = row.get(at).map_or("", String::as_str);
            let gap = wide.saturating_sub(width(cell));
            let before = match self.alignments.get(at) {
                Some(Alignment::Right) => gap,
                Some(Alignment::Center) => gap / 2,
                _ => 0,
            };
            out.push_str(&" ".repeat(before));
            out.push_str(cell);
            out.push_str(&" ".repeat(gap - before));
        }
        let kept = out[start..].trim_end().len();
        out.truncate(start + kept);
    }

    fn records(mut self) -> Vec<Vec<(String, String)>> {
        let rows = self.rows.split_off(1);
        let headings = self.rows.pop().unwrap_or_default();
        let heading = |at: usize| headings.get(at).cloned().unwrap_or_default();
        rows.into_iter()
            .map(|row| row.into_iter().enumerate().map(|(at, it)| (heading(at), it)).collect())
            .collect()
    }
}

/// Columns that a text takes in a monospaced font: wide East Asian characters and emoji take two.
fn width(text: &str) -> usize {
    let wide = |it: char| {
        matches!(it, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}')
    };
    text.graphemes(true).map(|it| if it.chars().any(wide) { 2 } else { 1 }).sum()
}
