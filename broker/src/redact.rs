//! Takes secrets out of texts before anybody reads them.
//!
//! The second line of defence: nothing here should ever find anything, since secrets are kept in
//! types that do not print. What passes through is whatever other people's code may say: GitHub's
//! messages, an HTTP library's errors, a panic's text, and every line of the log.

use std::borrow::Cow;
use std::io::{self, Write};

/// How a secret begins, and how many bytes of it make it one.
const BEGINNINGS: [(&str, usize); 10] = [
    ("ghs_", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("tcap1.", 20),
    // A JWT, whoever signed it.
    ("eyJ", 20),
    ("MII", 40),
    ("-----BEGIN", 10),
];

/// The text without what looks like a token, a JWT, a capability or a key.
pub fn scrub(text: &str) -> Cow<'_, str> {
    if !BEGINNINGS.iter().any(|(beginning, _)| text.contains(beginning)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, end)) = first_secret(rest) {
        clean.push_str(&rest[..start]);
        clean.push_str("[redacted]");
        rest = &rest[end..];
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

fn first_secret(text: &str) -> Option<(usize, usize)> {
    let mut first: Option<(usize, usize)> = None;
    for (beginning, bytes_min) in BEGINNINGS {
        for (start, _) in text.match_indices(beginning) {
            let end = match beginning {
                // A key goes on over its lines, and one cut short is no less secret.
                "-----BEGIN" => match text[start..].find("-----END") {
                    Some(end) => start + end,
                    None => text.len(),
                },
                _ => {
                    let part = |it: u8| it.is_ascii_alphanumeric() || b"._-+/=".contains(&it);
                    let length = text[start..].bytes().take_while(|it| part(*it)).count();
                    start + length
                }
            };
            if end - start >= bytes_min {
                if first.is_none_or(|(earlier, _)| start < earlier) {
                    first = Some((start, end));
                }
                break;
            }
        }
    }
    first
}

/// A place to write log lines to, each scrubbed.
#[derive(Debug, Default)]
pub struct ScrubbedStderr;

impl Write for ScrubbedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // tracing-subscriber hands over one whole line at a time.
        let text = String::from_utf8_lossy(line);
        io::stderr().lock().write_all(scrub(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_a_token_go() {
        let short = format!("token ghs_{} is bad", "a".repeat(36));
        assert_eq!(scrub(&short), "token [redacted] is bad");
        let long = format!("\"ghs_12345_eyJhbGci.{}.x-_y\"", "b".repeat(400));
        assert_eq!(scrub(&long), "\"[redacted]\"");
    }

    #[test]
    fn several_in_one_line_go() {
        let line = format!("ghs_{0} and eyJ{0} and tcap1.{0}", "c".repeat(40));
        assert_eq!(scrub(&line), "[redacted] and [redacted] and [redacted]");
    }

    #[test]
    fn a_key_goes_even_when_cut() {
        let head = "-----BEGIN A KEY-----\nMIIEow";
        assert_eq!(scrub(&format!("x {head}")), "x [redacted]");
        let whole = format!("x {head}\n-----END A KEY----- y");
        assert!(!scrub(&whole).contains("MIIEow"));
    }

    #[test]
    fn plain_words_stay() {
        for text in ["repository site", "ghs_ is a prefix", "MII", "eyJ short"] {
            assert_eq!(scrub(text), text);
        }
    }
}
