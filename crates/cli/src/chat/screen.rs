//! The two ways of showing a conversation: a terminal, whose last rows rewrite themselves below what was said, and a
//! pipe, which gets answers and nothing that moves.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::marks::Marks;
use crate::terminal::{self, Style, width};

/// Where nothing says how wide it is.
const COLUMNS: usize = 80;

/// Where a conversation is shown.
pub(crate) struct Screen {
    /// How the terminal was before, when it is one.
    before: Option<Termios>,
    style: Style,
    /// The rows that are rewritten, as they stand now.
    live: Vec<String>,
    /// The text that streams: what of it stands for good, and the rest of its last line.
    streamed: usize,
    tail: String,
    /// Where in an answer's Markdown the rows are.
    marks: Marks,
}

impl Screen {
    /// A terminal when both stdin and stdout are one, else a pipe.
    pub(crate) fn open() -> Screen {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let before = is_terminal.then(|| tcgetattr(io::stdin()).ok()).flatten();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            // Keys come one by one and unseen; Ctrl-C still interrupts.
            quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        }
        let style = Style::of(&io::stdout());
        Screen {
            before,
            style,
            live: Vec::new(),
            streamed: 0,
            tail: String::new(),
            marks: Marks::default(),
        }
    }

    /// Whether there is somebody who sees rows being rewritten.
    pub(crate) fn is_terminal(&self) -> bool {
        self.before.is_some()
    }

    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Shows lines for good.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        let mut out = String::new();
        self.clear(&mut out);
        for line in text.lines() {
            out.push_str(line);
            out.push('\n');
        }
        let live = std::mem::take(&mut self.live);
        put(&out)?;
        self.rewrite(live)
    }

    /// The same, for those only who look at it: hints, a line below an answer.
    pub(crate) fn remark(&mut self, text: &str) -> io::Result<()> {
        if self.is_terminal() { self.print(&self.style.dim(text)) } else { Ok(()) }
    }

    /// Shows the text of a running turn as far as it has come. Whole lines stand for good; a long one is broken between
    /// words.
    pub(crate) fn stream(&mut self, text: &str) -> io::Result<()> {
        if !self.is_terminal() {
            return Ok(());
        }
        let shown = terminal::plain(text);
        let Some(new) = shown.get(self.streamed..) else { return self.tell_anew(&shown) };
        let already = self.tail.len();
        if !new.starts_with(self.tail.as_str()) {
            return self.tell_anew(&shown);
        }
        if new.len() == already {
            return Ok(());
        }
        let (lines, tail) = broken(new, self.columns());
        self.streamed += new.len() - tail.len();
        self.tail = tail;
        self.print_rows(&lines)
    }

    /// What had been told was taken back: the stream broke off and began again.
    fn tell_anew(&mut self, shown: &str) -> io::Result<()> {
        self.end_stream()?;
        self.print(&self.style.dim("(told anew)"))?;
        let (lines, tail) = broken(shown, self.columns());
        self.streamed = shown.len() - tail.len();
        self.tail = tail;
        self.print_rows(&lines)
    }

    /// The rest of a streamed text, whose whole is known now.
    pub(crate) fn finish_stream(&mut self, whole: &str) -> io::Result<()> {
        if self.is_terminal() && (self.streamed > 0 || !self.tail.is_empty()) {
            self.stream(whole)?;
            self.end_stream()
        } else {
            let (mut rows, tail) = broken(&terminal::plain(whole), self.columns());
            rows.extend((!tail.is_empty()).then_some(tail));
            self.marks = Marks::default();
            self.print_rows(&rows)
        }
    }

    /// Shows rows for good, also empty ones.
    fn print_rows(&mut self, rows: &[String]) -> io::Result<()> {
        let style = self.style;
        let rows: String = rows.iter().map(|it| self.marks.shown(it, style) + "\n").collect();
        if rows.is_empty() { Ok(()) } else { self.print(&rows) }
    }

    /// A pipe is as wide as it has to be.
    fn columns(&self) -> usize {
        if self.is_terminal() { columns() } else { usize::MAX }
    }

    /// No more of this text: what of its last line was not for good yet is now.
    pub(crate) fn end_stream(&mut self) -> io::Result<()> {
        let tail = std::mem::take(&mut self.tail);
        self.streamed = 0;
        let tail = std::mem::take(&mut self.marks).shown(&tail, self.style);
        if tail.is_empty() { Ok(()) } else { self.print(&tail) }
    }

    /// Replaces the live rows: the text's last line, the status, the prompt. The cursor stands behind the last.
    pub(crate) fn live(&mut self, rows: Vec<String>) -> io::Result<()> {
        if !self.is_terminal() {
            return Ok(());
        }
        let rows: Vec<String> =
            (!self.tail.is_empty()).then(|| self.tail.clone()).into_iter().chain(rows).collect();
        if rows == self.live {
            return Ok(());
        }
        self.rewrite(rows)
    }

    fn rewrite(&mut self, rows: Vec<String>) -> io::Result<()> {
        if !self.is_terminal() {
            return Ok(());
        }
        let mut out = String::new();
        self.clear(&mut out);
        out.push_str(&rows.join("\n"));
        self.live = rows;
        put(&out)
    }

    /// Takes the live rows away.
    fn clear(&mut self, out: &mut String) {
        if self.live.is_empty() {
            return;
        }
        let up = self.live.len() - 1;
        if up > 0 {
            out.push_str(&format!("\x1b[{up}A"));
        }
        out.push_str("\r\x1b[J");
        self.live.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = String::new();
        self.clear(&mut out);
        let _ = put(&out);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// How many cells a row has.
pub(crate) fn columns() -> usize {
    tcgetwinsize(io::stdout()).map_or(COLUMNS, |it| usize::from(it.ws_col).max(20))
}

/// Breaks text into rows that stand, each no wider than `max`, and the rest of the last line.
fn broken(text: &str, max: usize) -> (Vec<String>, String) {
    let mut rows = Vec::new();
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let mut rest = line;
        while width(rest) >= max {
            let mut cells = 0;
            let fits = rest.char_indices().find(|(_, it)| {
                cells += width(it.encode_utf8(&mut [0; 4]));
                cells >= max
            });
            let end = fits.map_or(rest.len(), |(at, _)| at).max(1);
            let end = rest.ceil_char_boundary(end);
            // After the last space that fits, so that nothing of the text is lost.
            let cut = rest[..end].rfind(' ').map_or(end, |at| at + 1);
            rows.push(rest[..cut].to_owned());
            rest = &rest[cut..];
        }
        if lines.peek().is_none() {
            return (rows, rest.to_owned());
        }
        rows.push(rest.to_owned());
    }
    (rows, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_nothing_is_lost() {
        let text = "one two three\n\nfour fivesixseveneightnine 日本語日本語 ten";
        let (rows, tail) = broken(text, 10);
        assert!(rows.iter().all(|it| width(it) <= 10), "{rows:?}");
        assert_eq!(rows[..3], ["one two ", "three", ""]);
        let letters = |it: &str| it.replace('\n', "");
        assert_eq!(letters(&(rows.concat() + &tail)), letters(text));
        assert_eq!(broken("whole\n", 10), (vec!["whole".to_owned()], String::new()));
    }
}
