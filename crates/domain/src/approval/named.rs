//! A text in which everything can be seen: what a person cannot see, or would take for something else, is named by its
//! code, `⟨U+202E⟩`. Nothing is left out, and two texts that differ are shown differently.
//!
//! What is not known to be visible is named: the default is distrust. Letters that are written from right to left are named
//! too, because they turn the signs between them around, and a command reads from left to right.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Longer runs of spaces are counted: within a line, and where a line is indented.
const SPACES_MAX: usize = 8;
const INDENT_MAX: usize = 24;
/// So many tabs, marks on one letter, and breaks in a row stand as they are.
const TABS_MAX: usize = 8;
const MARKS_MAX: usize = 3;
const BREAKS_MAX: usize = 3;
/// Hidden characters of one kind in a row are counted from here on.
const HIDDEN_MAX: usize = 3;

/// Stands where a tab is,
pub(super) const TAB: char = '⇥';
/// and where a line ends in a text that is not shown line by line.
pub(super) const BREAK: char = '⏎';

/// What is odd about a text, for a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Oddity {
    /// Characters that cannot be seen, or that change how others are shown.
    Hidden,
    /// Letters or signs that look like others.
    Lookalike,
    /// Blanks that push the rest out of sight.
    Blanks,
}

/// Texts made visible, and what was odd about them.
#[derive(Debug, Default)]
pub(super) struct Namer {
    pub(super) oddities: BTreeSet<Oddity>,
}

/// How a character is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// As it is.
    Plain,
    /// As it is, and named: it can be seen, and mistaken.
    Named,
    /// By its name alone.
    Hidden,
}

impl Namer {
    /// A text of any number of lines, each break marked: on a phone a wrapped line looks like two.
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut breaks = 0;
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            if !line.is_empty() {
                self.breaks(&mut shown, &mut breaks);
                shown.push_str(&self.line(line));
            }
            breaks += usize::from(lines.peek().is_some());
        }
        self.breaks(&mut shown, &mut breaks);
        shown
    }

    fn breaks(&mut self, shown: &mut String, count: &mut usize) {
        let mut left = std::mem::take(count);
        if left > BREAKS_MAX {
            self.oddities.insert(Oddity::Blanks);
            let _ = write!(shown, "⟨{} line breaks⟩", left - 1);
            left = 1;
        }
        for _ in 0..left {
            shown.push(BREAK);
            shown.push('\n');
        }
    }

    /// One line. A break in it, where there should be none, is named like any other sign.
    pub(super) fn line(&mut self, line: &str) -> String {
        let chars: Vec<char> = line.chars().collect();
        let mut shown = String::with_capacity(line.len());
        let mut word = Word::default();
        let mut at = 0;
        while at < chars.len() {
            let one = chars[at];
            let count = chars[at..].iter().take_while(|it| **it == one).count();
            let is_last = at + count == chars.len();
            match one {
                ' ' => self.spaces(&mut shown, count, at == 0, is_last),
                '\t' if count <= TABS_MAX => shown.extend(std::iter::repeat_n(TAB, count)),
                '\t' => {
                    self.oddities.insert(Oddity::Blanks);
                    let _ = write!(shown, "⟨{count} tabs⟩");
                }
                _ if is_combining_mark(one) => {
                    let marks = marks(&chars[at..]);
                    self.marks(&mut shown, &chars[..at], marks);
                    at += marks.len();
                    continue;
                }
                _ => {
                    if !word.covers(at) {
                        word = Word::at(&chars, at);
                    }
                    match look(one, &word) {
                        Look::Plain => shown.push(one),
                        Look::Named => {
                            self.oddities.insert(Oddity::Lookalike);
                            shown.push(one);
                            name(&mut shown, one);
                        }
                        Look::Hidden => {
                            self.hidden(&mut shown, one, count);
                            at += count;
                            continue;
                        }
                    }
                    at += 1;
                    continue;
                }
            }
            at += count;
        }
        shown
    }

    fn spaces(&mut self, shown: &mut String, count: usize, is_first: bool, is_last: bool) {
        let most = if is_first { INDENT_MAX } else { SPACES_MAX };
        if count <= most && !is_last {
            shown.extend(std::iter::repeat_n(' ', count));
            return;
        }
        if count > most {
            self.oddities.insert(Oddity::Blanks);
        }
        let word = if count == 1 { "space" } else { "spaces" };
        let _ = write!(shown, "⟨{count} {word}⟩");
    }

    /// Marks belong to the letter before them. Where they have none, or are too many, they are named.
    fn marks(&mut self, shown: &mut String, before: &[char], marks: &[char]) {
        let has_letter = before.last().is_some_and(|it| takes_marks(*it));
        if has_letter && marks.len() <= MARKS_MAX && marks.iter().all(|it| takes_marks(*it)) {
            shown.extend(marks);
            return;
        }
        let mut at = 0;
        while at < marks.len() {
            let count = marks[at..].iter().take_while(|it| **it == marks[at]).count();
            self.hidden(shown, marks[at], count);
            at += count;
        }
    }

    fn hidden(&mut self, shown: &mut String, one: char, count: usize) {
        if !is_mark_of_ours(one) {
            self.oddities.insert(Oddity::Hidden);
        }
        if count > HIDDEN_MAX {
            let _ = write!(shown, "⟨{count} × U+{:04X}⟩", u32::from(one));
        } else {
            (0..count).for_each(|_| name(shown, one));
        }
    }
}

/// A text for people that is no command: letters and signs of every script stand as they are, and only what cannot be seen is
/// named. Its line breaks are kept.
pub(super) fn readable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut marks, mut before) = (0, ' ');
    for one in text.chars() {
        marks = if is_combining_mark(one) { marks + 1 } else { 0 };
        // Beside a sign it says that the sign is an emoji; elsewhere it would only hide.
        let is_emoji_style =
            one == '\u{fe0f}' && !before.is_ascii_alphabetic() && !before.is_whitespace();
        let is_hidden = (is_invisible(one) && one != '\n' && !is_emoji_style)
            || (marks > MARKS_MAX && !takes_marks(one))
            || matches!(one, '⟨' | '⟩');
        match one {
            '\t' => shown.push(' '),
            _ if is_hidden => name(&mut shown, one),
            _ => shown.push(one),
        }
        before = one;
    }
    shown
}

fn name(shown: &mut String, one: char) {
    let _ = write!(shown, "⟨U+{:04X}⟩", u32::from(one));
}

fn marks(chars: &[char]) -> &[char] {
    let count = chars.iter().take_while(|it| is_combining_mark(**it)).count();
    &chars[..count]
}

/// Scripts whose words are written with marks: Devanagari to Tibetan, Myanmar, Khmer.
fn takes_marks(it: char) -> bool {
    matches!(it, '\u{900}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17d3}')
        && !is_invisible(it)
}

/// What we name things with. In a text it is named itself, so that no text can pretend to be a name.
fn is_mark_of_ours(it: char) -> bool {
    matches!(it, '⟨' | '⟩' | TAB | BREAK | super::FIELD)
}

/// The run of letters, digits and dashes around a place, and whether it mixes alphabets.
#[derive(Debug, Default)]
struct Word {
    start: usize,
    end: usize,
    has_latin: bool,
    /// Every letter of it looks like a Latin one.
    is_disguised: bool,
}

impl Word {
    fn at(chars: &[char], at: usize) -> Word {
        let len = chars[at..].iter().take_while(|it| it.is_alphanumeric()).count();
        let letters = || chars[at..at + len].iter().filter(|it| it.is_alphabetic());
        Word {
            start: at,
            end: at + len,
            has_latin: letters().any(|it| is_latin(*it)),
            is_disguised: letters().next().is_some()
                && letters().all(|it| LATIN_TWINS.contains(*it)),
        }
    }

    fn covers(&self, at: usize) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// Letters of other alphabets that look like Latin ones.
const LATIN_TWINS: &str = "асеорхуіјѕһԁԛԝӏґАВЕЅІЈКМНОРСТУХԌԚԜορνυικηαγτΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսոհցզԼՕՍ";
/// Signs and strokes of East Asian scripts that look like ASCII where they stand among it.
const STROKES: &str = "ノ丿丶丨丄一二ニ三ミー〇ロ口ㅡㅣㅇハ八エ工卜へヘ";

fn look(it: char, word: &Word) -> Look {
    if it.is_ascii_graphic() {
        return Look::Plain;
    }
    // The standard library knows what is not assigned, and what grows onto the character before.
    let is_odd = it.escape_debug().count() > 1;
    if is_odd || is_mark_of_ours(it) || is_invisible(it) || is_right_to_left(it) {
        return Look::Hidden;
    }
    if it.is_alphanumeric() {
        let is_itself = std::iter::once(it).nfkc().eq(std::iter::once(it));
        let is_mixed = word.has_latin && (is_other_alphabet(it) || STROKES.contains(it));
        let is_known = it.is_alphabetic() && is_known_script(it);
        return match is_itself && is_known && !is_mixed && !word.is_disguised {
            true => Look::Plain,
            // A letter of a script that few can read looks like something they know.
            false => Look::Named,
        };
    }
    if PLAIN_SIGNS.contains(it) || is_emoji(it) {
        Look::Plain
    } else if is_sign(it) {
        Look::Named
    } else {
        Look::Hidden
    }
}

fn is_latin(it: char) -> bool {
    it.is_ascii_alphabetic() || matches!(it, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

/// Alphabets with letters that look like Latin ones.
fn is_other_alphabet(it: char) -> bool {
    matches!(it, '\u{370}'..='\u{58f}' | '\u{10a0}'..='\u{10ff}' | '\u{1f00}'..='\u{1fff}')
}

fn is_known_script(it: char) -> bool {
    let is_odd_latin =
        matches!(it, 'ı' | 'ĸ' | 'ſ' | 'ƽ' | '\u{1c0}'..='\u{1c3}' | 'ȷ' | '\u{234}'..='\u{24f}');
    is_latin(it) && !is_odd_latin
        || matches!(it,
            '\u{370}'..='\u{52f}' | '\u{531}'..='\u{587}' | '\u{10d0}'..='\u{10ff}' | '\u{900}'..='\u{fff}'
            | '\u{1000}'..='\u{109f}' | '\u{1200}'..='\u{137f}' | '\u{1780}'..='\u{17b3}' | '\u{1f00}'..='\u{1fff}'
            | '\u{3041}'..='\u{30ff}' | '\u{3105}'..='\u{312f}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{323af}')
}

fn is_right_to_left(it: char) -> bool {
    matches!(it, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Signs that people write and that look like nothing in ASCII.
const PLAIN_SIGNS: &str = "§©«®°±¶»¿÷¢£¥€—•→←↑↓⇒≈≠≤≥✅✓✔✗✘✨❌⚠⭐⚡❤、「」";

fn is_emoji(it: char) -> bool {
    matches!(it, '\u{1f300}'..='\u{1f64f}' | '\u{1f680}'..='\u{1f6ff}' | '\u{1f900}'..='\u{1f9ff}'
        | '\u{1fa70}'..='\u{1faff}')
}

/// Signs that can be seen and mistaken for those of ASCII: quotation marks, dashes, slashes.
fn is_sign(it: char) -> bool {
    matches!(it, '\u{a1}'..='\u{ff}' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20c0}'
        | '\u{2100}'..='\u{27ff}' | '\u{2900}'..='\u{2bff}' | '\u{3001}'..='\u{303f}' | '\u{ff01}'..='\u{ff65}')
        && !is_combining_mark(it)
}

/// Whether a character shows nothing, or changes how others are shown.
pub fn is_invisible(it: char) -> bool {
    it.is_control()
        || matches!(it,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> String {
        Namer::default().text(text)
    }

    #[test]
    fn what_cannot_be_seen_is_named() {
        for (text, shown) in [
            ("rm -r build", "rm -r build"),
            ("a\u{202e}b\u{200b}c", "a⟨U+202E⟩b⟨U+200B⟩c"),
            ("\u{1b}[2K\r\0", "⟨U+001B⟩[2K⟨U+000D⟩⟨U+0000⟩"),
            ("x\u{a0}y\u{3000}z\u{2800}", "x⟨U+00A0⟩y⟨U+3000⟩z⟨U+2800⟩"),
            ("\u{200b}\u{200b}\u{200b}\u{200b}\u{200b}", "⟨5 × U+200B⟩"),
            ("e\u{301} \u{e9}", "e⟨U+0301⟩ é"),
            ("a\u{301}\u{301}\u{301}\u{301}\u{301}\u{302}", "a⟨5 × U+0301⟩⟨U+0302⟩"),
            ("\u{e0041}\u{fe0f}", "⟨U+E0041⟩⟨U+FE0F⟩"),
            ("שלום/x", "⟨U+05E9⟩⟨U+05DC⟩⟨U+05D5⟩⟨U+05DD⟩/x"),
            ("\u{ffff}\u{e000}\u{10ffff}\u{378}", "⟨U+FFFF⟩⟨U+E000⟩⟨U+10FFFF⟩⟨U+0378⟩"),
        ] {
            assert_eq!(named(text), shown, "{text:?}");
        }
    }

    #[test]
    fn prose_keeps_its_letters_and_loses_what_hides_in_it() {
        for (text, shown) in [
            ("don’t — “so” ⚠\u{fe0f} привет שלום", "don’t — “so” ⚠\u{fe0f} привет שלום"),
            ("a\u{202e}b\u{200b}\u{fe0f}c", "a⟨U+202E⟩b⟨U+200B⟩\u{fe0f}c"),
            ("x\u{fe0f}\r\n\u{1b}[2K", "x⟨U+FE0F⟩⟨U+000D⟩\n⟨U+001B⟩[2K"),
            ("⟨U+0041⟩\ta", "⟨U+27E8⟩U+0041⟨U+27E9⟩ a"),
            ("e\u{301}\u{301}\u{301}\u{301}", "e\u{301}\u{301}\u{301}⟨U+0301⟩"),
        ] {
            assert_eq!(readable(text), shown, "{text:?}");
        }
    }

    #[test]
    fn blanks_that_push_something_out_of_sight_are_counted() {
        let many = " ".repeat(37);
        for (text, shown) in [
            (format!("ls{many}; rm"), "ls⟨37 spaces⟩; rm".to_owned()),
            (format!("ls{}", "\t".repeat(12)), "ls⟨12 tabs⟩".to_owned()),
            ("\tindented\n    too".to_owned(), "⇥indented⏎\n    too".to_owned()),
            ("a \\ ".to_owned(), "a \\⟨1 space⟩".to_owned()),
            (format!("ls{}rm", "\n".repeat(50)), "ls⟨49 line breaks⟩⏎\nrm".to_owned()),
            ("a\n\nb\n".to_owned(), "a⏎\n⏎\nb⏎\n".to_owned()),
            (format!("{many}x"), "⟨37 spaces⟩x".to_owned()),
        ] {
            assert_eq!(named(&text), shown, "{text:?}");
        }
    }

    #[test]
    fn letters_that_look_like_others_are_named_beside_them() {
        for (text, shown) in [
            ("p\u{430}ypal.com", "pа⟨U+0430⟩ypal.com"),
            ("сор", "с⟨U+0441⟩о⟨U+043E⟩р⟨U+0440⟩"),
            ("привет, мир", "привет, мир"),
            ("ｒｍ；", "ｒ⟨U+FF52⟩ｍ⟨U+FF4D⟩；⟨U+FF1B⟩"),
            ("𝐫𝐦", "𝐫⟨U+1D42B⟩𝐦⟨U+1D426⟩"),
            ("gıthub.com∕x", "gı⟨U+0131⟩thub.com∕⟨U+2215⟩x"),
            ("github.comノx", "github.comノ⟨U+30CE⟩x"),
            ("設定ファイル ノート", "設定ファイル ノート"),
            ("für größere Übung, ça va", "für größere Übung, ça va"),
            ("don’t", "don’⟨U+2019⟩t"),
            ("done ✅ 🎉 — ok → go", "done ✅ 🎉 — ok → go"),
            ("⟨U+202E⟩", "⟨U+27E8⟩U+202E⟨U+27E9⟩"),
            ("a⏎b⇥c▸", "a⟨U+23CE⟩b⟨U+21E5⟩c⟨U+25B8⟩"),
            ("हिन्दी ไทย नमस्ते", "हिन्दी ไทย नमस्ते"),
        ] {
            assert_eq!(named(text), shown, "{text:?}");
        }
    }
}
