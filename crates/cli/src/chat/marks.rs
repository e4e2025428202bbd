//! Claude's Markdown in a terminal, row by row as it comes: what is strong and what is a heading stands out, code stays as
//! it is. Every letter that means something is shown; what only looks like a mark is left alone.

use crate::terminal::Style;

/// Where in a text the next row stands.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Between two fences nothing is a mark.
    is_in_code: bool,
}

impl Marks {
    /// A row as it is shown. A pipe, or a terminal without colours, gets it as it was written.
    pub(crate) fn shown(&mut self, row: &str, style: Style) -> String {
        let is_fence = row.trim_start().starts_with("```");
        if is_fence {
            self.is_in_code = !self.is_in_code;
        }
        if !style.has_colours() {
            return row.to_owned();
        }
        if is_fence {
            return style.dim(row);
        }
        if self.is_in_code {
            return row.to_owned();
        }
        if let Some(heading) = heading(row) {
            return style.bold(heading);
        }
        with_strong(row, style)
    }
}

/// The words of a heading: up to six `#` and a blank before them.
fn heading(row: &str) -> Option<&str> {
    let words = row.trim_start_matches('#');
    let level = row.len() - words.len();
    (1..=6).contains(&level).then(|| words.strip_prefix(' ')).flatten()
}

/// The row with `**words**` shown strong. Stars inside code, stars with a blank inside them and stars without a partner
/// are no marks.
fn with_strong(row: &str, style: Style) -> String {
    let mut shown = String::new();
    for (number, part) in row.split('`').enumerate() {
        if number > 0 {
            shown.push('`');
        }
        if number % 2 == 1 {
            shown.push_str(part);
            continue;
        }
        let mut rest = part;
        while let Some((before, after)) = rest.split_once("**") {
            let strong = after.split_once("**").filter(|(words, _)| {
                !words.is_empty()
                    && words.trim() == *words
                    && !before.ends_with(char::is_alphanumeric)
            });
            match strong {
                Some((words, after)) => {
                    shown.push_str(before);
                    shown.push_str(&style.bold(words));
                    rest = after;
                }
                None => {
                    shown.push_str(before);
                    shown.push_str("**");
                    rest = after;
                }
            }
        }
        shown.push_str(rest);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_strong_stands_out_and_what_only_looks_so_is_left_alone() {
        let style = Style::with_colours();
        let mut marks = Marks::default();
        for (row, shown) in [
            ("**Done.** Two tests", "\x1b[1mDone.\x1b[0m Two tests"),
            ("## Plan", "\x1b[1mPlan\x1b[0m"),
            ("#hash and 2**3**4", "#hash and 2**3**4"),
            ("a ** b ** c, **open", "a ** b ** c, **open"),
            ("`**kwargs**` and **x**", "`**kwargs**` and \x1b[1mx\x1b[0m"),
            ("```python", "\x1b[2m```python\x1b[0m"),
            ("# a comment **here**", "# a comment **here**"),
            ("```", "\x1b[2m```\x1b[0m"),
            ("**out** again", "\x1b[1mout\x1b[0m again"),
        ] {
            assert_eq!(marks.shown(row, style), shown, "{row}");
        }
    }

    #[test]
    fn a_pipe_gets_what_was_written() {
        assert_eq!(Marks::default().shown("**Done.**", Style::plain()), "**Done.**");
    }
}
