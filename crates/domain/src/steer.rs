//! Words for the turn that runs, instead of the end of the line: a message that begins with `!`. How it gets there is the
//! processor's to know.

use serde::{Deserialize, Serialize};

use crate::SessionId;

/// What is said to the turn that runs, instead of to the next: what stands behind a `!`. None when nothing of it is a word,
/// as in `!!`, and for a picture of Markdown and `!=`, which begin so by chance.
pub fn for_the_running_turn(text: &str) -> Option<&str> {
    let words = text.trim().strip_prefix('!')?.trim();
    let is_word = !words.starts_with(['!', '=', '[']) && words.contains(char::is_alphanumeric);
    is_word.then_some(words)
}

/// A message that was handed to a running turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handed {
    /// The Claude session of that turn.
    pub session_id: SessionId,
    /// The uuid it was handed over under.
    pub turn_uuid: String,
    /// Whether Claude took it. If that is not known, its transcript knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclamation_mark_before_words_is_for_the_running_turn() {
        for (text, words) in [
            ("!use the other folder", Some("use the other folder")),
            ("  ! (see above)\n", Some("(see above)")),
            ("!żółw", Some("żółw")),
            ("!/opus again", Some("/opus again")),
            ("!", None),
            ("!?", None),
            ("!!now", None),
            ("!= 3", None),
            ("![alt](picture.png)", None),
            ("no!", None),
        ] {
            assert_eq!(for_the_running_turn(text), words, "{text}");
        }
    }
}
