//! The parts that the 14 dimensions are made of and that are counted instead of looked up: lengths, marks, numbers,
//! lines. All of them are blind to case and to odd spacing, and none looks outside the instruction but `paste` and
//! `fence`.

use crate::fold::{is_word, tenths};
use crate::zones::{Kind, Zone};

/// The counted parts, by the name they have in `router.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Length of the instruction, logarithmic.
    Length,
    /// How far below 32 columns it is.
    Short,
    /// How far above 60 columns it is.
    Long,
    /// Length of what was pasted along, logarithmic.
    Paste,
    /// Whether there is code.
    Fence,
    /// Signs that code is written with.
    Symbols,
    /// Names such as `parse_duration`, `auth.ts`, `--json`, `/users`.
    Identifiers,
    /// Items of a numbered or dashed list.
    Listed,
    /// Commas and semicolons: parts of a sentence.
    Clauses,
    /// Sentences.
    Sentences,
    /// Question marks.
    Marks,
    /// More than one question.
    ManyMarks,
    /// Numbers.
    Numbers,
    /// Text in quotation marks.
    Quoted,
    /// Markers taken back ("do not analyze").
    Negated,
}

/// Dimension and name of every counted part.
pub(crate) const COUNTED: [(&str, &str, Counted); 15] = [
    ("tokenCount", "length", Counted::Length),
    ("tokenCount", "short", Counted::Short),
    ("tokenCount", "long", Counted::Long),
    ("tokenCount", "paste", Counted::Paste),
    ("codePresence", "fence", Counted::Fence),
    ("codePresence", "symbols", Counted::Symbols),
    ("codePresence", "identifiers", Counted::Identifiers),
    ("multiStepPatterns", "listed", Counted::Listed),
    ("multiStepPatterns", "clauses", Counted::Clauses),
    ("multiStepPatterns", "sentences", Counted::Sentences),
    ("questionComplexity", "marks", Counted::Marks),
    ("questionComplexity", "manyMarks", Counted::ManyMarks),
    ("constraintCount", "numbers", Counted::Numbers),
    ("referenceComplexity", "quoted", Counted::Quoted),
    ("negationComplexity", "negated", Counted::Negated),
];

/// What was counted in one message.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    /// Length in tenths of a Latin letter.
    tenths: u32,
    pub(crate) letters: u32,
    pasted: usize,
    fences: u32,
    symbols: u32,
    identifiers: u32,
    listed: u32,
    commas: u32,
    stops: u32,
    questions: u32,
    numbers: u32,
    quoted: usize,
    pub(crate) negated: u32,
}

impl Counts {
    pub(crate) fn of(text: &str, zones: &[Zone]) -> Counts {
        let mut counts = Counts::default();
        for zone in zones {
            match zone.kind {
                Kind::Instruction => counts.instruction(text, zone.start, zone.end),
                Kind::Code => {
                    counts.fences += 1;
                    counts.pasted += zone.end - zone.start;
                }
                Kind::Paste => counts.pasted += zone.end - zone.start,
                Kind::Quote => counts.quoted += zone.end - zone.start,
                Kind::Envelope => {}
            }
        }
        counts
    }

    fn instruction(&mut self, text: &str, start: usize, end: usize) {
        let bytes = text.as_bytes();
        let mut word = false;
        let mut digits = false;
        let mut line_start = start == 0 || bytes[start - 1] == b'\n';
        for (offset, c) in text[start..end].char_indices() {
            let at = start + offset;
            if !c.is_ascii() {
                self.tenths += tenths(c);
                // One letter is enough to know that something was said.
                self.letters += u32::from(self.letters == 0 && c.is_alphanumeric());
                word = is_word(c);
                digits = false;
                line_start = false;
                continue;
            }
            let next = bytes.get(at + 1).copied().unwrap_or(b' ');
            let spaced = next.is_ascii_whitespace();
            self.tenths += 10 * u32::from(c != '\n');
            self.letters += u32::from(c.is_ascii_alphanumeric());
            match c {
                '?' => self.questions += 1,
                ',' | ';' => self.commas += u32::from(!(digits && next.is_ascii_digit())),
                '!' | '.' if spaced || !next.is_ascii() => {
                    let bullet = digits && line_start;
                    self.stops += u32::from(!bullet);
                }
                '.' if word && !digits && next.is_ascii_alphabetic() => self.identifiers += 1,
                '_' if word && next.is_ascii_alphanumeric() => self.identifiers += 1,
                '/' if !word && next.is_ascii_alphanumeric() => self.identifiers += 1,
                '-' if !word && (next == b'-' || next.is_ascii_alphabetic()) => {
                    self.identifiers += 1
                }
                '`' | '{' | '}' | '=' | '<' | '>' | '^' | '|' | '\\' => self.symbols += 1,
                '(' if word && next == b')' => self.symbols += 1,
                ':' if next == b':' => self.symbols += 1,
                _ => {}
            }
            if line_start && (matches!(c, '-' | '*') && spaced) {
                self.listed += 1;
            }
            if digits && matches!(c, '.' | ')') && spaced {
                self.listed += 1;
            }
            if c.is_ascii_digit() && !word {
                self.numbers += 1;
            }
            digits = c.is_ascii_digit();
            word = c.is_ascii_alphanumeric() || c == '_';
            line_start = c == '\n';
        }
    }

    /// Length of the instruction in Latin letters.
    pub(crate) fn columns(&self) -> u32 {
        self.tenths / 10
    }

    /// A counted part as a number from -1 to 1.
    pub(crate) fn part(&self, part: Counted) -> f32 {
        let columns = self.columns() as f32;
        let soft = |count: u32, half: f32| match count {
            0 => 0.0,
            _ => 1.0 - (-(count as f32) / half).exp(),
        };
        let log = |bytes: usize| match bytes {
            0 => 0.0,
            _ => ((bytes as f32).ln_1p() / 12.0).min(1.0),
        };
        match part {
            Counted::Length => ((columns.ln_1p() - 4.0) / 2.0).clamp(-1.0, 1.0),
            Counted::Short => (1.0 - columns / 32.0).max(0.0),
            Counted::Long => ((columns - 60.0) / 100.0).clamp(0.0, 1.0),
            Counted::Paste => log(self.pasted),
            Counted::Fence => soft(self.fences, 2.0),
            Counted::Symbols => soft(self.symbols, 3.0),
            Counted::Identifiers => soft(self.identifiers, 1.5),
            Counted::Listed => soft(self.listed, 2.0),
            Counted::Clauses => soft(self.commas, 2.0),
            Counted::Sentences => soft(self.stops.saturating_sub(1), 2.0),
            Counted::Marks => f32::from(self.questions > 0),
            Counted::ManyMarks => soft(self.questions.saturating_sub(1), 2.0),
            Counted::Numbers => soft(self.numbers, 3.0),
            Counted::Quoted => log(self.quoted),
            Counted::Negated => soft(self.negated, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zones::split;

    #[track_caller]
    fn check(text: &str, part: Counted, high: bool) {
        let value = Counts::of(text, &split(text)).part(part);
        assert_eq!(value > 0.3, high, "{part:?} of {text:?} is {value}");
    }

    #[test]
    fn parts_see_what_they_name() {
        check("add --json to parse_duration in auth.ts", Counted::Identifiers, true);
        check("one. two. a well-known e-mail", Counted::Identifiers, false);
        check("1. milk 2. eggs 3. bread", Counted::Listed, true);
        check("it costs 3.50 or 1,000", Counted::Listed, false);
        check("a, b, c; d", Counted::Clauses, true);
        check("is it? what? why?", Counted::ManyMarks, true);
        check("ok", Counted::Short, true);
    }
}
