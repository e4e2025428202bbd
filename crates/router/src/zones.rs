//! Which part of a message is the user speaking: envelopes are peeled off, and quoted text, code and pasted logs are
//! told from the instruction. It judges by the shape of lines, never by what they mean, and in one pass.

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The user's own words: the only zone that is scored.
    Instruction,
    /// Words in quotation marks or behind `>`.
    Quote,
    /// A code fence, or lines that look like code.
    Code,
    /// Log lines, and long text that was pasted behind a question.
    Paste,
    /// What programs put around a message.
    Envelope,
}

/// A piece of the folded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Longer prose than this is an instruction with something pasted to it.
const PROSE_BYTES_MAX: usize = 4_000;
/// A single paragraph longer than this is pasted when there is more than one.
const PARAGRAPH_BYTES_MAX: usize = 1_500;
/// How much of the beginning counts as instruction when the prose is too long.
const LEAD_BYTES: usize = 1_200;
/// A last paragraph up to this length counts as instruction, too.
const LAST_BYTES: usize = 300;
/// Prose of this length behind a first line that ends in a colon was pasted.
const AFTER_COLON_BYTES: usize = 400;
/// The shortest text in quotation marks that counts as a quote and not as a name.
const QUOTE_BYTES_MIN: usize = 12;
/// Quotation marks further apart than this are not a pair.
const QUOTE_BYTES_MAX: usize = 2_000;
/// The longest `[sender]` in front of a message.
const SENDER_BYTES_MAX: usize = 80;

/// Blocks that programs put into a user's turn.
const TAGS: [&str; 6] =
    ["system-reminder", "system", "context", "metadata", "environment_context", "command-message"];

/// Splits folded text into zones, in order, without gaps but for line breaks.
pub(crate) fn split(text: &str) -> Vec<Zone> {
    let mut zones = Vec::new();
    let body = peel(text, &mut zones);
    let said = without_closing_hint(text, body);
    let mut lines = Lines { zones, fence: false, codey: 0 };
    let mut at = body;
    for line in text[body..said].split_inclusive('\n') {
        lines.take(text, at, at + line.len());
        at += line.len();
    }
    let mut zones = quotes(text, demote_long_prose(text, lines.zones));
    if said < text.len() {
        zones.push(Zone { kind: Kind::Envelope, start: said, end: text.len() });
    }
    zones
}

/// Where the last word ends, without a model hint behind it (`[tier:opus]`).
fn without_closing_hint(text: &str, body: usize) -> usize {
    let trimmed = text[body..].trim_end();
    let open = trimmed.strip_suffix(']').and_then(|it| it.rfind('['));
    match open {
        Some(at) if trimmed[at..].starts_with("[tier:") => body + trimmed[..at].trim_end().len(),
        _ => body + trimmed.len(),
    }
}

/// Takes envelopes off the front and returns where the message begins.
fn peel(text: &str, zones: &mut Vec<Zone>) -> usize {
    // Everything before the last `[current]:` is history.
    let bracketed = text.as_bytes().contains(&b'[');
    let mut at = match bracketed.then(|| text.rfind("[current]:")).flatten() {
        Some(it) if it == 0 || text[..it].ends_with(['\n', ' ']) => it + "[current]:".len(),
        _ => 0,
    };
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        let begin = at + rest.len() - trimmed.len();
        let Some(length) = envelope(trimmed) else {
            if begin > 0 {
                zones.push(Zone { kind: Kind::Envelope, start: 0, end: begin });
            }
            return begin;
        };
        at = begin + length;
    }
}

/// The length of the envelope at the start of `text`, if there is one.
fn envelope(text: &str) -> Option<usize> {
    if let Some(tagged) = text.strip_prefix('<') {
        let tag = TAGS.iter().find(|it| {
            tagged.strip_prefix(**it).is_some_and(|after| after.starts_with(['>', ' ']))
        })?;
        let close = text.find(&format!("</{tag}>"))?;
        return Some(close + tag.len() + 3);
    }
    if text.starts_with('[') {
        let close = text.bytes().take(SENDER_BYTES_MAX).position(|it| it == b']')?;
        let inside = &text[1..close];
        let after = &text[close + 1..];
        if after.starts_with('(') {
            return None;
        }
        if inside.starts_with("tier:") {
            return Some(close + 1);
        }
        if after.starts_with(':') {
            return Some(close + 2);
        }
        let stamped = inside.bytes().any(|it| it.is_ascii_digit()) && inside.contains(':');
        return (stamped && !after.trim().is_empty()).then_some(close + 1);
    }
    if let Some(rest) = text.strip_prefix('/') {
        let end = rest.find([' ', '\n']).unwrap_or(rest.len());
        let word = rest[..end].split('@').next().unwrap_or_default();
        return matches!(word, "haiku" | "sonnet" | "opus").then_some(end + 1);
    }
    if text.starts_with('{') {
        let line = text.find('\n')?;
        let json = text[..line].trim_end();
        let more = !text[line..].trim().is_empty();
        return (more && json.ends_with('}') && json.contains('"')).then_some(line);
    }
    timestamp(text).filter(|length| !text[*length..].trim().is_empty())
}

/// The length of a time such as `2026-02-11 10:31:05` or `10:31 -` at the start of a line.
fn timestamp(text: &str) -> Option<usize> {
    let length = text.bytes().take(40).position(|it| {
        !matches!(it, b'0'..=b'9' | b':' | b'.' | b'-' | b'+' | b't' | b'z' | b' ')
    })?;
    let stamp = text[..length].trim_end();
    let dated = stamp.len() >= 10
        && stamp.as_bytes()[4] == b'-'
        && stamp.as_bytes()[7] == b'-'
        && stamp.as_bytes()[..4].iter().all(u8::is_ascii_digit);
    let timed = stamp.len() >= 8 && stamp.as_bytes()[2] == b':' && stamp.as_bytes()[5] == b':';
    (dated || timed).then_some(stamp.len())
}

struct Lines {
    zones: Vec<Zone>,
    fence: bool,
    /// How many lines in a row looked like code.
    codey: usize,
}

impl Lines {
    fn take(&mut self, text: &str, start: usize, end: usize) {
        let line = text[start..end].trim();
        if line.starts_with("```") || line.starts_with("~~~") {
            // A fence may open and close on one line.
            let twice = line.len() > 6 && line[3..].contains(&line[..3]);
            self.fence ^= !twice;
            self.push(Kind::Code, start, end);
            self.codey = 0;
            return;
        }
        if self.fence {
            self.push(Kind::Code, start, end);
            return;
        }
        if let Some(open) = line.find("```") {
            let open = start + text[start..end].find(line).unwrap_or(0) + open;
            self.push(Kind::Instruction, start, open);
            let close = text[open + 3..end].find("```").map(|it| open + 3 + it + 3);
            self.push(Kind::Code, open, close.unwrap_or(end));
            match close {
                Some(close) if close < end => self.push(Kind::Instruction, close, end),
                Some(_) => {}
                None => self.fence = true,
            }
            return;
        }
        let kind = if line.starts_with('>') {
            Kind::Quote
        } else if looks_logged(line) {
            Kind::Paste
        } else {
            Kind::Instruction
        };
        let codey = kind == Kind::Instruction && looks_coded(line);
        self.codey = if codey { self.codey + 1 } else { 0 };
        self.push(if self.codey >= 3 { Kind::Code } else { kind }, start, end);
        if self.codey == 3 {
            // The two lines before this one were code as well.
            let mut left = 2;
            for zone in self.zones.iter_mut().rev().skip(1).take(2) {
                if left > 0 && zone.kind == Kind::Instruction {
                    zone.kind = Kind::Code;
                    left -= 1;
                }
            }
        }
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        if start < end {
            self.zones.push(Zone { kind, start, end });
        }
    }
}

fn looks_logged(line: &str) -> bool {
    if timestamp(line).is_some() || line.starts_with("traceback (") || line.starts_with("file \"") {
        return true;
    }
    let bracketed = line.starts_with('[')
        && line.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
        && line.bytes().take(40).any(|it| it == b':');
    let framed = line.starts_with("at ") && line.ends_with(')') && line.contains(':');
    let levelled = ["error ", "warn ", "info ", "debug ", "trace ", "[error]", "[info]", "[warn]"]
        .iter()
        .any(|it| line.starts_with(it))
        && line.contains(": ")
        && line.contains(['=', '/', '[']);
    bracketed || framed || levelled
}

fn looks_coded(line: &str) -> bool {
    let Some(last) = line.bytes().next_back() else { return false };
    matches!(last, b'{' | b'}' | b';')
        || (last == b')' && line.contains(['=', '.']))
        || line.starts_with("import ")
        || line.starts_with("def ")
        || line.starts_with("return ")
        || line.starts_with("//")
        || (line.contains(" = ") && !line.ends_with(['.', '?']))
}

/// Prose that is too long to be an instruction is pasted text but for its beginning and a short end.
fn demote_long_prose(text: &str, mut zones: Vec<Zone>) -> Vec<Zone> {
    let prose = |zones: &[Zone]| -> usize {
        zones.iter().filter(|it| it.kind == Kind::Instruction).map(|it| it.end - it.start).sum()
    };
    let total = prose(&zones);
    let Some(first) = zones.iter().position(|it| it.kind == Kind::Instruction) else {
        return zones;
    };
    let lead_line = text[zones[first].start..zones[first].end].trim_end();
    let listed = |zone: &Zone| {
        let line = text[zone.start..zone.end].trim_start();
        line.starts_with(['-', '*', '•', '#']) || line.starts_with(|c: char| c.is_ascii_digit())
    };
    let behind_colon = lead_line.ends_with(':')
        && total.saturating_sub(lead_line.len()) > AFTER_COLON_BYTES
        && zones[first + 1..].iter().any(|it| {
            it.kind == Kind::Instruction && it.end - it.start > AFTER_COLON_BYTES / 2 && !listed(it)
        });
    if total <= PROSE_BYTES_MAX && !behind_colon {
        return zones;
    }
    let last = zones
        .iter()
        .rposition(|it| it.kind == Kind::Instruction && !text[it.start..it.end].trim().is_empty());
    let mut lead = if behind_colon { lead_line.len() } else { LEAD_BYTES };
    let mut cut = None;
    for (index, zone) in zones.iter_mut().enumerate() {
        if zone.kind != Kind::Instruction {
            continue;
        }
        let length = zone.end - zone.start;
        let parted = text[..zone.start].ends_with("\n\n");
        if Some(index) == last && index != first && length <= LAST_BYTES && parted {
            continue;
        }
        if lead >= length && length <= PARAGRAPH_BYTES_MAX {
            lead -= length;
        } else if index == first {
            cut = Some((index, zone.start + first_sentence(&text[zone.start..zone.end])));
            lead = 0;
        } else {
            zone.kind = Kind::Paste;
            lead = 0;
        }
    }
    if let Some((index, at)) = cut {
        let rest = Zone { kind: Kind::Paste, start: at, end: zones[index].end };
        zones[index].end = at;
        zones.insert(index + 1, rest);
    }
    zones
}

/// Where the first sentence ends, or the text is cut when it has none.
fn first_sentence(text: &str) -> usize {
    let head = text.floor_char_boundary(LAST_BYTES);
    let bytes = &text.as_bytes()[..head];
    let ends = |at: usize| {
        matches!(bytes[at], b'.' | b'!' | b'?' | b':')
            && bytes.get(at + 1).is_none_or(|it| it.is_ascii_whitespace() || !it.is_ascii())
    };
    (0..head).find(|at| ends(*at)).map_or(head, |at| at + 1)
}

/// Takes what stands in quotation marks out of the instruction.
fn quotes(text: &str, zones: Vec<Zone>) -> Vec<Zone> {
    if !text.as_bytes().contains(&b'"') && !text.contains('「') {
        return zones;
    }
    let mut out = Vec::with_capacity(zones.len() + 4);
    for zone in zones {
        let mut at = zone.start;
        while zone.kind == Kind::Instruction && at < zone.end {
            let Some(open) = text[at..zone.end].find(['"', '「']).map(|it| at + it) else { break };
            let (mark, close) =
                if text.as_bytes()[open] == b'"' { (1, "\"") } else { ("「".len(), "」") };
            let inside = open + mark;
            let limit =
                text.floor_char_boundary(zone.end.min(inside + QUOTE_BYTES_MAX)).max(inside);
            let Some(length) = text[inside..limit].find(close) else { break };
            let end = inside + length;
            if length >= QUOTE_BYTES_MIN {
                out.push(Zone { kind: Kind::Instruction, start: at, end: open });
                out.push(Zone { kind: Kind::Quote, start: open, end: end + close.len() });
            } else {
                out.push(Zone { kind: Kind::Instruction, start: at, end: end + close.len() });
            }
            at = end + close.len();
        }
        out.push(Zone { start: at, ..zone });
    }
    out.retain(|it| it.start < it.end);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, instruction: &str) {
        let said: Vec<&str> = split(text)
            .into_iter()
            .filter(|it| it.kind == Kind::Instruction)
            .map(|it| text[it.start..it.end].trim())
            .filter(|it| !it.is_empty())
            .collect();
        assert_eq!(said.join(" | "), instruction);
    }

    #[test]
    fn envelopes_are_peeled() {
        check("<system-reminder>prove it all</system-reminder>\nok", "ok");
        check("[ada]: hello there", "hello there");
        check("[bot]: all green.\n[current]: great, thanks", "great, thanks");
        check("[sat 10:31 from ada in #deploy] is it done?", "is it done?");
        check("{\"chat\": 7, \"from\": \"ada\"}\nis it done?", "is it done?");
        check("2026-02-11 10:31:05 is it done?", "is it done?");
        check("[x] marks the spot", "[x] marks the spot");
        check("/opus@claw is it done?", "is it done?");
        check("[tier:opus] is it done? [tier:haiku]", "is it done?");
        check("/opusculum is here", "/opusculum is here");
    }

    #[test]
    fn fences_quotes_and_logs_are_apart() {
        check("what is this?\n```\nprove it\n```\nthanks", "what is this? | thanks");
        check("what is `x`? ```prove``` ok", "what is `x`? | ok");
        check("shorten: \"we are writing to let you know\" now", "shorten: | now");
        check("why?\n2026-02-11 10:31:05 error boom\n  at run (main.js:3:4)", "why?");
        check("> design a system\nagreed", "agreed");
        check("look\nlet a = 1;\nlet b = 2;\nlet c = 3;\nok", "look | ok");
    }

    #[test]
    fn a_long_paste_is_no_instruction() {
        let paste = "prove the theorem. ".repeat(2_000);
        check(
            &format!("what is this?\n\n{paste}\n\nplease be short"),
            "what is this? | please be short",
        );
        check(&format!("what is this? {paste}"), "what is this?");
        check(&format!("sum this up:\n{}", &paste[..600]), "sum this up:");
    }
}
