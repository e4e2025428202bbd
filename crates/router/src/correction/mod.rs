//! What a person's next message says about an answer: that it was wrong, that the same is asked again, or that a stronger
//! model is wanted for it. It reads how a short message begins and nothing else, judges no answer by itself, and would rather
//! miss a correction than take an ordinary "no, thanks" for one.

mod words;

use std::sync::OnceLock;

use tinyclaw_domain::{Correction, Direction, HistoryLine, Key, Model, Source};

use self::words::{AGAIN, BACK, CONTRAST, KIND, NO, OPENERS, PLEASE, STRICTLY_WRONG, WRONG};
use crate::fold::{Folder, columns_of, is_unspaced, is_word};
use crate::money::Prices;

/// A longer message is a new order, whatever it begins with.
const COLUMNS_MAX: usize = 160;
/// The same words later than this ask how things are now.
const SAME_WORDS_MS: u64 = 10 * 60 * 1000;
/// Fewer words than this are said twice without asking again: "yes", "go on".
const SAME_WORDS_LEAST: usize = 3;
/// So much of a new message stands in the earlier one when it asks for the same.
const SHARED_LEAST: f64 = 0.5;
/// So many letters of what is replied to tell which answer it is.
const QUOTED_LETTERS: usize = 40;
/// Telegram says only in which second something was said.
const SLACK_MS: u64 = 1000;
/// How a question ends.
const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];

/// What a person said after an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spoken<'a> {
    /// Without hints.
    pub text: &'a str,
    /// The model that it asks for.
    pub hint: Option<Model>,
    /// The message whose question it asks again, when it says so.
    pub asks_again: Option<&'a Key>,
    /// The text of the answer that it replies to.
    pub replies_to: Option<&'a str>,
    /// When it was said, in ms since 1970.
    pub at: u64,
}

/// What is said about which answer. `recent` are the last lines of the thread, oldest first, without the message itself.
/// Only Claude's answers to people count, and only those that were there when it was said.
pub fn correction<'a>(
    spoken: &Spoken<'_>,
    recent: impl DoubleEndedIterator<Item = &'a HistoryLine> + Clone,
    prices: &Prices,
) -> Option<(&'a HistoryLine, Correction)> {
    let asked_by_person = |key: &Key| {
        let mut asked = recent.clone().rev().filter(|it| it.direction == Direction::In);
        asked.find(|it| it.key == *key && matches!(it.source, Source::User | Source::Cli))
    };
    let mut answers = recent.clone().rev().filter(|it| {
        it.direction == Direction::Out
            && it.model.is_some()
            && it.timestamp < spoken.at.saturating_add(SLACK_MS)
            && asked_by_person(&it.key).is_some()
    });
    let phrases = Phrases::get();
    if let Some(key) = spoken.asks_again {
        return answers.find(|it| it.key == *key).map(|it| (it, Correction::Again));
    }
    let answer = match spoken.replies_to.map(|it| phrases.letters(it)).filter(|it| !it.is_empty()) {
        Some(quoted) => answers.find(|it| phrases.letters_of(it).contains(&quoted))?,
        None => answers.next()?,
    };
    let text = phrases.folder.phrase(spoken.text);
    let asked = asked_by_person(&answer.key);
    let asked = asked.map(|it| phrases.folder.phrase(&it.message)).unwrap_or_default();
    let asks = answer.message.trim_end().ends_with(QUESTION_MARKS);
    let said = match columns_of(spoken.text) > COLUMNS_MAX {
        true => None,
        false => phrases.said(&text, asks),
    };
    if spoken.hint.is_some_and(|it| answer.model.is_some_and(|by| prices.is_stronger(it, by))) {
        let is_same = text.is_empty()
            || said.is_some()
            || phrases.begins_back(&text)
            || shared(&text, &asked) >= SHARED_LEAST;
        return is_same.then_some((answer, Correction::Stronger));
    }
    let is_soon = spoken.at < answer.timestamp.saturating_add(SAME_WORDS_MS);
    if is_soon && said.is_none() && bare(&text) == bare(&asked) && says_enough(&text) {
        return Some((answer, Correction::Again));
    }
    said.map(|it| (answer, it))
}

/// The lists, folded as messages are.
struct Phrases {
    folder: Folder,
    openers: Vec<String>,
    no: Vec<String>,
    contrast: Vec<String>,
    kind: Vec<String>,
    wrong: Vec<String>,
    strictly_wrong: Vec<String>,
    again: Vec<String>,
    please: Vec<String>,
    back: Vec<String>,
}

impl Phrases {
    fn get() -> &'static Phrases {
        static READ: OnceLock<Phrases> = OnceLock::new();
        READ.get_or_init(|| {
            let folder = Folder::new();
            let list = |of: &[&str]| -> Vec<String> {
                let phrases = of.iter().flat_map(|it| it.split(" | "));
                phrases.map(|it| folder.phrase(it)).collect()
            };
            let lists =
                [OPENERS, NO, CONTRAST, KIND, WRONG, STRICTLY_WRONG, AGAIN, PLEASE, BACK].map(list);
            let [openers, no, contrast, kind, wrong, strictly_wrong, again, please, back] = lists;
            Phrases {
                folder,
                openers,
                no,
                contrast,
                kind,
                wrong,
                strictly_wrong,
                again,
                please,
                back,
            }
        })
    }

    /// What a folded message says by how it begins. `asks` says that the answer ends in a question, to which "no" is an
    /// answer.
    fn said(&self, text: &str, asks: bool) -> Option<Correction> {
        let mut text = text;
        while let Some(rest) = begins(text, &self.openers) {
            text = beyond(rest);
        }
        if self.is_wrong(text, asks) {
            return Some(Correction::Wrong);
        }
        if self.is_again(text) {
            return Some(Correction::Again);
        }
        let rest = begins(text, &self.no)?;
        let goes_on = beyond(rest);
        let ends = rest.is_empty() || rest[..rest.len() - goes_on.len()].contains(is_end);
        let is_no = ends || begins(goes_on, &self.contrast).is_some();
        if !is_no || begins(goes_on, &self.kind).is_some() {
            return None;
        }
        if self.is_again(goes_on) {
            return Some(Correction::Again);
        }
        (!asks || self.is_wrong(goes_on, asks)).then_some(Correction::Wrong)
    }

    fn is_wrong(&self, text: &str, asks: bool) -> bool {
        let strictly = begins(text, &self.strictly_wrong);
        text.starts_with('\u{1f44e}')
            || begins(text, &self.wrong).is_some()
            || !asks && strictly.is_some_and(|it| it.is_empty() || it.starts_with(is_end))
    }

    fn is_again(&self, text: &str) -> bool {
        begins(text, &self.again).is_some_and(|rest| {
            let goes_on = beyond(rest);
            goes_on.is_empty()
                || rest.starts_with(is_end)
                || begins(goes_on, &self.please).is_some()
        })
    }

    fn begins_back(&self, text: &str) -> bool {
        begins(text, &self.back).is_some()
    }

    /// The first letters and digits of a text: what markup and blanks leave alone.
    fn letters(&self, text: &str) -> String {
        let folded = self.folder.phrase(text);
        folded.chars().filter(|it| it.is_alphanumeric()).take(QUOTED_LETTERS).collect()
    }

    fn letters_of(&self, line: &HistoryLine) -> String {
        self.folder.phrase(&line.message).chars().filter(|it| it.is_alphanumeric()).collect()
    }
}

/// What is left of a text behind the longest of these phrases that it begins with.
fn begins<'t>(text: &'t str, phrases: &[String]) -> Option<&'t str> {
    let rest = |phrase: &String| {
        let rest = text.strip_prefix(phrase.as_str())?;
        let is_inside = phrase.chars().next_back().is_some_and(is_word)
            && rest.chars().next().is_some_and(is_word);
        (!is_inside).then_some(rest)
    };
    phrases.iter().filter_map(rest).min_by_key(|it| it.len())
}

/// A text without the blanks and signs that it begins with.
fn beyond(text: &str) -> &str {
    text.trim_start_matches(|it: char| it.is_whitespace() || is_end(it))
}

/// Whether what was said ends here.
fn is_end(it: char) -> bool {
    it == '\n' || it.is_ascii_punctuation() && it != '\'' && it != '/' || "…।".contains(it)
}

/// A text without what it ends with.
fn bare(text: &str) -> &str {
    text.trim_end_matches(|it: char| it.is_whitespace() || is_end(it))
}

fn says_enough(text: &str) -> bool {
    let words = text.split_whitespace().filter(|it| it.chars().any(char::is_alphanumeric)).count();
    words >= SAME_WORDS_LEAST || text.chars().filter(|it| is_unspaced(*it)).count() >= 6
}

/// How many of the words of a text stand in another; pairs of letters where words are not spaced.
fn shared(text: &str, other: &str) -> f64 {
    let words: Vec<&str> = text
        .split(|it: char| !it.is_alphanumeric())
        .filter(|it| it.chars().count() > 3 || it.chars().any(is_unspaced))
        .collect();
    let pairs = |word: &str| {
        let letters: Vec<char> = word.chars().collect();
        letters.windows(2).map(|it| it.iter().collect::<String>()).collect::<Vec<_>>()
    };
    let pieces: Vec<String> = words
        .into_iter()
        .flat_map(|it| match it.chars().any(is_unspaced) {
            true => pairs(it),
            false => vec![it.to_owned()],
        })
        .collect();
    if pieces.is_empty() {
        return 0.0;
    }
    let there = pieces.iter().filter(|it| other.contains(it.as_str())).count();
    there as f64 / pieces.len() as f64
}

#[cfg(test)]
mod tests;
