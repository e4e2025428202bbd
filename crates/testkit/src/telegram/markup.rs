//! Telegram's HTML as the server reads it: a text, the entities over it, or the error that the real parser gives.
//!
//! Besides the server's own errors it knows [`Parsed::oddities`]: markup that is accepted and then shown differently
//! from how it was meant. Offsets are UTF-16 units, as everywhere in the Bot API.

use serde_json::{Value, json};

/// The longest text of a message, after parsing, in UTF-16 units.
pub const TEXT_UNITS_MAX: usize = 4096;
/// The longest text before parsing, in bytes.
pub const SOURCE_BYTES_MAX: usize = 32_768;
/// More entities than these are dropped without a word.
pub const ENTITIES_MAX: usize = 100;

/// A text and what lies over it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The visible text.
    pub text: String,
    /// `MessageEntity` objects.
    pub entities: Vec<Value>,
    /// What was accepted but will not look as meant.
    pub oddities: Vec<String>,
}

impl Parsed {
    /// The length that counts against limits.
    pub fn units(&self) -> usize {
        units(&self.text)
    }
}

/// UTF-16 units of a text.
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

struct Open {
    tag: String,
    start: usize,
    entity: Option<Value>,
}

/// Reads Telegram's HTML. `Err` is the description of the real error, without `Bad Request: `.
pub fn parse_html(source: &str) -> Result<Parsed, String> {
    let bytes = source.as_bytes();
    let mut parsed = Parsed::default();
    let mut open: Vec<Open> = Vec::new();
    let (mut at, mut offset) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'&' => {
                let (it, used) = entity(&source[at..]).unwrap_or(('&', 1));
                parsed.text.push(it);
                offset += it.len_utf16();
                at += used;
            }
            b'<' if bytes.get(at + 1) == Some(&b'/') => {
                let begin = at;
                let Some(end) = source[at..].find('>').map(|it| at + it) else {
                    return Err(format!(
                        "can't parse entities: Unclosed end tag at byte offset {at}"
                    ));
                };
                let name = source[at + 2..end].trim_end().to_ascii_lowercase();
                at = end + 1;
                let Some(top) = open.pop() else {
                    return Err(format!(
                        "can't parse entities: Unexpected end tag at byte offset {begin}"
                    ));
                };
                if !name.is_empty() && name != top.tag {
                    return Err(format!(
                        "can't parse entities: Unmatched end tag at byte offset {begin}, expected \"</{}>\", found \"</{name}>\"",
                        top.tag
                    ));
                }
                close(top, offset, &mut parsed, &open);
            }
            b'<' => {
                let (top, used) = start_tag(source, at, offset)?;
                at += used;
                note_nesting(&top, &open, &mut parsed.oddities);
                open.push(top);
            }
            _ => {
                let Some(it) = source[at..].chars().next() else { break };
                parsed.text.push(it);
                offset += it.len_utf16();
                at += it.len_utf8();
            }
        }
    }
    if let Some(top) = open.pop() {
        return Err(format!(
            "can't parse entities: Can't find end tag corresponding to start tag \"{}\"",
            top.tag
        ));
    }
    if parsed.entities.len() > ENTITIES_MAX {
        parsed.oddities.push(format!("{} entities", parsed.entities.len()));
        parsed.entities.truncate(ENTITIES_MAX);
    }
    Ok(parsed)
}

fn note_nesting(top: &Open, open: &[Open], oddities: &mut Vec<String>) {
    let inside = |tag: &str| open.iter().any(|it| it.tag == tag);
    let language = top.tag == "code" && open.last().is_some_and(|it| it.tag == "pre");
    if (inside("pre") || inside("code")) && !language {
        oddities.push(format!("<{}> inside code", top.tag));
    }
    if top.tag == "blockquote" && inside("blockquote") {
        oddities.push("a quote inside a quote".to_owned());
    }
}

fn close(top: Open, offset: usize, parsed: &mut Parsed, open: &[Open]) {
    let Some(mut entity) = top.entity else { return };
    let length = offset - top.start;
    if length == 0 {
        return;
    }
    // `<pre><code class="language-x">` is one entity with a language, not two.
    if top.tag == "code"
        && let Some(parent) = open.last()
        && parent.tag == "pre"
        && parent.start == top.start
    {
        if let Some(language) = entity.get("language").cloned() {
            parsed.entities.push(
                json!({"type": "pre", "offset": top.start, "length": length, "language": language}),
            );
        }
        return;
    }
    if top.tag == "pre"
        && let Some(inner) = parsed.entities.last()
        && inner["type"] == "pre"
        && inner["offset"] == top.start
        && inner["length"] == length
    {
        return;
    }
    if let Some(fields) = entity.as_object_mut() {
        fields.remove("language");
        fields.insert("offset".to_owned(), top.start.into());
        fields.insert("length".to_owned(), length.into());
    }
    parsed.entities.push(entity);
}

fn start_tag(source: &str, at: usize, offset: usize) -> Result<(Open, usize), String> {
    let unclosed = || format!("can't parse entities: Unclosed start tag at byte offset {at}");
    let rest = &source[at + 1..];
    let name_end =
        rest.find(|it: char| it.is_ascii_whitespace() || it == '>').ok_or_else(unclosed)?;
    let tag = rest[..name_end].to_ascii_lowercase();
    let (attributes, used) = attributes(&rest[name_end..]).ok_or_else(unclosed)?;
    let attribute =
        |name: &str| attributes.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
    let kind = match tag.as_str() {
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "u" | "ins" => "underline",
        "s" | "strike" | "del" => "strikethrough",
        "tg-spoiler" => "spoiler",
        "span" if attribute("class").as_deref() == Some("tg-spoiler") => "spoiler",
        "span" => {
            return Err(format!(
                "can't parse entities: Tag \"span\" must have class \"tg-spoiler\" at byte offset {at}"
            ));
        }
        "code" => "code",
        "pre" => "pre",
        "blockquote" if attribute("expandable").is_some() => "expandable_blockquote",
        "blockquote" => "blockquote",
        "a" => "text_link",
        "tg-emoji" => "custom_emoji",
        _ => {
            return Err(format!(
                "can't parse entities: Unsupported start tag \"{tag}\" at byte offset {at}"
            ));
        }
    };
    let entity = match kind {
        "text_link" => attribute("href")
            .filter(|it| is_link(it))
            .map(|url| json!({"type": "text_link", "url": url})),
        "code" => {
            let language = attribute("class").and_then(|it| {
                it.strip_prefix("language-").filter(|it| !it.is_empty()).map(str::to_owned)
            });
            Some(match language {
                Some(it) => json!({"type": "code", "language": it}),
                None => json!({"type": "code"}),
            })
        }
        "custom_emoji" => {
            attribute("emoji-id").map(|id| json!({"type": "custom_emoji", "custom_emoji_id": id}))
        }
        kind => Some(json!({"type": kind})),
    };
    Ok((Open { tag, start: offset, entity }, 1 + name_end + used))
}

fn is_link(url: &str) -> bool {
    ["http://", "https://", "tg://", "ton://", "mailto:", "tel:"]
        .iter()
        .any(|it| url.starts_with(it))
}

/// Attributes up to and with the closing bracket: their values, and how many bytes they took.
fn attributes(text: &str) -> Option<(Vec<(String, String)>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        if rest.starts_with('>') {
            return Some((found, at + 1));
        }
        let name_end = rest.find(|it: char| it.is_ascii_whitespace() || it == '=' || it == '>')?;
        let name = rest[..name_end].to_ascii_lowercase();
        at += name_end;
        if !text[at..].starts_with('=') {
            found.push((name, String::new()));
            continue;
        }
        at += 1;
        let quote = text[at..].chars().next()?;
        let (value, used) = if quote == '"' || quote == '\'' {
            let end = text[at + 1..].find(quote)?;
            (&text[at + 1..at + 1 + end], end + 2)
        } else {
            let end = text[at..].find(|it: char| it.is_ascii_whitespace() || it == '>')?;
            (&text[at..at + end], end)
        };
        found.push((name, decode(value)));
        at += used;
    }
}

fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(it) = rest.chars().next() {
        let (it, used) = match it {
            '&' => entity(rest).unwrap_or(('&', 1)),
            other => (other, other.len_utf8()),
        };
        out.push(it);
        rest = &rest[used..];
    }
    out
}

/// One character entity at the beginning of `text`, and its length in bytes.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(12).position(|it| it == b';')?;
    let it = match &text[1..end] {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        name => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code).filter(|it| *it != '\0')?
        }
    };
    Some((it, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(source: &str, why: &str) {
        assert_eq!(parse_html(source).unwrap_err(), format!("can't parse entities: {why}"));
    }

    #[test]
    fn the_errors_are_those_of_the_real_parser() {
        refused("a <email@x>", "Unsupported start tag \"email@x\" at byte offset 2");
        refused("<b>x", "Can't find end tag corresponding to start tag \"b\"");
        refused("x</b>", "Unexpected end tag at byte offset 1");
        refused(
            "<b><i>x</b></i>",
            "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\"",
        );
        refused("a <b", "Unclosed start tag at byte offset 2");
    }

    #[test]
    fn entities_are_counted_in_utf16() {
        let parsed =
            parse_html("😀 <b>ä&amp;b</b> <a href=\"https://a.b/?x=1&amp;y\">l</a>").unwrap();
        assert_eq!(parsed.text, "😀 ä&b l");
        assert_eq!(
            serde_json::to_string(&parsed.entities).unwrap(),
            r#"[{"type":"bold","offset":3,"length":3},{"type":"text_link","url":"https://a.b/?x=1&y","offset":7,"length":1}]"#
        );
    }

    #[test]
    fn a_code_block_keeps_its_language() {
        let parsed =
            parse_html("<pre><code class=\"language-rust\">fn main() {}</code></pre>").unwrap();
        assert_eq!(parsed.entities.len(), 1);
        assert_eq!(parsed.entities[0]["language"], "rust");
        assert_eq!(parse_html("<code>x</code>").unwrap().entities[0]["type"], "code");
    }
}
