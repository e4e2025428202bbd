//! Claude's Markdown as messages that Telegram takes.
//!
//! [`render`] turns Markdown into the HTML subset of the Bot API, cut into parts that fit: never over 4,096 UTF-16
//! units or 32,768 bytes, every tag closed at a part's end and opened again in the next, no cut inside a character,
//! an entity or a tag. It refuses nothing: what is no Markdown is text. Nothing is left out.

mod code;
mod parts;
mod table;
mod walk;

pub use code::{CodeFile, lift};
pub use parts::Room;

use parts::Writer;

/// Stands before what may be there twice.
pub(crate) const MARK: &str = "<i>(may stand here twice)</i>";

/// One message's worth of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Telegram HTML.
    pub html: String,
}

/// Renders Markdown into parts that each fit into `room`. Text without anything to see gives no parts.
pub fn render(markdown: &str, room: Room) -> Vec<Part> {
    let mut writer = Writer::new(room);
    walk::walk(markdown, &mut writer);
    writer.finish()
}

/// A text as it is, without any markup, escaped for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    parts::escape_into(text, &mut out);
    out
}

/// Words as Markdown that means nothing but them.
pub fn literal(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for it in words.chars() {
        if it.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(it);
    }
    out
}

/// The part as plain text, for when Telegram does not take its markup: links keep their address.
pub fn plain(part: &Part) -> String {
    let mut out = String::with_capacity(part.html.len());
    let mut link: Option<(String, usize)> = None;
    let mut rest = part.html.as_str();
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // Our own HTML: every bracket is closed and every entity is one of these.
        let end = rest
            .find(if rest.starts_with('<') { '>' } else { ';' })
            .map_or(rest.len(), |it| it + 1);
        let (token, tail) = rest.split_at(end);
        match token {
            "&lt;" => out.push('<'),
            "&gt;" => out.push('>'),
            "&amp;" => out.push('&'),
            "&quot;" => out.push('"'),
            "</a>" => {
                if let Some((url, start)) = link.take()
                    && !url.ends_with(&out[start..])
                {
                    out.push_str(&format!(" ({url})"));
                }
            }
            open => {
                if let Some(url) =
                    open.strip_prefix("<a href=\"").and_then(|it| it.strip_suffix("\">"))
                {
                    let url = url.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
                    link = Some((url.replace("&amp;", "&"), out.len()));
                }
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// UTF-16 units of a text: what Telegram's limits count.
pub fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(char::len_utf16).sum() }
}

/// The beginning of a text that is at most `units_max` long, cut between graphemes.
pub fn shortened(text: &str, units_max: usize) -> String {
    use unicode_segmentation::UnicodeSegmentation;
    if units(text) <= units_max {
        return text.to_owned();
    }
    let mut left = units_max.saturating_sub(1);
    let mut out = String::new();
    for grapheme in text.graphemes(true) {
        let length = units(grapheme);
        if length > left {
            break;
        }
        left -= length;
        out.push_str(grapheme);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(html: &str) -> Part {
        Part { html: html.to_owned() }
    }

    #[test]
    fn plain_text_keeps_what_a_link_meant() {
        let rich = part("<b>See</b> <a href=\"https://a.b/?x=1&amp;y\">the docs</a> &lt;now&gt;");
        assert_eq!(plain(&rich), "See the docs (https://a.b/?x=1&y) <now>");
        assert_eq!(plain(&part("<a href=\"https://a.b\">https://a.b</a>")), "https://a.b");
    }

    #[test]
    fn literal_words_mean_nothing_but_themselves() {
        let words = "*a* [b](c) `d` <e> 1. # f_g_";
        let parts = render(&literal(words), Room::default());
        assert_eq!(parts, [part(&escape(words))]);
    }

    #[test]
    fn a_shortened_text_ends_between_graphemes() {
        assert_eq!(shortened("short", 10), "short");
        assert_eq!(shortened("a👨‍👩‍👧b", 5), "a…");
    }
}
