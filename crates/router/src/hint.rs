//! What a user asks for in so many words: `/opus …` or `[tier:opus]`. A hint stands at the beginning or the end of
//! what the user says; in the middle, in quotes or in code it is just text.

use std::borrow::Cow;

use tinyclaw_domain::{Model, Tier};

/// How far from the ends of a message an envelope is looked for.
const WINDOW_BYTES: usize = 64 * 1024;
/// The longest hint, with the name of a bot behind it.
const HINT_BYTES: usize = 80;

/// Takes an explicit model hint off a message: the model, and the text without the hint.
///
/// ```
/// use tinyclaw_domain::Model;
/// use tinyclaw_router::strip_hint;
///
/// assert_eq!(strip_hint("/opus why?"), (Some(Model::Opus), "why?".into()));
/// assert_eq!(strip_hint("why? [tier:haiku]"), (Some(Model::Haiku), "why?".into()));
/// assert_eq!(strip_hint("see /opus/lib"), (None, "see /opus/lib".into()));
/// ```
pub fn strip_hint(text: &str) -> (Option<Model>, Cow<'_, str>) {
    // A text that begins with pages of blanks has no hint, and is not searched for one.
    if text[..text.floor_char_boundary(WINDOW_BYTES)].trim_start().is_empty() {
        return (None, Cow::Borrowed(text));
    }
    let trimmed = text.trim();
    // An envelope in front (`[sender]:`) stays where it is.
    let begin = sender(trimmed);
    let said = trimmed[begin..].trim_start();
    let found = slash(said)
        .or_else(|| opening_tag(said))
        .map(|(model, rest)| (model, rest.trim_start()))
        .or_else(|| closing_tag(said).map(|(model, rest)| (model, rest.trim_end())));
    match found {
        None => (None, Cow::Borrowed(text)),
        Some((model, rest)) if begin == 0 => (Some(model), Cow::Borrowed(rest)),
        Some((model, rest)) => (Some(model), Cow::Owned(format!("{} {rest}", &trimmed[..begin]))),
    }
}

fn sender(text: &str) -> usize {
    let last = text.ceil_char_boundary(text.len().saturating_sub(WINDOW_BYTES));
    let at = match text[last..].rfind("[current]:") {
        Some(it) => return last + it + "[current]:".len(),
        None if text.starts_with('[') => text[..text.floor_char_boundary(80)].find("]:"),
        None => None,
    };
    at.map_or(0, |it| it + 2)
}

fn slash(text: &str) -> Option<(Model, &str)> {
    let rest = text.strip_prefix('/')?;
    let end = rest[..rest.floor_char_boundary(HINT_BYTES)]
        .find(char::is_whitespace)
        .or_else(|| (rest.len() < HINT_BYTES).then_some(rest.len()))?;
    // In a group, Telegram writes `/opus@name_of_the_bot`.
    let word = rest[..end].split('@').next()?;
    Some((word.parse().ok()?, &rest[end..]))
}

fn opening_tag(text: &str) -> Option<(Model, &str)> {
    let rest = text.strip_prefix('[')?;
    let end = rest[..rest.floor_char_boundary(HINT_BYTES)].find(']')?;
    Some((tag(&rest[..end])?, &rest[end + 1..]))
}

fn closing_tag(text: &str) -> Option<(Model, &str)> {
    let rest = text.strip_suffix(']')?;
    let last = rest.ceil_char_boundary(rest.len().saturating_sub(HINT_BYTES));
    let open = last + rest[last..].rfind('[')?;
    Some((tag(&rest[open + 1..])?, &rest[..open]))
}

fn tag(inside: &str) -> Option<Model> {
    let (key, value) = inside.split_once(':')?;
    let value = value.trim();
    if !key.trim().eq_ignore_ascii_case("tier") {
        return None;
    }
    value.parse().ok().or_else(|| value.parse::<Tier>().ok().map(Tier::model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, model: Option<Model>, rest: &str) {
        assert_eq!(strip_hint(text), (model, rest.into()));
    }

    #[test]
    fn hints_stand_at_the_ends() {
        check("/opus", Some(Model::Opus), "");
        check("/Sonnet@claw_bot  fix it", Some(Model::Sonnet), "fix it");
        check("[tier: complex] fix it", Some(Model::Opus), "fix it");
        check("[Ada]: /haiku hi", Some(Model::Haiku), "[Ada]: hi");
        check("fix it [TIER:opus]\n", Some(Model::Opus), "fix it");
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in ["/model opus", "/opusculum", "what does [tier:opus] do?", "/", "[", "]", " a "]
        {
            check(text, None, text);
        }
    }
}
