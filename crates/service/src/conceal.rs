//! Taking secrets out of text before it is shown: those we know, and those that look like one.
//!
//! A last line of defence for log lines, answers, and what people see of a tool's input (an HTTP library names the URL
//! it could not reach, and Telegram's URLs contain the token). It does not replace care where text is made. It works on
//! plain text and on finished JSON, where a line break is a backslash and a letter.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

/// What stands where a secret was that we know.
const CONCEALED: &str = "[hidden]";
/// Shorter secrets would take out ordinary words.
const SECRET_BYTES_MIN: usize = 8;
/// How tokens begin that are secret whoever holds them.
const PREFIXES: [(&str, &str); 9] = [
    ("ghs_", "github token"),
    ("ghp_", "github token"),
    ("gho_", "github token"),
    ("ghu_", "github token"),
    ("ghr_", "github token"),
    ("github_pat_", "github token"),
    ("sk-ant-", "anthropic key"),
    ("xoxb-", "slack token"),
    ("tcap1.", "broker capability"),
];
/// A prefix alone is a word about tokens; from so many characters after it on, it is a token.
const TOKEN_TAIL_MIN: usize = 12;
/// The bot's number, and the secret half of a Telegram bot token.
const BOT_DIGITS_MIN: usize = 6;
const BOT_TOKEN_TAIL: usize = 35;
/// Each of the three parts of a signed token.
const JWT_PART_MIN: usize = 8;
const AWS_TAIL: usize = 16;
/// The secret half of a token of the gateway, `tc_<id>_<secret>`, and at least so much of a webhook's.
const GATEWAY_TAIL: usize = 43;
const WEBHOOK_TAIL_MIN: usize = 24;
const BEARER_MIN: usize = 20;
/// The end of a private key is looked for so far; the longest are a fourth of it.
const KEY_BYTES_MAX: usize = 16 << 10;

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
    conceal_and_tell(text, || {})
}

/// The same, and tells of each that looked like a secret.
pub fn conceal_and_tell(text: &str, tell: impl FnMut()) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), CONCEALED));
        }
    }
    match without_lookalikes(&text, tell) {
        Some(shown) => Cow::Owned(shown),
        None => text,
    }
}

/// [`conceal`] for a text that comes in pieces: what may still become a secret is held back until it is known.
#[derive(Debug, Default)]
pub struct Concealer {
    held: String,
}

impl Concealer {
    /// Takes the next piece, and gives what can be shown by now.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let rest = self.held.split_off(settled(&self.held));
        let shown = conceal(&self.held).into_owned();
        self.held = rest;
        shown
    }

    /// What was held back, when nothing more comes.
    pub fn finish(&mut self) -> String {
        conceal(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// How much of a text cannot become part of a secret any more, whatever follows.
fn settled(text: &str) -> usize {
    // A secret is a word; behind this byte none is open.
    let in_word = |it: char| it.is_ascii_alphanumeric() || "_-.:/+=~\\\"'".contains(it);
    let mut end = text.trim_end_matches(in_word).len();
    // A word that says that a secret follows belongs to it.
    let before = text[..end].trim_end_matches([' ', '=', ':']);
    for opens in ["bearer", "BROKER_SECRET"] {
        let start = before.len().checked_sub(opens.len());
        if let Some(start) = start.filter(|it| before.is_char_boundary(*it))
            && before[start..].eq_ignore_ascii_case(opens)
        {
            end = end.min(start);
        }
    }
    // A secret that we know may have blanks in it; its beginning is held back, too.
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        let from = text.len().saturating_sub(secret.len() - 1);
        let open = (from..text.len())
            .find(|it| text.is_char_boundary(*it) && secret.starts_with(&text[*it..]));
        end = end.min(open.unwrap_or(end));
    }
    // A private key goes on to its last line, or until it is longer than any.
    let begins = text[..end].rfind("-----BEGIN");
    if let Some(begin) = begins.filter(|it| !text[*it..end].contains("-----END")) {
        let is_key = text.len() - begin <= KEY_BYTES_MAX;
        end = if is_key { end.min(begin) } else { end };
    } else if let Some(last) = text[..end].rfind("-----END")
        && !text[last + 8..end].contains("-----")
    {
        end = end.min(begins.unwrap_or(last));
    }
    end
}

/// The text without what looks like a secret, or `None` when nothing does.
fn without_lookalikes(text: &str, mut tell: impl FnMut()) -> Option<String> {
    let mut shown = String::new();
    let mut kept = 0;
    let looks = Lookalikes { text: text.as_bytes(), at: 0, no_jwt_before: 0 };
    for Lookalike { start, end, kind } in looks {
        shown.push_str(&text[kept..start]);
        shown.push_str("[hidden: ");
        shown.push_str(kind);
        shown.push(']');
        kept = end;
        tell();
    }
    if kept == 0 {
        return None;
    }
    shown.push_str(&text[kept..]);
    Some(shown)
}

/// Something that looks like a secret. It begins and ends with ASCII.
struct Lookalike {
    start: usize,
    end: usize,
    kind: &'static str,
}

/// Everything in a text that looks like a secret, in order, in one pass.
struct Lookalikes<'a> {
    text: &'a [u8],
    at: usize,
    /// What begins before this was seen to be no signed token: a long run of dashes is not looked through twice.
    no_jwt_before: usize,
}

impl Iterator for Lookalikes<'_> {
    type Item = Lookalike;

    fn next(&mut self) -> Option<Lookalike> {
        let from = self.at;
        while self.at < self.text.len() {
            let found = match self.text[self.at] {
                b'g' | b's' | b'x' => self.prefixed(),
                b't' => self.prefixed().or_else(|| self.gateway()),
                b'w' => self.webhook(),
                b'A' => self.aws(),
                b'e' => self.jwt(),
                b'B' | b'b' => self.bearer().or_else(|| self.broker()),
                b'-' => self.private_key(),
                b':' => self.bot(from),
                _ => None,
            };
            if let Some(found) = found {
                self.at = found.end;
                return Some(found);
            }
            self.at += 1;
        }
        None
    }
}

impl Lookalikes<'_> {
    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    /// From here on, so many bytes.
    fn found(&self, len: usize, kind: &'static str) -> Lookalike {
        Lookalike { start: self.at, end: self.at + len, kind }
    }

    /// Whether a word begins here, also after the line break of a JSON string.
    fn is_begin(&self) -> bool {
        match self.text[..self.at] {
            [.., b'\\', b'n' | b'r' | b't'] => true,
            [.., before] => !before.is_ascii_alphanumeric(),
            [] => true,
        }
    }

    fn prefixed(&self) -> Option<Lookalike> {
        let rest = self.rest();
        let (prefix, kind) = PREFIXES.iter().find(|it| rest.starts_with(it.0.as_bytes()))?;
        let mut len = prefix.len() + run(&rest[prefix.len()..], is_dotted);
        // The full stop of a sentence is none of it.
        while rest[len - 1] == b'.' {
            len -= 1;
        }
        (len - prefix.len() >= TOKEN_TAIL_MIN).then(|| self.found(len, kind))
    }

    fn gateway(&self) -> Option<Lookalike> {
        let tail = self.rest().strip_prefix(b"tc_")?;
        let id = run(tail, |it| it.is_ascii_alphanumeric());
        let secret = tail[id..].strip_prefix(b"_").filter(|_| id > 0)?;
        let len = run(secret, is_token);
        (len >= GATEWAY_TAIL).then(|| self.found("tc__".len() + id + len, "gateway token"))
    }

    fn webhook(&self) -> Option<Lookalike> {
        let tail = self.rest().strip_prefix(b"whsec_")?;
        let len = run(tail, |it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/' | b'='));
        (len >= WEBHOOK_TAIL_MIN).then(|| self.found("whsec_".len() + len, "webhook secret"))
    }

    fn aws(&self) -> Option<Lookalike> {
        let tail = self.rest().strip_prefix(b"AKIA")?;
        let len = run(tail, |it| it.is_ascii_uppercase() || it.is_ascii_digit());
        let ends = !tail.get(len).is_some_and(u8::is_ascii_alphanumeric);
        (len == AWS_TAIL && ends && self.is_begin()).then(|| self.found(4 + len, "aws key"))
    }

    fn jwt(&mut self) -> Option<Lookalike> {
        if self.at < self.no_jwt_before || !self.rest().starts_with(b"eyJ") || !self.is_begin() {
            return None;
        }
        let rest = self.rest();
        let mut len = 0;
        for part in 0..3 {
            if part > 0 && rest.get(len) == Some(&b'.') {
                len += 1;
            }
            let part_len = run(&rest[len..], is_token);
            let is_object = part == 2 || rest[len..].starts_with(b"eyJ");
            if part_len < JWT_PART_MIN || !is_object {
                self.no_jwt_before = self.at + len + part_len;
                return None;
            }
            len += part_len;
        }
        Some(self.found(len, "jwt"))
    }

    fn bearer(&self) -> Option<Lookalike> {
        const WORD: usize = "bearer ".len();
        let rest = self.rest();
        rest.get(..WORD).filter(|it| it.eq_ignore_ascii_case(b"bearer "))?;
        let tail = &rest[WORD..];
        let len = run(tail, |it| is_dotted(it) || matches!(it, b'~' | b'+' | b'/' | b'='));
        // YOUR_ACCESS_TOKEN_HERE is none.
        let is_token = len >= BEARER_MIN && tail[..len].iter().any(u8::is_ascii_digit);
        is_token.then(|| self.found(WORD + len, "bearer token"))
    }

    /// A variable, a line of YAML, or a field of JSON, in quotes or not.
    fn broker(&self) -> Option<Lookalike> {
        let rest = self.rest();
        let mut len = rest.strip_prefix(b"BROKER_SECRET").map(|it| rest.len() - it.len())?;
        len += run(&rest[len..], |it| is_quote(it) || it == b' ');
        if !matches!(rest.get(len), Some(b'=' | b':')) {
            return None;
        }
        len += 1;
        len += run(&rest[len..], |it| is_quote(it) || it == b' ');
        let secret = run(&rest[len..], |it| it.is_ascii_graphic() && !is_quote(it));
        (secret >= SECRET_BYTES_MIN).then(|| self.found(len + secret, "broker secret"))
    }

    /// With everything up to its end, or as far as it goes.
    fn private_key(&self) -> Option<Lookalike> {
        let label = |text: &[u8]| run(text, |it| it.is_ascii_uppercase() || it == b' ');
        let line = |text: &[u8], begin: &[u8]| {
            let words = text.strip_prefix(begin)?;
            let len = label(words);
            let is_key = words[..len].ends_with(b"PRIVATE KEY");
            (is_key && words[len..].starts_with(b"-----")).then_some(begin.len() + len + 5)
        };
        let rest = self.rest();
        let mut len = line(rest, b"-----BEGIN ")?;
        let near = &rest[len..rest.len().min(len + KEY_BYTES_MAX)];
        let ends = near.windows(9).enumerate().filter(|(_, it)| *it == b"-----END ");
        let end = ends.map(|(at, _)| at).find_map(|at| Some(at + line(&near[at..], b"-----END ")?));
        if let Some(end) = end {
            return Some(self.found(len + end, "private key"));
        }
        loop {
            let base64 = |it: u8| {
                it.is_ascii_alphanumeric()
                    || it.is_ascii_whitespace()
                    || matches!(it, b'+' | b'/' | b'=')
            };
            len += run(&rest[len..], base64);
            match rest[len..] {
                [b'\\', b'n' | b'r', ..] => len += 2,
                _ => break,
            }
        }
        Some(self.found(len, "private key"))
    }

    /// The colon of a Telegram bot's token, whose number stands before it.
    fn bot(&self, from: usize) -> Option<Lookalike> {
        let before = self.text[from..self.at].iter().rev();
        let digits = before.take(BOT_TOKEN_TAIL).take_while(|it| it.is_ascii_digit()).count();
        let tail = run(&self.text[self.at + 1..], is_token);
        (digits >= BOT_DIGITS_MIN && tail >= BOT_TOKEN_TAIL).then(|| Lookalike {
            start: self.at - digits,
            end: self.at + 1 + tail,
            kind: "telegram token",
        })
    }
}

/// How many bytes there are of this kind.
fn run(text: &[u8], is_one: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|it| is_one(**it)).count()
}

fn is_quote(it: u8) -> bool {
    matches!(it, b'"' | b'\'' | b'\\')
}

fn is_token(it: u8) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-')
}

fn is_dotted(it: u8) -> bool {
    is_token(it) || it == b'.'
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
        check(&bot, expect!["https://api.telegram.org/bot[hidden: telegram token]/getMe"]);
        check(
            "key sk-ant-oat01-abcdefghijkl, and ghs_abcdefghijklmnop.",
            expect!["key [hidden: anthropic key], and [hidden: github token]."],
        );
        check("日本語 sk-ant-abcdefghijklmn 日本", expect!["日本語 [hidden: anthropic key] 日本"]);
        for text in [
            "a ghs_ token, risk-ant-hill, 12:34 o'clock",
            "ghost, the bearer of news, eyJ, 100:1, 1-0a1b2c3d:5120",
            "Authorization: Bearer YOUR_ACCESS_TOKEN_HERE",
            "-----BEGIN CERTIFICATE-----",
            "tc_qdisc_add, tc_k3v9_ and whsec_ are no secrets",
            "the format is tcap1.HEX.HEX, and tcap1.HEX(payload).HEX(hmac)",
        ] {
            assert_eq!(conceal(text), text);
        }
    }

    #[test]
    fn every_kind_is_hidden_in_json_too() {
        let body = "a1".repeat(18);
        let begin = "BEGIN RSA PRIVATE";
        for (secret, kind) in [
            (format!("ghs_{body}"), "github token"),
            (format!("github_pat_{body}"), "github token"),
            (format!("sk-ant-{body}"), "anthropic key"),
            (format!("xoxb-{body}"), "slack token"),
            (format!("tcap1.7b227468{body}.{body}"), "broker capability"),
            (format!("123456789:{body}"), "telegram token"),
            (format!("eyJ{0}.eyJ{0}.{0}", &body[..20]), "jwt"),
            (format!("Bearer {}", &body[..24]), "bearer token"),
            (format!("BROKER_SECRET={body}"), "broker secret"),
            (format!("AKIA{}", &"A1".repeat(8)), "aws key"),
            (format!("tc_k3v9_{}-_{}", &body[..21], &body[..20]), "gateway token"),
            (format!("whsec_{}/+{}==", &body[..16], &body[..14]), "webhook secret"),
            (
                format!("-----{begin} KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"),
                "private key",
            ),
        ] {
            let shown = format!("before\n[hidden: {kind}] after");
            let text = format!("before\n{secret} after");
            assert_eq!(conceal(&text), shown);
            let json = serde_json::json!({ "text": text }).to_string();
            let back: serde_json::Value = serde_json::from_str(&conceal(&json)).unwrap();
            assert_eq!(back["text"], shown);
        }
    }

    #[test]
    fn a_key_is_hidden_however_it_is_wrapped() {
        let (begin, end) = ("-----BEGIN RSA PRIVATE", "-----END RSA PRIVATE KEY-----");
        for between in [
            "\\nMIIE\\nabcd\\n",
            "\\\\nMIIE\\\\n",
            "\n> MIIE\n> abcd\n> ",
            "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB12\n\nMIIE\n",
        ] {
            let text = format!("a {begin} KEY-----{between}{end} b");
            assert_eq!(conceal(&text), "a [hidden: private key] b");
        }
        for text in [
            "BROKER_SECRET=\"correct-horse\"",
            "BROKER_SECRET: correct-horse",
            r#"{"BROKER_SECRET":"correct-horse"}"#,
            r#"\"BROKER_SECRET\": \"correct-horse\""#,
        ] {
            assert!(!conceal(text).contains("correct-horse"), "{text}");
        }
        check("BROKER_SECRET is a variable", expect!["BROKER_SECRET is a variable"]);
    }

    #[test]
    fn a_key_that_breaks_off_takes_what_follows_with_it() {
        let text = format!("-----{} KEY-----\nMIIEow and more.", "BEGIN PRIVATE");
        check(&text, expect!["[hidden: private key]."]);
    }

    #[test]
    fn a_long_text_that_nearly_holds_one_is_looked_through_once() {
        let text = "eyJ-".repeat(500_000);
        assert_eq!(conceal(&text), text);
    }

    /// Whatever pieces a text comes in, what is shown is what would be shown of the whole.
    #[test]
    fn a_secret_that_comes_in_pieces_is_hidden_like_a_whole_one() {
        let body = "a1".repeat(18);
        let key = format!(
            "-----{} KEY-----\nMIIE ab\n-----END RSA PRIVATE KEY-----",
            "BEGIN RSA PRIVATE"
        );
        for secret in [
            format!("ghs_{body}"),
            format!("123456789:{body}"),
            format!("Bearer {body}"),
            format!("BROKER_SECRET = {body}"),
            format!("eyJ{0}.eyJ{0}.{0}", &body[..20]),
            key,
        ] {
            let whole = format!("before 日本 it: {secret} after, and more words.");
            for step in 1..whole.chars().count() {
                let mut concealer = Concealer::default();
                let letters: Vec<char> = whole.chars().collect();
                let mut shown: String = letters
                    .chunks(step)
                    .map(|it| concealer.push(&it.iter().collect::<String>()))
                    .collect();
                shown.push_str(&concealer.finish());
                assert_eq!(shown, conceal(&whole), "in pieces of {step}");
            }
        }
    }

    #[test]
    fn ordinary_words_are_not_held_back() {
        let mut concealer = Concealer::default();
        assert_eq!(concealer.push("Let me look. 日本語で"), "Let me look. 日本語で");
        assert_eq!(concealer.push("and th"), "and ");
        assert_eq!(concealer.push("en: "), "then: ");
        assert_eq!(concealer.finish(), "");
    }

    #[test]
    fn a_known_secret_is_taken_out_wherever_it_stands() {
        conceal_from_now_on("correct horse battery\n");
        conceal_from_now_on("short");
        check("(correct horse battery) short", expect!["([hidden]) short"]);
    }
}
