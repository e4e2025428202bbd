//! Questions that Claude puts to a person, with options to choose from: the tool `AskUserQuestion`.
//!
//! An answer allows nothing; it is words for Claude. So letters of every script stand as they are here, and only what cannot
//! be seen is named. A list that is longer than anybody reads, or of another shape, is refused as a whole, in words that
//! Claude can act on: half of a question is another question.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::named::readable;

/// The tool by which Claude asks.
pub const ASKS_PERSON: &str = "AskUserQuestion";

/// So many questions come at once at most,
const QUESTIONS_MAX: usize = 4;
/// each with so many options.
const OPTIONS_MAX: usize = 8;
const HEADER_CHARS_MAX: usize = 40;
const QUESTION_CHARS_MAX: usize = 500;
const LABEL_CHARS_MAX: usize = 80;
const DESCRIPTION_CHARS_MAX: usize = 240;
/// An answer in a person's own words is no longer than this.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;

/// One question, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// A word or two about what it is about; may be empty.
    pub header: String,
    /// The question.
    pub question: String,
    /// What can be chosen.
    pub options: Vec<Choosable>,
    /// Whether more than one option may be chosen.
    pub is_many: bool,
    /// The question as it came, by which Claude knows the answer.
    asked: String,
}

/// One option, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choosable {
    /// What is chosen.
    pub label: String,
    /// What that means; may be empty.
    pub description: String,
    /// The label as it came.
    value: String,
}

/// The answer to one question: options by their place, counted from 0, or a person's own words, or both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chosen {
    /// The options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<usize>,
    /// Own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Why something is no list of questions, or no answer to one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There are none, or too many.
    #[error("there are {0} questions, and 1 to {QUESTIONS_MAX} can be asked at once")]
    Questions(usize),
    /// A question has none, or too many.
    #[error("a question has {0} options, and 1 to {OPTIONS_MAX} can be shown")]
    Options(usize),
    /// Something is not there, or is too long to be read.
    #[error("{what} has {chars} characters, and 1 to {most} can be shown")]
    Length {
        /// What.
        what: &'static str,
        /// How many it has, as it would be shown.
        chars: usize,
        /// How many it may have.
        most: usize,
    },
    /// Two are the same, so that nobody could tell which was answered.
    #[error("two questions or options are the same")]
    Twice,
    /// Not as many answers as questions.
    #[error("there are {questions} questions, and {answers} were answered")]
    Answers {
        /// How many were asked.
        questions: usize,
        /// How many were answered.
        answers: usize,
    },
    /// Nothing was chosen, or what is not there, or more than may be.
    #[error("“{0}” wants one of its options, or other words")]
    Answer(String),
}

impl Chosen {
    /// One option.
    pub fn option(at: usize) -> Chosen {
        Chosen { options: vec![at], text: None }
    }

    /// Own words.
    pub fn words(text: impl Into<String>) -> Chosen {
        Chosen { options: Vec::new(), text: Some(text.into()) }
    }
}

/// The questions of the tool's input, or why they cannot be asked.
pub fn choices(input: &Value) -> Result<Vec<Choice>, ChoiceError> {
    let asked = input["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if asked.is_empty() || asked.len() > QUESTIONS_MAX {
        return Err(ChoiceError::Questions(asked.len()));
    }
    let choices = asked.iter().map(choice).collect::<Result<Vec<Choice>, ChoiceError>>()?;
    all_differ(choices.iter().map(|it| it.asked.as_str()))?;
    Ok(choices)
}

fn choice(asked: &Value) -> Result<Choice, ChoiceError> {
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    let options = asked["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    if options.is_empty() || options.len() > OPTIONS_MAX {
        return Err(ChoiceError::Options(options.len()));
    }
    let options = options.iter().map(|it| {
        let value = text(it, "label");
        let description = text(it, "description");
        Ok(Choosable {
            label: shown("the label of an option", &value, 1, LABEL_CHARS_MAX)?,
            description: shown(
                "the description of an option",
                &description,
                0,
                DESCRIPTION_CHARS_MAX,
            )?,
            value,
        })
    });
    let options = options.collect::<Result<Vec<Choosable>, ChoiceError>>()?;
    all_differ(options.iter().map(|it| it.label.as_str()))?;
    let question = text(asked, "question");
    Ok(Choice {
        header: shown("the header of a question", &text(asked, "header"), 0, HEADER_CHARS_MAX)?,
        question: shown("a question", &question, 1, QUESTION_CHARS_MAX)?,
        options,
        is_many: asked["multiSelect"] == true,
        asked: question,
    })
}

/// One line of it, if a person would read that much.
fn shown(what: &'static str, text: &str, least: usize, most: usize) -> Result<String, ChoiceError> {
    let shown = readable(text).split_whitespace().collect::<Vec<&str>>().join(" ");
    let chars = shown.chars().count();
    if chars < least || chars > most {
        return Err(ChoiceError::Length { what, chars, most });
    }
    Ok(shown)
}

fn all_differ<'a>(texts: impl Iterator<Item = &'a str>) -> Result<(), ChoiceError> {
    let mut seen = HashSet::new();
    let mut texts = texts;
    if texts.all(|it| seen.insert(it)) { Ok(()) } else { Err(ChoiceError::Twice) }
}

/// The answers as Claude takes them: by each question as it asked it, labels as it wrote them.
pub fn answers(choices: &[Choice], chosen: &[Chosen]) -> Result<Map<String, Value>, ChoiceError> {
    if choices.len() != chosen.len() {
        return Err(ChoiceError::Answers { questions: choices.len(), answers: chosen.len() });
    }
    choices
        .iter()
        .zip(chosen)
        .map(|(it, chosen)| Ok((it.asked.clone(), it.answer(chosen)?.into())))
        .collect()
}

impl Choice {
    /// What a person chose, in the words that Claude is given.
    fn answer(&self, chosen: &Chosen) -> Result<String, ChoiceError> {
        let wrong = || ChoiceError::Answer(self.question.clone());
        let text = chosen.text.as_deref().map(str::trim).filter(|it| !it.is_empty());
        let count = chosen.options.len() + usize::from(text.is_some());
        let is_long = text.is_some_and(|it| it.len() > ANSWER_BYTES_MAX);
        if count == 0 || (count > 1 && !self.is_many) || is_long {
            return Err(wrong());
        }
        // In the order in which they stand there, each once.
        let mut places = chosen.options.clone();
        places.sort_unstable();
        places.dedup();
        let labels = places.iter().map(|it| Some(self.options.get(*it)?.value.as_str()));
        let labels = labels.collect::<Option<Vec<&str>>>().ok_or_else(wrong)?;
        Ok(labels.into_iter().chain(text).collect::<Vec<&str>>().join(", "))
    }

    /// What a person chose, as it is shown to people.
    pub fn words(&self, chosen: &Chosen) -> String {
        let labels =
            chosen.options.iter().filter_map(|it| Some(self.options.get(*it)?.label.clone()));
        labels.chain(chosen.text.as_deref().map(readable)).collect::<Vec<String>>().join(", ")
    }

    /// The question and what can be chosen, counted from 1, a line each.
    pub(super) fn lines(&self) -> String {
        let many = if self.is_many { " (more than one can be chosen)" } else { "" };
        let mut lines = format!("{}{many}\n", self.question);
        for (at, it) in self.options.iter().enumerate() {
            let about = if it.description.is_empty() {
                String::new()
            } else {
                format!(": {}", it.description)
            };
            lines.push_str(&format!("{}. {}{about}\n", at + 1, it.label));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked() -> Value {
        json!({ "questions": [
            { "question": "Which colour?", "header": "Colour", "multiSelect": false, "options": [
                { "label": "Red", "description": "warm" }, { "label": "Green" }, { "label": "Blau für alle" } ] },
            { "question": "Which fruits?", "header": "Fruit", "multiSelect": true, "options": [
                { "label": "Apple" }, { "label": "Pear" } ] } ] })
    }

    #[test]
    fn answers_are_in_claudes_own_words() {
        let choices = choices(&asked()).unwrap();
        let given = [
            Chosen::option(1),
            Chosen { options: vec![1, 0, 1], text: Some(" and figs\n".to_owned()) },
        ];
        assert_eq!(
            Value::from(answers(&choices, &given).unwrap()),
            json!({ "Which colour?": "Green", "Which fruits?": "Apple, Pear, and figs" })
        );
        let own = [Chosen::words("none"), Chosen::words("קיווי")];
        assert_eq!(answers(&choices, &own).unwrap()["Which fruits?"], "קיווי");
        assert_eq!(choices[0].lines(), "Which colour?\n1. Red: warm\n2. Green\n3. Blau für alle\n");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let choices = choices(&asked()).unwrap();
        let fine = Chosen::option(0);
        let both = Chosen { options: vec![0, 1], text: None };
        let long = Chosen::words("x".repeat(ANSWER_BYTES_MAX + 1));
        for bad in [Chosen::default(), Chosen::option(3), both, Chosen::words(" \n"), long] {
            assert!(answers(&choices, &[bad.clone(), fine.clone()]).is_err(), "{bad:?}");
        }
        assert!(answers(&choices, std::slice::from_ref(&fine)).is_err());
        assert!(answers(&choices, &[fine.clone(), fine.clone(), fine]).is_err());
    }

    #[test]
    fn what_nobody_could_read_or_tell_apart_is_not_asked() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut input = asked();
            change(&mut input);
            choices(&input).map(|_| ()).map_err(|it| it.to_string())
        };
        let option = |label: String| json!({ "label": label });
        for (change, says) in [
            (&(|it: &mut Value| *it = json!({})) as &dyn Fn(&mut Value), "there are 0 questions"),
            (
                &|it| it["questions"][0]["question"] = json!("a".repeat(501)),
                "a question has 501 characters",
            ),
            (&|it| it["questions"][0]["question"] = json!("\n "), "a question has 0 characters"),
            (&|it| it["questions"][0]["options"] = json!([]), "a question has 0 options"),
            (
                &|it| {
                    it["questions"][0]["options"] =
                        (0..9).map(|it| option(it.to_string())).collect()
                },
                "9 options",
            ),
            (&|it| it["questions"][1]["options"][1] = option("Apple".to_owned()), "are the same"),
            (&|it| it["questions"][1]["question"] = json!("Which colour?"), "are the same"),
            (
                &|it| it["questions"][0]["options"][0] = option("\u{200b}".repeat(40)),
                "the label of an option has",
            ),
            (
                &|it| it["questions"][0]["options"][0]["description"] = json!("d".repeat(300)),
                "300 characters",
            ),
        ] {
            let refused = with(change).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
