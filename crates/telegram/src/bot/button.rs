//! What a button carries: at most 64 bytes, so a letter and the key of the message it is about, hashed when it is long.
//! What a press does is in [`crate::buttons`].

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tinyclaw_domain::{Key, PermissionAnswer};

/// A longer key is hashed, so that it fits beside the rest.
const KEY_BYTES_MAX: usize = 40;
/// So much of a question's digest is on its buttons.
pub(crate) const DIGEST_CHARS: usize = 16;

/// What a button says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Button {
    /// Stop the turn.
    Stop { key: String },
    /// Words for the turn that runs: the next ones of whoever pressed, or the message itself, which waits.
    Steer { key: String },
    /// Answer the permission question whose digest begins so.
    Permission { answer: PermissionAnswer, question: String, key: String },
    /// Choose something in the question of this place, counted from 0.
    Choose { at: usize, pick: Pick, question: String, key: String },
    /// Ask again with the new text.
    Again { key: String },
    /// The button of the answer to this message, counted from 0.
    Offer { at: usize, key: String },
}

/// What is chosen in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The option of this place, counted from 0.
    Option(usize),
    /// What is chosen is all.
    Done,
    /// Something else, in words of one's own.
    Other,
}

impl Pick {
    fn letter(self) -> String {
        match self {
            Pick::Option(at) => at.to_string(),
            Pick::Done => "d".to_owned(),
            Pick::Other => "o".to_owned(),
        }
    }

    fn read(letter: &str) -> Option<Pick> {
        match letter {
            "d" => Some(Pick::Done),
            "o" => Some(Pick::Other),
            digit => digit.parse().ok().map(Pick::Option),
        }
    }
}

impl Button {
    pub(crate) fn stop(key: &Key) -> Button {
        Button::Stop { key: short(key) }
    }

    pub(crate) fn steer(key: &Key) -> Button {
        Button::Steer { key: short(key) }
    }

    /// `digest` is that of the question as it is shown beside the button.
    pub(crate) fn permission(answer: PermissionAnswer, digest: &str, key: &Key) -> Button {
        let question = digest.chars().take(DIGEST_CHARS).collect();
        Button::Permission { answer, question, key: short(key) }
    }

    /// `digest` is that of the questions as they are shown beside the button.
    pub(crate) fn choose(at: usize, pick: Pick, digest: &str, key: &Key) -> Button {
        let question = digest.chars().take(DIGEST_CHARS).collect();
        Button::Choose { at, pick, question, key: short(key) }
    }

    pub(crate) fn again(key: &Key) -> Button {
        Button::Again { key: short(key) }
    }

    /// None when the key is too long to be found again by what fits on a button.
    pub(crate) fn offer(at: usize, key: &Key) -> Option<Button> {
        let key = key.as_str().to_owned();
        (key.len() <= KEY_BYTES_MAX).then_some(Button::Offer { at, key })
    }

    /// As Telegram takes it, with these words on it.
    pub(crate) fn labelled(&self, label: &str, style: Option<&str>) -> Value {
        let mut it = json!({ "text": label, "callback_data": self.data() });
        if let (Some(style), Some(fields)) = (style, it.as_object_mut()) {
            fields.insert("style".to_owned(), style.into());
        }
        it
    }

    /// As `callback_data`.
    pub(crate) fn data(&self) -> String {
        match self {
            Button::Stop { key } => format!("s:{key}"),
            Button::Steer { key } => format!("t:{key}"),
            Button::Permission { answer, question, key } => {
                let letter = match answer {
                    PermissionAnswer::Allow => 'a',
                    PermissionAnswer::Always => 'w',
                    PermissionAnswer::Deny => 'd',
                };
                format!("{letter}:{question}:{key}")
            }
            Button::Choose { at, pick, question, key } => {
                format!("c{at}{}:{question}:{key}", pick.letter())
            }
            Button::Again { key } => format!("n:{key}"),
            Button::Offer { at, key } => format!("o:{at}:{key}"),
        }
    }

    pub(crate) fn read(data: &str) -> Option<Button> {
        let (letter, rest) = data.split_once(':')?;
        let permission = |answer| {
            let (question, key) = rest.split_once(':')?;
            Some(Button::Permission { answer, question: question.to_owned(), key: key.to_owned() })
        };
        match letter {
            "s" => Some(Button::Stop { key: rest.to_owned() }),
            "t" => Some(Button::Steer { key: rest.to_owned() }),
            "n" => Some(Button::Again { key: rest.to_owned() }),
            "o" => {
                let (at, key) = rest.split_once(':')?;
                Some(Button::Offer { at: at.parse().ok()?, key: key.to_owned() })
            }
            "a" => permission(PermissionAnswer::Allow),
            "w" => permission(PermissionAnswer::Always),
            "d" => permission(PermissionAnswer::Deny),
            _ => {
                let (at, pick) = letter.strip_prefix('c')?.split_at_checked(1)?;
                let (question, key) = rest.split_once(':')?;
                let (at, pick) = (at.parse().ok()?, Pick::read(pick)?);
                Some(Button::Choose {
                    at,
                    pick,
                    question: question.to_owned(),
                    key: key.to_owned(),
                })
            }
        }
    }
}

/// A key as it stands on a button.
pub(crate) fn short(key: &Key) -> String {
    let text = key.as_str();
    if text.len() <= KEY_BYTES_MAX {
        text.to_owned()
    } else {
        format!("#{}", fingerprint(text, 12))
    }
}

fn fingerprint(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_fits_into_64_bytes_and_says_what_it_said() {
        for key in ["tg-812345678".to_owned(), format!("x-{}", "a".repeat(90))] {
            let key: Key = key.parse().unwrap();
            for button in [
                Button::stop(&key),
                Button::steer(&key),
                Button::again(&key),
                Button::offer(3, &"tg-812345678".parse().unwrap()).unwrap(),
                Button::permission(PermissionAnswer::Always, &"0123456789abcdef".repeat(2), &key),
                Button::choose(3, Pick::Option(7), &"0123456789abcdef".repeat(2), &key),
                Button::choose(0, Pick::Done, &"0123456789abcdef".repeat(2), &key),
                Button::choose(1, Pick::Other, &"0123456789abcdef".repeat(2), &key),
            ] {
                let data = button.data();
                assert!(data.len() <= 64, "{data}");
                assert_eq!(Button::read(&data), Some(button));
            }
        }
        assert_eq!(Button::read("x"), None);
    }
}
