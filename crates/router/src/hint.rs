//! What a user asks for in so many words: `/opus …`, `[fable]`, `[tier:complex]` or `[effort:high]`. A hint stands at the beginning or the
//! end of what the user says; in the middle, in quotes or in code it is just text.

use std::borrow::Cow;

use tinyclaw_domain::{Catalogue, Effort, Model, Tier};

/// How far from the ends of a message an envelope is looked for.
const WINDOW_BYTES: usize = 64 * 1024;
/// The longest hint, with the name of a bot behind it.
const HINT_BYTES: usize = 100;

/// What a message asks for besides what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// This model,
    pub model: Option<Model>,
    /// or the one that does this tier's work.
    pub tier: Option<Tier>,
    /// And to be thought about so hard.
    pub effort: Option<Effort>,
}

impl Hints {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Hints::default()
    }

    /// Takes one more. `false`: there is one of this kind already, and a second one is text.
    fn take(&mut self, hint: Hint) -> bool {
        let is_first = match hint {
            Hint::Model(_) | Hint::Tier(_) => self.model.is_none() && self.tier.is_none(),
            Hint::Effort(_) => self.effort.is_none(),
        };
        match hint {
            _ if !is_first => {}
            Hint::Model(it) => self.model = Some(it),
            Hint::Tier(it) => self.tier = Some(it),
            Hint::Effort(it) => self.effort = Some(it),
        }
        is_first
    }
}

/// One hint.
#[derive(Debug, Clone, Copy)]
enum Hint {
    Model(Model),
    Tier(Tier),
    Effort(Effort),
}

/// Takes explicit hints off a message: what it asks for, and the text without them.
///
/// ```
/// use tinyclaw_domain::{Catalogue, Model};
/// use tinyclaw_router::strip_hints;
///
/// let strip = |text| {
///     let (hints, rest) = strip_hints(text, &Catalogue::default());
///     (hints.model, rest.into_owned())
/// };
/// assert_eq!(strip("/opus why?"), (Some(Model::OPUS), "why?".to_owned()));
/// assert_eq!(strip("why? [fable]"), (Some(Model::FABLE), "why?".to_owned()));
/// assert_eq!(strip("see /opus/lib"), (None, "see /opus/lib".to_owned()));
/// ```
pub fn strip_hints<'t>(text: &'t str, catalogue: &Catalogue) -> (Hints, Cow<'t, str>) {
    let (hints, sender, said) = find(text, catalogue);
    match hints.is_empty() {
        true => (hints, Cow::Borrowed(text)),
        false if sender.is_empty() => (hints, Cow::Borrowed(said)),
        false => (hints, Cow::Owned(format!("{sender} {said}"))),
    }
}

/// The same with blanks in place of the hints: whatever is found in what is left lies where it lay.
pub(crate) fn blank_hints<'t>(text: &'t str, catalogue: &Catalogue) -> (Hints, Cow<'t, str>) {
    let (hints, sender, said) = find(text, catalogue);
    if hints.is_empty() {
        return (hints, Cow::Borrowed(text));
    }
    let at = |it: &str| it.as_ptr().addr() - text.as_ptr().addr();
    let (kept, begin) = (at(sender) + sender.len(), at(said));
    let blanks = |count: usize| " ".repeat(count);
    let (before, after) = (blanks(begin - kept), blanks(text.len() - begin - said.len()));
    (hints, Cow::Owned(format!("{}{before}{said}{after}", &text[..kept])))
}

/// The hints, the envelope in front (`[sender]:`), which is empty where there is none, and what is said without hints. The last two
/// are pieces of the text, in this order.
fn find<'t>(text: &'t str, catalogue: &Catalogue) -> (Hints, &'t str, &'t str) {
    let mut hints = Hints::default();
    // A text that begins with pages of blanks has no hint, and is not searched for one.
    if text[..text.floor_char_boundary(WINDOW_BYTES)].trim_start().is_empty() {
        return (hints, "", text);
    }
    let trimmed = text.trim();
    // An envelope stays where it is.
    let (sender, rest) = trimmed.split_at(sender(trimmed));
    let mut said = rest.trim_start();
    loop {
        let opening = slash(said, catalogue).or_else(|| opening_tag(said, catalogue));
        if let Some((hint, rest)) = opening
            && hints.take(hint)
        {
            said = rest.trim_start();
            continue;
        }
        match closing_tag(said, catalogue) {
            Some((hint, rest)) if hints.take(hint) => said = rest.trim_end(),
            _ => break,
        }
    }
    (hints, sender, said)
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

fn slash<'t>(text: &'t str, catalogue: &Catalogue) -> Option<(Hint, &'t str)> {
    let rest = text.strip_prefix('/')?;
    let end = rest[..rest.floor_char_boundary(HINT_BYTES)]
        .find(char::is_whitespace)
        .or_else(|| (rest.len() < HINT_BYTES).then_some(rest.len()))?;
    // In a group, Telegram writes `/opus@name_of_the_bot`.
    let word = rest[..end].split('@').next()?;
    Some((Hint::Model(catalogue.find(word).ok()?), &rest[end..]))
}

fn opening_tag<'t>(text: &'t str, catalogue: &Catalogue) -> Option<(Hint, &'t str)> {
    let rest = text.strip_prefix('[')?;
    let end = rest[..rest.floor_char_boundary(HINT_BYTES)].find(']')?;
    // What follows at once belongs to it: `[opus](https://…)` is a link, `[opus]: …` a sender.
    let is_apart = rest[end + 1..].chars().next().is_none_or(|it| it.is_whitespace() || it == '[');
    is_apart.then_some(())?;
    Some((tag(&rest[..end], catalogue)?, &rest[end + 1..]))
}

fn closing_tag<'t>(text: &'t str, catalogue: &Catalogue) -> Option<(Hint, &'t str)> {
    let rest = text.strip_suffix(']')?;
    let last = rest.ceil_char_boundary(rest.len().saturating_sub(HINT_BYTES));
    let open = last + rest[last..].rfind('[')?;
    let is_apart =
        rest[..open].chars().next_back().is_none_or(|it| it.is_whitespace() || it == ']');
    is_apart.then_some(())?;
    Some((tag(&rest[open + 1..], catalogue)?, &rest[..open]))
}

fn tag(inside: &str, catalogue: &Catalogue) -> Option<Hint> {
    let Some((key, value)) = inside.split_once(':') else {
        return catalogue.find(inside).ok().map(Hint::Model);
    };
    let value = value.trim();
    if key.trim().eq_ignore_ascii_case("effort") {
        return value.parse().ok().map(Hint::Effort);
    }
    if !key.trim().eq_ignore_ascii_case("tier") {
        return None;
    }
    let model = catalogue.find(value).ok().map(Hint::Model);
    model.or_else(|| value.parse().ok().map(Hint::Tier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, hints: Hints, rest: &str) {
        assert_eq!(strip_hints(text, &Catalogue::default()), (hints, rest.into()));
    }

    fn model(model: Model) -> Hints {
        Hints { model: Some(model), ..Hints::default() }
    }

    #[test]
    fn hints_stand_at_the_ends() {
        check("/opus", model(Model::OPUS), "");
        check("/Sonnet@claw_bot  fix it", model(Model::SONNET), "fix it");
        let complex = Hints { tier: Some(Tier::Complex), ..Hints::default() };
        check("[tier: complex] fix it", complex, "fix it");
        check("[Ada]: /haiku hi", model(Model::HAIKU), "[Ada]: hi");
        check("fix it [TIER:opus]\n", model(Model::OPUS), "fix it");
        check("fix it [Fable]", model(Model::FABLE), "fix it");
        check("/fable fix it", model(Model::FABLE), "fix it");
        let hard = Hints { effort: Some(Effort::Max), ..model(Model::FABLE) };
        check("/fable [effort:max] fix it", hard, "fix it");
        check("[fable] fix it [effort: MAX]", hard, "fix it");
        check("fix it [effort:enormous]", Hints::default(), "fix it [effort:enormous]");
        let old = Model::named("claude-opus-4-8").expect("a name");
        check("[claude-opus-4-8] fix it", model(old), "fix it");
    }

    #[test]
    fn blanks_stand_in_place_of_hints_and_nothing_moves() {
        for (text, left) in [
            ("/opus", "     "),
            (" /fable [effort:max] fix it [Ada] ", "                     fix it [Ada] "),
            ("[Ada]: /haiku hi [effort:low]\n", "[Ada]:        hi              "),
            ("fix it, grün [fable]", "fix it, grün        "),
            ("[todo] fix it", "[todo] fix it"),
        ] {
            let (_, found) = blank_hints(text, &Catalogue::default());
            assert_eq!((found.as_ref(), found.len()), (left, text.len()), "{text}");
        }
    }

    #[test]
    fn a_second_hint_of_a_kind_is_text() {
        check("/opus /haiku fix it", model(Model::OPUS), "/haiku fix it");
        check("[opus] fix it [haiku]", model(Model::OPUS), "fix it [haiku]");
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in [
            "/model opus",
            "/opusculum",
            "what does [tier:opus] do?",
            "/",
            "[",
            "]",
            " a ",
            "[opus](https://example.org) is a link",
            "see list[opus]",
            "[todo] fix it",
        ] {
            check(text, Hints::default(), text);
        }
    }
}
