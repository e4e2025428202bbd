//! Text as the lists see it: lower case, compatibility forms and accents taken apart, odd spaces and invisible
//! characters gone, with a way back to the bytes it came from. It refuses to reorder or to guess: a character either
//! has a folded form or stays as it is.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Characters below this have their folded form in a table; nearly all text is below it or Han.
const TABLE_END: u32 = 0x0590;
/// In the table: nothing is left of this character.
const GONE: u32 = 0;
/// In the table: the folded form is longer than one character, so it is worked out.
const SLOW: u32 = 1;

/// Folds characters; made once, because the table takes some time to fill.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    table: Vec<u32>,
}

/// Folded text, and where each piece of it came from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded {
    pub(crate) text: String,
    /// `(folded, source)` offsets wherever their difference changes.
    marks: Vec<(u32, u32)>,
    /// Display columns, estimated tokens in 1/100, counted on the way.
    pub(crate) centitokens: u64,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        let table = (0..TABLE_END)
            .map(|code| {
                let Some(c) = char::from_u32(code) else { return GONE };
                let mut out = [GONE; 2];
                let mut len = 0;
                work_out(c, |it| {
                    if len < 2 {
                        out[len] = u32::from(it);
                    }
                    len += 1;
                });
                match len {
                    0 => GONE,
                    1 => out[0],
                    _ => SLOW,
                }
            })
            .collect();
        Folder { table }
    }

    /// Folds one character into the pieces that are left of it.
    fn pieces(&self, c: char, mut push: impl FnMut(char)) {
        let code = u32::from(c);
        if code < TABLE_END {
            match self.table[code as usize] {
                GONE => {}
                SLOW => work_out(c, push),
                plain => push(char::from_u32(plain).unwrap_or(c)),
            }
        } else if (0x4e00..0xa000).contains(&code) {
            push(c);
        } else if (0xac00..0xd7a4).contains(&code) {
            // A syllable is a first letter, a vowel and perhaps a last letter; the blocks follow each other in order.
            let index = code - 0xac00;
            let jamo = |code: u32| char::from_u32(code).unwrap_or(c);
            push(jamo(0x1100 + index / 588));
            push(jamo(0x1161 + index % 588 / 28));
            if index % 28 > 0 {
                push(jamo(0x11a7 + index % 28));
            }
        } else if (0xff01..0xff5f).contains(&code) {
            let ascii = char::from_u32(code - 0xfee0).unwrap_or(c);
            push(ascii.to_ascii_lowercase());
        } else {
            work_out(c, push);
        }
    }

    /// Appends `source[range]` to `folded`. Runs of blanks become one space, or one line break when there was one
    /// among them.
    pub(crate) fn append(&self, folded: &mut Folded, source: &str, start: usize, end: usize) {
        let mut blank = folded.text.is_empty() || folded.text.ends_with([' ', '\n']);
        for (at, c) in source[start..end].char_indices() {
            let at = start + at;
            if c.is_ascii() {
                folded.centitokens += 23;
            } else {
                folded.centitokens += if is_wide(c) { 75 } else { 38 };
            }
            if c.is_ascii_graphic() {
                folded.mark(at);
                folded.text.push(c.to_ascii_lowercase());
                blank = false;
                continue;
            }
            if c == '\n' {
                if folded.text.ends_with(' ') {
                    folded.text.pop();
                    blank = false;
                }
                // Two line breaks in a row are kept: they part paragraphs.
                if !blank || (folded.text.ends_with('\n') && !folded.text.ends_with("\n\n")) {
                    folded.mark(at);
                    folded.text.push('\n');
                }
                blank = true;
                continue;
            }
            if c.is_whitespace() || c == '\u{1680}' {
                if !blank {
                    folded.mark(at);
                    folded.text.push(' ');
                    blank = true;
                }
                continue;
            }
            self.pieces(c, |piece| {
                if piece.is_whitespace() {
                    if !blank {
                        folded.mark(at);
                        folded.text.push(' ');
                        blank = true;
                    }
                } else {
                    folded.mark(at);
                    folded.text.push(piece);
                    blank = false;
                }
            });
        }
    }

    /// One phrase of a list, folded like text.
    pub(crate) fn phrase(&self, phrase: &str) -> String {
        let mut folded = Folded::default();
        self.append(&mut folded, phrase, 0, phrase.len());
        folded.text.trim().to_owned()
    }
}

impl Folded {
    fn mark(&mut self, source: usize) {
        let (at, source) = (self.text.len() as u32, source as u32);
        let shift = self.marks.last().map(|&(f, s)| s.wrapping_sub(f));
        if shift != Some(source.wrapping_sub(at)) {
            self.marks.push((at, source));
        }
    }

    /// The bytes of `source` that the folded bytes `start..end` were made of, on character boundaries.
    pub(crate) fn span(&self, source: &str, start: usize, end: usize) -> (usize, usize) {
        let first = source.floor_char_boundary(self.source(start));
        let last = source.floor_char_boundary(self.source(end.max(start + 1) - 1));
        let stop = source.ceil_char_boundary(last + 1);
        (first, stop.max(first))
    }

    fn source(&self, folded: usize) -> usize {
        let index = self.marks.partition_point(|&(at, _)| at as usize <= folded);
        match index.checked_sub(1).map(|it| self.marks[it]) {
            Some((at, source)) => source as usize + (folded - at as usize),
            None => 0,
        }
    }
}

/// Decomposes, drops what cannot be seen and accents, lowers.
fn work_out(c: char, mut push: impl FnMut(char)) {
    if is_invisible(c) {
        return;
    }
    decompose_compatible(c, |part| {
        if is_accent(part) || is_invisible(part) {
            return;
        }
        match part {
            'ß' | 'ẞ' => {
                push('s');
                push('s');
            }
            'ς' => push('σ'),
            '‘' | '’' | 'ʼ' | '‛' | '′' => push('\''),
            '“' | '”' | '„' | '‟' | '«' | '»' | '″' => push('"'),
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => push('-'),
            '。' | '｡' => push('.'),
            '、' | '，' | '،' => push(','),
            '？' | '؟' => push('?'),
            '：' => push(':'),
            '；' | '؛' => push(';'),
            '！' => push('!'),
            'ı' => push('i'),
            other => other.to_lowercase().filter(|it| !is_accent(*it)).for_each(&mut push),
        }
    });
}

/// Accents of Latin, Greek and Cyrillic, Arabic vowel signs and hamzas, Hebrew points: what people leave out when
/// they type in a hurry. Marks that carry a letter's meaning elsewhere (kana, Indic scripts) stay.
fn is_accent(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036f | 0x0591..=0x05c7 | 0x064b..=0x065f | 0x0670 | 0x0640)
        && (is_combining_mark(c) || c == '\u{640}')
}

/// Characters without a picture: zero-width ones, direction marks, variation selectors, soft hyphens, controls.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x00..=0x08 | 0x0b..=0x0c | 0x0e..=0x1f | 0x7f..=0x84 | 0x86..=0x9f | 0xad | 0x034f | 0x061c | 0x180b..=0x180e
        | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xfffb
        | 0xe0000..=0xe0fff)
}

/// Whether a character takes two columns.
pub(crate) fn is_wide(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
}

/// How many columns a text takes on a terminal.
pub fn columns_of(text: &str) -> usize {
    let wide = |c: char| match c {
        _ if c.is_control() || is_invisible(c) || is_combining_mark(c) => 0,
        _ if is_wide(c) => 2,
        _ => 1,
    };
    text.chars().map(wide).sum()
}

/// How much a folded character says, in tenths of a Latin letter: a Han character says as much as three or four
/// letters. Hangul is taken apart by then, so only a syllable's first letter counts.
pub(crate) fn tenths(c: char) -> u32 {
    match u32::from(c) {
        0x1160..=0x11ff | 0x3099..=0x309a => 0,
        0x1100..=0x115f => 22,
        0x3041..=0x30ff => 18,
        0x3400..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3fffd => 35,
        _ if is_sign(c) => 0,
        _ if is_wide(c) => 20,
        _ => 10,
    }
}

/// Vowel signs of Indic scripts and Thai, which stand above or below a letter.
fn is_sign(c: char) -> bool {
    matches!(u32::from(c), 0x0900..=0x10ff | 0x1780..=0x17ff) && is_combining_mark(c)
}

/// Whether a character belongs to a script whose words are found inside longer runs: no spaces (Han, Kana, Thai) or
/// endings and articles glued on (Hangul, Arabic, Indic scripts).
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0590..=0x11ff | 0x1780..=0x17ff | 0x2e80..=0xa4cf | 0xac00..=0xd7ff | 0xf900..=0xfaff | 0x20000..=0x3fffd)
}

/// Whether a character is part of a word of a script that puts spaces between words.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || c == '_'
    } else {
        !is_unspaced(c) && c.is_alphanumeric()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(text: &str) -> Folded {
        let mut folded = Folded::default();
        Folder::new().append(&mut folded, text, 0, text.len());
        folded
    }

    #[track_caller]
    fn check(text: &str, folded: &str) {
        assert_eq!(fold(text).text, folded);
    }

    #[test]
    fn spellings_of_one_word_fold_alike() {
        check("PROVE  STEP\u{a0}BY\tSTEP", "prove step by step");
        check("theo\u{200b}rem", "theorem");
        check("Ｐｒｏｖｅ　ｉｔ？", "prove it?");
        check("Démontre", "demontre");
        check("De\u{301}montre", "demontre");
        check("HEIẞT heißt HEISST", "heisst heisst heisst");
        check("İstanbul ISTANBUL", "istanbul istanbul");
        check("don’t “say”", "don't \"say\"");
        check("법", "\u{1107}\u{1165}\u{11b8}");
        assert_eq!(fold("が").text, fold("か\u{3099}").text);
    }

    #[test]
    fn paragraphs_survive_and_other_blanks_do_not() {
        check(" a \n\n\n b \r\n c ", "a\n\nb\nc ");
    }

    #[test]
    fn spans_lead_back_to_the_source() {
        let source = "Été:  Ｐｒｏｖｅ theo\u{200b}rem 证明";
        let folded = fold(source);
        for word in ["ete", "prove", "theorem", "证明"] {
            let start = folded.text.find(word).unwrap();
            let (from, to) = folded.span(source, start, start + word.len());
            assert_eq!(fold(&source[from..to]).text, word);
        }
    }
}
