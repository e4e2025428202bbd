//! From pulldown-cmark's events to tags and text: what a heading, a list, a quote looks like in a chat.
//!
//! Telegram knows no headings, lists, rules or tables; here is decided what stands for them. Raw HTML is text.

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag as Md, TagEnd};

use super::parts::{Tag, Writer};
use super::table::{Shown, Table};

/// Quotes with more lines than this are folded.
const QUOTE_LINES_MAX: usize = 10;
/// Longer addresses are shown as text: Telegram drops them, and they eat a part's bytes.
const LINK_BYTES_MAX: usize = 2000;

pub(super) fn walk(markdown: &str, writer: &mut Writer) {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    let mut walker = Walker { writer, lists: Vec::new(), quotes: 0, opened: Vec::new() };
    let mut at = 0;
    while at < events.len() {
        at = walker.event(&events, at);
    }
}

struct Walker<'w> {
    writer: &'w mut Writer,
    /// The lists we are in: the next number of an ordered one.
    lists: Vec<Option<u64>>,
    quotes: usize,
    /// For each inline element we are in: what closing it does.
    opened: Vec<Closing>,
}

enum Closing {
    /// Close a tag.
    Tag,
    /// Nothing: it stood in another one of its kind.
    Nothing,
    /// Write this address: it was not fit for a link.
    Address(String),
}

impl Walker<'_> {
    /// Takes one event, or an element with all its events; gives the index of the next one.
    fn event(&mut self, events: &[Event<'_>], at: usize) -> usize {
        match &events[at] {
            Event::Start(tag) => return self.start(tag, events, at),
            Event::End(tag) => self.end(*tag),
            Event::Text(text) => self.writer.text(text),
            Event::Code(text) => {
                if self.writer.is_open(&Tag::Code) {
                    self.writer.text(text);
                } else {
                    self.writer.open(Tag::Code);
                    self.writer.text(text);
                    self.writer.close();
                }
            }
            Event::InlineHtml(text) if is_line_break(text) => self.writer.text("\n"),
            Event::Html(text) => {
                self.writer.text(text.trim_end_matches('\n'));
                self.writer.newlines(1);
            }
            Event::InlineHtml(text) => self.writer.text(text),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.writer.text(text),
            Event::FootnoteReference(text) => self.writer.text(text),
            Event::SoftBreak | Event::HardBreak => {
                self.writer.text("\n");
                self.writer.text(&self.indent());
            }
            Event::Rule => {
                self.writer.newlines(2);
                self.writer.text("———");
                self.writer.newlines(2);
            }
            Event::TaskListMarker(_) => {}
        }
        at + 1
    }

    fn start(&mut self, tag: &Md<'_>, events: &[Event<'_>], at: usize) -> usize {
        match tag {
            Md::Paragraph => {}
            Md::Heading { .. } => {
                self.block();
                self.inline(Tag::Bold);
            }
            Md::BlockQuote(_) => {
                self.block();
                if self.quotes == 0 {
                    let folded = lines_of(events, at) > QUOTE_LINES_MAX;
                    self.writer.open(if folded { Tag::FoldedQuote } else { Tag::Quote });
                } else {
                    self.writer.text("» ");
                }
                self.quotes += 1;
            }
            Md::CodeBlock(kind) => return self.code(kind, events, at),
            Md::List(first) => {
                if self.lists.is_empty() {
                    self.block();
                }
                self.lists.push(*first);
            }
            Md::Item => self.item(events, at),
            Md::Table(alignments) => {
                let alignments = alignments.clone();
                return self.table(Table { alignments, rows: Vec::new() }, events, at);
            }
            Md::Emphasis => self.inline(Tag::Italic),
            Md::Strong => self.inline(Tag::Bold),
            Md::Strikethrough => self.inline(Tag::Strike),
            Md::Link { link_type: LinkType::Email, dest_url, .. } => {
                self.link(&format!("mailto:{dest_url}"));
            }
            Md::Link { dest_url, .. } => self.link(dest_url),
            Md::Image { dest_url, .. } => {
                self.link(dest_url);
                self.writer.text("🖼 ");
            }
            _ => {}
        }
        at + 1
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.after(2),
            TagEnd::Heading(_) => {
                self.end_inline();
                self.writer.newlines(1);
            }
            TagEnd::BlockQuote(_) => {
                self.quotes -= 1;
                if self.quotes == 0 {
                    self.writer.close();
                }
                self.after(2);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.after(2);
            }
            TagEnd::Item => self.writer.newlines(1),
            TagEnd::HtmlBlock => self.after(2),
            TagEnd::Emphasis
            | TagEnd::Strong
            | TagEnd::Strikethrough
            | TagEnd::Link
            | TagEnd::Image => self.end_inline(),
            _ => {}
        }
    }

    /// Room before a block: an empty line, but inside lists only a new one.
    fn block(&mut self) {
        self.after(2);
    }

    fn after(&mut self, newlines: usize) {
        self.writer.newlines(if self.lists.is_empty() { newlines } else { 1 });
    }

    fn indent(&self) -> String {
        "  ".repeat(self.lists.len())
    }

    fn inline(&mut self, tag: Tag) {
        if self.writer.is_open(&tag) {
            self.opened.push(Closing::Nothing);
        } else {
            self.writer.open(tag);
            self.opened.push(Closing::Tag);
        }
    }

    fn link(&mut self, url: &str) {
        let fit = ["http://", "https://", "tg://", "mailto:", "tel:"]
            .iter()
            .any(|it| url.starts_with(it) && url.len() > it.len())
            && url.len() <= LINK_BYTES_MAX
            && !url.contains(|it: char| it.is_whitespace() || it.is_control());
        if fit {
            self.inline(Tag::Link(url.into()));
        } else {
            self.opened.push(Closing::Address(url.to_owned()));
        }
    }

    fn end_inline(&mut self) {
        match self.opened.pop() {
            Some(Closing::Tag) => self.writer.close(),
            Some(Closing::Address(url)) if !url.is_empty() => {
                self.writer.text(&format!(" ({url})"))
            }
            _ => {}
        }
    }

    fn item(&mut self, events: &[Event<'_>], at: usize) {
        self.writer.newlines(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let task = events[at + 1..].iter().take(2).find_map(|it| match it {
            Event::TaskListMarker(done) => Some(*done),
            _ => None,
        });
        let bullet = match (task, self.lists.last_mut()) {
            (Some(true), _) => "☑ ".to_owned(),
            (Some(false), _) => "☐ ".to_owned(),
            (None, Some(Some(number))) => {
                let it = format!("{number}. ");
                *number += 1;
                it
            }
            _ => if self.lists.len() > 1 { "◦ " } else { "• " }.to_owned(),
        };
        self.writer.text(&format!("{indent}{bullet}"));
    }

    fn code(&mut self, kind: &CodeBlockKind<'_>, events: &[Event<'_>], at: usize) -> usize {
        let mut code = String::new();
        let mut next = at + 1;
        while next < events.len() {
            match &events[next] {
                Event::End(TagEnd::CodeBlock) => break,
                Event::Text(text) => code.push_str(text),
                _ => {}
            }
            next += 1;
        }
        let code = code.trim_end_matches('\n');
        if !code.trim().is_empty() {
            self.block();
            let language = match kind {
                CodeBlockKind::Fenced(info) => language(info),
                CodeBlockKind::Indented => None,
            };
            self.writer.open(Tag::Pre(language));
            self.writer.text(code);
            self.writer.close();
            self.after(2);
        }
        next + 1
    }

    fn table(&mut self, mut table: Table, events: &[Event<'_>], at: usize) -> usize {
        let mut next = at + 1;
        // The links we are in, and where their words begin.
        let mut links: Vec<(&str, usize)> = Vec::new();
        while next < events.len() {
            let cell = table.rows.last_mut().and_then(|it| it.last_mut());
            match (&events[next], cell) {
                (Event::End(TagEnd::Table), _) => break,
                (Event::Start(Md::TableHead | Md::TableRow), _) => table.rows.push(Vec::new()),
                (Event::Start(Md::TableCell), _) => {
                    if let Some(row) = table.rows.last_mut() {
                        row.push(String::new());
                    }
                }
                (
                    Event::Text(text)
                    | Event::Code(text)
                    | Event::Html(text)
                    | Event::InlineHtml(text),
                    Some(cell),
                ) => cell.push_str(text),
                (Event::SoftBreak | Event::HardBreak, Some(cell)) => cell.push(' '),
                (Event::Start(Md::Link { dest_url, .. }), Some(cell)) => {
                    links.push((dest_url, cell.len()));
                }
                (Event::Start(Md::Image { dest_url, .. }), Some(cell)) => {
                    links.push((dest_url, cell.len()));
                    cell.push_str("🖼 ");
                }
                // A cell has no markup, so the address stands beside the words.
                (Event::End(TagEnd::Link | TagEnd::Image), Some(cell)) => {
                    if let Some((url, from)) = links.pop().filter(|(url, _)| !url.is_empty())
                        && cell[from..] != *url
                    {
                        cell.push_str(&format!(" ({url})"));
                    }
                }
                _ => {}
            }
            next += 1;
        }
        self.block();
        match table.shown() {
            Shown::Aligned(lines) if !lines.trim().is_empty() => {
                self.writer.open(Tag::Pre(None));
                self.writer.text(&lines);
                self.writer.close();
            }
            Shown::Aligned(_) => {}
            Shown::Records(records) => self.records(records),
        }
        self.after(2);
        next + 1
    }

    fn records(&mut self, records: Vec<Vec<(String, String)>>) {
        for record in records {
            self.writer.newlines(2);
            for (at, (heading, cell)) in record.iter().enumerate() {
                self.writer.newlines(1);
                if at == 0 {
                    self.inline(Tag::Bold);
                    self.writer.text(cell);
                    self.end_inline();
                } else if !cell.is_empty() {
                    self.writer.text(&format!("{heading}: {cell}"));
                }
            }
        }
    }
}

/// How many lines an element will take, about.
fn lines_of(events: &[Event<'_>], at: usize) -> usize {
    let (mut depth, mut lines) = (0_usize, 0);
    for event in &events[at..] {
        match event {
            Event::Start(_) => depth += 1,
            Event::End(end) => {
                depth -= 1;
                lines += usize::from(matches!(end, TagEnd::Paragraph | TagEnd::Item));
            }
            Event::Text(text) => lines += text.len() / 50 + text.matches('\n').count(),
            Event::SoftBreak | Event::HardBreak => lines += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    lines
}

/// The language of a fence, when it is one that may stand in an attribute.
fn language(info: &str) -> Option<Box<str>> {
    let word = info.split([' ', ',', '\t']).next().unwrap_or_default();
    let clean = word.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-#._".contains(&it));
    (clean && !word.is_empty() && word.len() <= 32).then(|| word.into())
}

fn is_line_break(html: &str) -> bool {
    matches!(html.to_ascii_lowercase().as_str(), "<br>" | "<br/>" | "<br />")
}
