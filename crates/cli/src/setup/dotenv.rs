//! `.env`, as compose reads it: values taken out of it, and single lines replaced.
//!
//! Whatever is not asked for stays as it is, byte for byte. A value that compose and a shell would read differently is
//! refused.

use std::collections::BTreeMap;

use super::ask::Wrong;

/// The variables that a text sets. Where one is set twice, the later line counts.
pub(crate) fn variables(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(assigned)
        .map(|(_, name, value)| (name.to_owned(), unquoted(value)))
        .collect()
}

/// The text with some variables set to other values. The last line that sets one is replaced; without any, a line is
/// added at the end.
pub(crate) fn edited(text: &str, changes: &[(String, String)]) -> Result<String, Wrong> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for (name, value) in changes {
        let quoted = quoted(name, value)?;
        let at = lines.iter().rposition(|line| assigned(line).is_some_and(|(_, it, _)| it == name));
        match at {
            Some(at) => {
                let lead = assigned(&lines[at]).map_or("", |(lead, ..)| lead).to_owned();
                let body = lines[at].trim_end_matches(['\n', '\r']).len();
                let end = lines[at][body..].to_owned();
                lines[at] = format!("{lead}{name}={quoted}{end}");
            }
            None => {
                if let Some(last) = lines.last_mut().filter(|it| !it.ends_with('\n')) {
                    last.push('\n');
                }
                lines.push(format!("{name}={quoted}\n"));
            }
        }
    }
    Ok(lines.concat())
}

/// What stands before a line's name (blanks, `export`), the name, and the value as it is written.
fn assigned(line: &str) -> Option<(&str, &str, &str)> {
    let (before, value) = line.split_once('=')?;
    let name = before.trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let is_name = !name.is_empty()
        && !name.starts_with(|it: char| it.is_ascii_digit())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    let lead = &before[..before.rfind(name)?];
    is_name.then_some((lead, name, value))
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    let within = |quote: char| {
        let inner = value.strip_prefix(quote)?;
        let end =
            inner.char_indices().find(|(at, it)| *it == quote && !inner[..*at].ends_with('\\'));
        Some(&inner[..end?.0])
    };
    if let Some(inner) = within('\'') {
        return inner.to_owned();
    }
    if let Some(inner) = within('"') {
        return inner.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\");
    }
    let comment = value.find(" #").or_else(|| value.starts_with('#').then_some(0));
    value[..comment.unwrap_or(value.len())].trim_end().to_owned()
}

/// Plain where every reader agrees on it, else in single quotes, in which nothing is expanded.
fn quoted(name: &str, value: &str) -> Result<String, Wrong> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-./:@,+=~".contains(it);
    if value.chars().all(is_plain) {
        return Ok(value.to_owned());
    }
    if value.contains(|it: char| it.is_control() || matches!(it, '\'' | '\\')) {
        return Err(Wrong::new(
            format!(
                "{name} has a quote, a backslash or a control character in it, which .env cannot carry"
            ),
            "put it into settings.json instead: tinyclaw settings set",
        ));
    }
    Ok(format!("'{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, name: &str, value: &str) -> String {
        edited(text, &[(name.to_owned(), value.to_owned())]).unwrap()
    }

    #[test]
    fn everything_but_the_line_stays_byte_for_byte() {
        let text = "# Telegram\r\nexport A=1\nB = two # a remark\n\n#C=old\n  C='3'\nC=last";
        assert_eq!(
            change(text, "C", "new"),
            "# Telegram\r\nexport A=1\nB = two # a remark\n\n#C=old\n  C='3'\nC=new"
        );
        assert_eq!(change(text, "A", ""), text.replace("export A=1", "export A="));
        assert_eq!(change(text, "D", "4"), format!("{text}\nD=4\n"));
        assert_eq!(change("A=1\r\nB=2\r\n", "A", "x"), "A=x\r\nB=2\r\n");
        assert_eq!(change("", "A", "1"), "A=1\n");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for value in
            ["123:AA-b_c", "-1001234", "a,b", "two words", "$HOME", "#1", "a#b", "=x", "日本", ""]
        {
            let text = change("A=0\n", "A", value);
            assert_eq!(variables(&text)["A"], value, "{text}");
        }
        for value in ["it's", "a\\b", "a\nb"] {
            assert!(edited("", &[("A".to_owned(), value.to_owned())]).is_err(), "{value}");
        }
    }

    #[test]
    fn values_are_read_as_compose_reads_them() {
        let text = "A=plain # remark\nB=\"quoted # no remark\"\nC='single $X'\nD=\n# E=1\nexport F=6\nA=again\nnot a line\n1X=1\n";
        let read = variables(text);
        let expected = [
            ("A", "again"),
            ("B", "quoted # no remark"),
            ("C", "single $X"),
            ("D", ""),
            ("F", "6"),
        ];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}
