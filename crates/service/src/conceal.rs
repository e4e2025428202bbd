//! Taking secrets out of text before it is shown: those we know, and those that look like one.
//!
//! A last line of defence for log lines and for what people see of a tool's input (an HTTP library names the URL it
//! could not reach, and Telegram's URLs contain the token). It does not replace care where text is made.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

/// What stands where a secret was.
const CONCEALED: &str = "[concealed]";
/// Shorter secrets would take out ordinary words.
const SECRET_BYTES_MIN: usize = 8;
/// How tokens begin that are secret whoever holds them: Anthropic, GitHub, Slack, private keys of AWS.
const PREFIXES: [&str; 9] =
    ["sk-ant-", "ghs_", "ghp_", "gho_", "ghu_", "ghr_", "github_pat_", "xoxb-", "AKIA"];
/// A prefix alone is a word about tokens; from so many characters after it on, it is a token.
const TOKEN_TAIL_MIN: usize = 12;
/// The secret half of a Telegram bot token.
const BOT_TOKEN_TAIL: usize = 35;

static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From now on this secret is taken out wherever [`conceal`] is asked. Settings do it for every secret they read.
pub fn conceal_from_now_on(secret: &str) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for line in secret.lines().map(str::trim).filter(|it| it.len() >= SECRET_BYTES_MIN) {
        if !known.iter().any(|it| it == line) {
            known.push(line.to_owned());
        }
    }
}

/// The text without secrets; borrowed when there were none.
pub fn conceal(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), CONCEALED));
        }
    }
    match without_lookalikes(&text) {
        Some(shown) => Cow::Owned(shown),
        None => text,
    }
}

/// The text without what looks like a token, or `None` when nothing does.
fn without_lookalikes(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut kept = 0;
    let mut from = 0;
    while let Some((start, end)) = next_lookalike(text, from) {
        shown.push_str(&text[kept..start]);
        shown.push_str(CONCEALED);
        (kept, from) = (end, end);
    }
    if kept == 0 {
        return None;
    }
    shown.push_str(&text[kept..]);
    Some(shown)
}

fn next_lookalike(text: &str, from: usize) -> Option<(usize, usize)> {
    let prefixed = PREFIXES.iter().filter_map(|prefix| {
        text[from..].match_indices(prefix).find_map(|(at, _)| {
            let start = from + at;
            let tail = start + prefix.len();
            let end = tail + token_length(&text[tail..]);
            let is_begin = !text[..start].ends_with(|it: char| it.is_ascii_alphanumeric());
            (is_begin && end - tail >= TOKEN_TAIL_MIN).then_some((start, end))
        })
    });
    let bot = text[from..].match_indices(':').find_map(|(at, _)| {
        let colon = from + at;
        let digits = text[from..colon].bytes().rev().take_while(|it| it.is_ascii_digit()).count();
        let tail = token_length(&text[colon + 1..]);
        (digits >= 6 && tail >= BOT_TOKEN_TAIL).then_some((colon - digits, colon + 1 + tail))
    });
    prefixed.chain(bot).min()
}

fn token_length(text: &str) -> usize {
    text.bytes().take_while(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-')).count()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        expect.assert_eq(&conceal(text));
    }

    #[test]
    fn what_looks_like_a_token_is_taken_out_and_words_about_tokens_stay() {
        let bot = format!("https://api.telegram.org/bot123456789:{}/getMe", "A".repeat(35));
        check(&bot, expect!["https://api.telegram.org/bot[concealed]/getMe"]);
        check(
            "key sk-ant-oat01-abcdefghijkl, and ghs_abcdefghijklmnop.",
            expect!["key [concealed], and [concealed]."],
        );
        check(
            "a ghs_ token, risk-ant-hill, 12:34 o'clock",
            expect!["a ghs_ token, risk-ant-hill, 12:34 o'clock"],
        );
        check("日本語 sk-ant-abcdefghijklmn 日本", expect!["日本語 [concealed] 日本"]);
    }

    #[test]
    fn a_known_secret_is_taken_out_wherever_it_stands() {
        conceal_from_now_on("correct horse battery\n");
        conceal_from_now_on("short");
        check("(correct horse battery) short", expect!["([concealed]) short"]);
    }
}
