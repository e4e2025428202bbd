//! How things look in a terminal: colours with a meaning, tables that align, text that cannot move the cursor.
//!
//! Nothing here decides what is shown.

use std::borrow::Cow;
use std::io::{BufRead as _, IsTerminal, Write as _};

use tinyclaw_service::now_ms;
use tinyclaw_service::words;

/// Colours where they can be seen, nothing elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    #[cfg(test)]
    pub(crate) fn with_colours() -> Style {
        Style { colours: true }
    }

    #[cfg(test)]
    pub(crate) fn plain() -> Style {
        Style { colours: false }
    }

    pub(crate) fn has_colours(self) -> bool {
        self.colours
    }

    /// For what is written to this stream.
    pub(crate) fn of(stream: &impl IsTerminal) -> Style {
        Style { colours: stream.is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// A person must act.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// We coped.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Well; for `doctor`.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Beside the point.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Worth noticing.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Text from elsewhere, unable to move the cursor or recolour the screen: of the control characters only newlines and
/// tabs stay.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_bad = |it: char| {
        it.is_control() && !matches!(it, '\n' | '\t')
            // Marks that reorder a line, so that it reads as something it is not.
            || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(is_bad) {
        let text = text.replace("\r\n", "\n");
        Cow::Owned(text.chars().map(|it| if is_bad(it) { '\u{fffd}' } else { it }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The same on one line.
pub(crate) fn one_line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// So many cells a text takes in a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// Terminals agree on this much: combining marks take no cell, CJK and emoji take two.
fn cells(it: char) -> usize {
    match it {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{20d0}'..='\u{20ff}' => 0,
        '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The beginning of a text that fits, with `…` where it goes on.
pub(crate) fn clip(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut room = max.saturating_sub(1);
    let fits = |it: &char| {
        let fits = cells(*it) <= room;
        room = room.saturating_sub(cells(*it));
        fits
    };
    let mut clipped: String = text.chars().take_while(fits).collect();
    clipped.push('…');
    clipped
}

/// The end of a text that fits, with `…` where it began: for paths, whose end tells them apart.
pub(crate) fn clip_start(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let backwards: String = text.chars().rev().collect();
    clip(&backwards, max).chars().rev().collect()
}

/// How long ago, in one unit: `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn ago(ms: u64) -> String {
    words::span(now_ms().saturating_sub(ms))
}

/// One thing or several: `1 message`, `3 messages`.
pub(crate) fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Rows below a head, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The table as text; the head is dim.
    pub(crate) fn draw(&self, style: Style) -> String {
        let column = |at: usize| self.rows.iter().map(move |row| width(&row[at]));
        let widths: Vec<usize> = (0..self.head.len())
            .map(|at| column(at).max().unwrap_or(0).max(width(self.head[at])))
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, wide) in cells.zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', wide + 2 - width(cell)));
            }
            line.trim_end().to_owned()
        };
        let mut text = style.dim(&line(&mut self.head.iter().copied()));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }
}

/// Asks whoever sits here; no is what an empty line says.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    let mut err = std::io::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_whatever_script_its_cells_are_in() {
        let mut table = Table::new(&["name", "n"]);
        table.row(vec!["日本".to_owned(), "1".to_owned()]);
        table.row(vec!["e\u{301}tude".to_owned(), "2".to_owned()]);
        assert_eq!(table.draw(Style::plain()), "name   n\n日本   1\ne\u{301}tude  2\n");
    }

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\r\nc\u{202e}"), "a\u{fffd}[2Jb\nc\u{fffd}");
        assert_eq!(one_line("a\n\n b\tc"), "a b c");
        assert!(matches!(plain("plain\ttext\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_clipped_fits_and_says_so() {
        for (text, max, clipped) in [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 4, "日…")]
        {
            assert_eq!(clip(text, max), clipped);
            assert!(width(clipped) <= max);
        }
    }

    #[test]
    fn a_path_is_clipped_at_its_start() {
        assert_eq!(clip_start("/srv/office/web", 8), "…ice/web");
        assert_eq!(clip_start("/web", 8), "/web");
    }
}
