//! Writing HTML into parts of limited size: the only place that cuts.
//!
//! The writer is fed opened and closed tags and visible text. It remembers the last good places to cut (between blocks,
//! between lines, between words) and what was open there; when a part is full it ends it at the best of them, closes
//! what is open, and opens it again in the next part. It knows tags and lengths, and nothing of Markdown.

use std::rc::Rc;

use unicode_segmentation::UnicodeSegmentation;

use super::{Part, units};

/// How much fits into one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Visible UTF-16 units.
    pub units: usize,
    /// Bytes of HTML.
    pub bytes: usize,
    /// Formatted stretches; Telegram drops what goes beyond.
    pub entities: usize,
}

impl Default for Room {
    /// A message: 4,096 units, 32,768 bytes and 100 entities, less what a mark or a footer may need.
    fn default() -> Room {
        Room { units: 4096 - 96, bytes: 32_768 - 512, entities: 96 }
    }
}

impl Room {
    /// A message of which `units` are wanted for something else.
    pub fn less(self, units: usize) -> Room {
        Room { units: self.units.saturating_sub(units).max(64), ..self }
    }
}

/// A tag that may stand open across a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    Bold,
    Italic,
    Strike,
    Code,
    /// A block of code with its language.
    Pre(Option<Box<str>>),
    Quote,
    /// A quote that is folded until it is opened.
    FoldedQuote,
    Link(Box<str>),
}

impl Tag {
    fn open(&self, out: &mut String) {
        match self {
            Tag::Bold => out.push_str("<b>"),
            Tag::Italic => out.push_str("<i>"),
            Tag::Strike => out.push_str("<s>"),
            Tag::Code => out.push_str("<code>"),
            Tag::Pre(None) => out.push_str("<pre>"),
            Tag::Pre(Some(language)) => {
                out.push_str("<pre><code class=\"language-");
                out.push_str(language);
                out.push_str("\">");
            }
            Tag::Quote => out.push_str("<blockquote>"),
            Tag::FoldedQuote => out.push_str("<blockquote expandable>"),
            Tag::Link(url) => {
                out.push_str("<a href=\"");
                escape_into(url, out);
                out.push_str("\">");
            }
        }
    }

    fn end(&self) -> &'static str {
        match self {
            Tag::Bold => "</b>",
            Tag::Italic => "</i>",
            Tag::Strike => "</s>",
            Tag::Code => "</code>",
            Tag::Pre(None) => "</pre>",
            Tag::Pre(Some(_)) => "</code></pre>",
            Tag::Quote | Tag::FoldedQuote => "</blockquote>",
            Tag::Link(_) => "</a>",
        }
    }
}

/// How good a place is for a cut, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seam {
    Word,
    /// Before an indented line of code.
    Indented,
    Line,
    Block,
}

const SEAMS: [Seam; 4] = [Seam::Block, Seam::Line, Seam::Indented, Seam::Word];

/// A place where the part may end.
#[derive(Debug, Clone)]
struct Cut {
    /// Length of the HTML before the seam.
    end: usize,
    /// Length of the HTML with the seam's white space, which is dropped at a cut.
    resume: usize,
    /// Visible units up to `end`.
    units: usize,
    /// Visible units up to `resume`.
    units_resume: usize,
    /// Entities begun so far.
    entities: usize,
    /// What is open here.
    stack: Rc<[Tag]>,
}

/// Writes parts.
#[derive(Debug)]
pub(super) struct Writer {
    room: Room,
    parts: Vec<Part>,
    out: String,
    units: usize,
    entities: usize,
    stack: Rc<[Tag]>,
    closing: usize,
    /// Newlines that are due before whatever comes next.
    due: usize,
    cuts: [Option<Cut>; 4],
}

impl Writer {
    pub(super) fn new(room: Room) -> Writer {
        Writer {
            room,
            parts: Vec::new(),
            out: String::new(),
            units: 0,
            entities: 0,
            stack: Rc::from([]),
            closing: 0,
            due: 0,
            cuts: [const { None }; 4],
        }
    }

    /// At least so many newlines come before whatever is written next. None at the beginning of a part.
    pub(super) fn newlines(&mut self, count: usize) {
        self.due = self.due.max(count);
    }

    /// Whether a tag like this is open.
    pub(super) fn is_open(&self, tag: &Tag) -> bool {
        self.stack.iter().any(|it| std::mem::discriminant(it) == std::mem::discriminant(tag))
    }

    pub(super) fn open(&mut self, tag: Tag) {
        self.settle();
        let mut html = String::new();
        tag.open(&mut html);
        let wanted = html.len() + tag.end().len();
        if self.entities >= self.room.entities || !self.has_bytes(wanted) {
            self.cut();
        }
        self.out.push_str(&html);
        self.closing += tag.end().len();
        self.entities += 1;
        self.stack = self.stack.iter().cloned().chain([tag]).collect();
    }

    /// Closes the tag opened last.
    pub(super) fn close(&mut self) {
        let Some((last, rest)) = self.stack.split_last() else { return };
        self.out.push_str(last.end());
        self.closing -= last.end().len();
        self.stack = rest.iter().cloned().collect();
    }

    /// Writes visible text.
    pub(super) fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.settle();
        let bytes = text.as_bytes();
        let length = units(text);
        if self.fits(text, length) {
            // All of it fits: only its last seams can matter later.
            let last = |byte| bytes.iter().rposition(|it| *it == byte).map_or(0, |it| it + 1);
            let (line, word) = (last(b'\n'), last(b' '));
            let (first, second) = (line.min(word), line.max(word));
            self.run(text, 0, first);
            self.run(text, first, second);
            self.append(&text[second..], units(&text[second..]));
            return;
        }
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes[at..]
                .iter()
                .position(|it| matches!(it, b' ' | b'\n'))
                .map_or(bytes.len(), |it| at + it + 1);
            self.word(&text[at..end]);
            self.seam_after(text, end);
            at = end;
        }
    }

    /// Writes a stretch that fits and ends at a seam.
    fn run(&mut self, text: &str, from: usize, to: usize) {
        if from < to {
            self.append(&text[from..to], units(&text[from..to]));
            self.seam_after(text, to);
        }
    }

    /// The part may be cut after the white space that stands before `at`.
    fn seam_after(&mut self, text: &str, at: usize) {
        let bytes = text.as_bytes();
        match bytes[at - 1] {
            b'\n' => {
                let in_code = self.stack.iter().any(|it| matches!(it, Tag::Pre(_)));
                let indented = in_code && matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n'));
                self.seam(if indented { Seam::Indented } else { Seam::Line }, 1);
            }
            b' ' => self.seam(Seam::Word, 0),
            _ => {}
        }
    }

    /// Ends the last part and gives all of them.
    pub(super) fn finish(mut self) -> Vec<Part> {
        while !self.stack.is_empty() {
            self.close();
        }
        let out = std::mem::take(&mut self.out);
        self.push_part(out);
        self.parts
    }

    /// One stretch of text without a seam inside.
    fn word(&mut self, word: &str) {
        let length = units(word);
        if self.fits(word, length) {
            self.append(word, length);
            return;
        }
        self.cut();
        if self.fits(word, length) {
            self.append(word, length);
            return;
        }
        // Longer than what is left of a part, or than any part: cut between graphemes.
        for grapheme in word.graphemes(true) {
            let length = units(grapheme);
            if self.fits(grapheme, length) {
                self.append(grapheme, length);
                continue;
            }
            self.cut_here();
            if self.fits(grapheme, length) {
                self.append(grapheme, length);
                continue;
            }
            // A grapheme that is longer than a part (a thousand accents): cut between characters.
            for it in grapheme.chars() {
                let mut buffer = [0; 4];
                let it = it.encode_utf8(&mut buffer);
                if !self.fits(it, units(it)) {
                    self.cut_here();
                }
                self.append(it, units(it));
            }
        }
    }

    fn fits(&self, text: &str, length: usize) -> bool {
        // An escaped character takes at most six bytes; the exact sum matters only near the limit.
        let bytes = if self.has_bytes(text.len() * 6) { 0 } else { escaped_bytes(text) };
        self.units + length <= self.room.units && self.has_bytes(bytes)
    }

    fn has_bytes(&self, wanted: usize) -> bool {
        self.out.len() + self.closing + wanted <= self.room.bytes
    }

    fn append(&mut self, text: &str, length: usize) {
        escape_into(text, &mut self.out);
        self.units += length;
    }

    /// Writes the newlines that are due.
    fn settle(&mut self) {
        let due = std::mem::take(&mut self.due);
        if due == 0 || self.units == 0 {
            return;
        }
        if self.units + due > self.room.units || !self.has_bytes(due) {
            self.cut_here();
            return;
        }
        for _ in 0..due {
            self.out.push('\n');
        }
        self.units += due;
        self.seam(if due > 1 { Seam::Block } else { Seam::Line }, due);
    }

    /// The part may be cut here; the last `dropped` bytes, newlines, are not carried over.
    fn seam(&mut self, seam: Seam, dropped: usize) {
        self.cuts[seam as usize] = Some(Cut {
            end: self.out.len() - dropped,
            resume: self.out.len(),
            units: self.units - dropped,
            units_resume: self.units,
            entities: self.entities,
            stack: Rc::clone(&self.stack),
        });
    }

    /// Ends the part at the best seam: the best kind in its second half, or the last one there is.
    fn cut(&mut self) {
        let far = |it: &&Cut| it.units >= self.room.units / 2;
        let best = SEAMS.iter().find_map(|it| self.cuts[*it as usize].as_ref().filter(far));
        let last = || self.cuts.iter().flatten().max_by_key(|it| it.end);
        match best.or_else(last).cloned() {
            Some(cut) => self.cut_at(&cut),
            None => self.cut_here(),
        }
    }

    fn cut_here(&mut self) {
        let here = Cut {
            end: self.out.len(),
            resume: self.out.len(),
            units: self.units,
            units_resume: self.units,
            entities: self.entities,
            stack: Rc::clone(&self.stack),
        };
        self.cut_at(&here);
    }

    fn cut_at(&mut self, cut: &Cut) {
        let rest = self.out.split_off(cut.resume);
        self.out.truncate(cut.end);
        for tag in cut.stack.iter().rev() {
            self.out.push_str(tag.end());
        }
        let done = std::mem::take(&mut self.out);
        self.push_part(done);

        let in_code = cut.stack.iter().any(|it| matches!(it, Tag::Pre(_)));
        let mut visible = 0;
        if in_code && rest.starts_with([' ', '\t', '\n']) {
            // Telegram trims a message's first white space, which would move this line of code.
            self.out.push_str("…\n");
            visible = 2;
        }
        for tag in cut.stack.iter() {
            tag.open(&mut self.out);
        }
        let shift = self.out.len();
        self.out.push_str(&rest);
        self.units = self.units - cut.units_resume + visible;
        self.entities = self.entities - cut.entities + cut.stack.len();
        for slot in &mut self.cuts {
            let Some(it) = slot else { continue };
            if it.end <= cut.resume {
                *slot = None;
                continue;
            }
            it.end = it.end - cut.resume + shift;
            it.resume = it.resume - cut.resume + shift;
            it.units = it.units - cut.units_resume + visible;
            it.units_resume = it.units_resume - cut.units_resume + visible;
            it.entities = it.entities - cut.entities + cut.stack.len();
        }
    }

    fn push_part(&mut self, html: String) {
        // Telegram refuses a message in which there is nothing to see.
        if has_ink(&html) {
            self.parts.push(Part { html });
        }
    }
}

fn has_ink(html: &str) -> bool {
    let mut inside = false;
    html.chars().any(|it| match it {
        '<' => {
            inside = true;
            false
        }
        '>' if inside => {
            inside = false;
            false
        }
        it => !inside && !it.is_whitespace() && !is_invisible(it),
    })
}

fn is_invisible(it: char) -> bool {
    matches!(it, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{2028}'..='\u{202e}')
}

fn escaped_bytes(text: &str) -> usize {
    text.bytes()
        .map(|it| match it {
            b'<' | b'>' => 4,
            b'&' => 5,
            b'"' => 6,
            _ => 1,
        })
        .sum()
}

/// Escapes for text and for attributes in quotes. Control characters, which Telegram does not show, become spaces.
pub(super) fn escape_into(text: &str, out: &mut String) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            b'"' => "&quot;",
            b'\n' | b'\t' | b' '..=b'~' | 0x80.. => continue,
            _ => " ",
        };
        out.push_str(&text[from..at]);
        out.push_str(escaped);
        from = at + 1;
    }
    out.push_str(&text[from..]);
}
