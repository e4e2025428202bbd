//! Escapes of half a character, `\ud83d` without its other half, replaced in JSON. They make no text, so whoever parses
//! the JSON refuses all of it; and one refused batch of updates comes again and again.

/// What stands for half a character.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The same JSON with every lone surrogate replaced. Nothing else changes.
pub(crate) fn replaced(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.iter().position(|it| *it == b'\\') {
        let (before, tail) = rest.split_at(at);
        out.extend_from_slice(before);
        let length = match (unit(tail), unit(tail.get(6..).unwrap_or_default())) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
            (Some(0xD800..0xE000), _) => {
                out.extend_from_slice(REPLACEMENT);
                rest = &tail[6..];
                continue;
            }
            (Some(_), _) => 6,
            // A backslash and what it escapes, which may be a backslash.
            (None, _) => 2.min(tail.len()),
        };
        out.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    out.extend_from_slice(rest);
    out
}

/// The unit that an escape at the beginning stands for.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|it| it.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_of_characters_are_replaced() {
        for (json, expected) in [
            (r#""a \ud83d b""#, r#""a \ufffd b""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (
                r#""\ud83d\ude00 \u00e9 \n \\\\ud83d \\\\\ud83d""#,
                r#""\ud83d\ude00 \u00e9 \n \\\\ud83d \\\\\ufffd""#,
            ),
            (r#""\ud83"#, r#""\ud83"#),
            (r#""\"#, r#""\"#),
        ] {
            let done = replaced(json.as_bytes());
            assert_eq!(String::from_utf8(done).unwrap(), expected, "{json}");
        }
    }
}
