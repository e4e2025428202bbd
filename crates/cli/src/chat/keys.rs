//! Keys, as a terminal sends them, become lines. With the terminal's own editing switched off, what is typed stays
//! readable while an answer streams above it.

/// What came of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A line was finished.
    Line(String),
    /// What is typed has changed.
    Typed,
    /// One key on an empty line while a question is open.
    Answer(char),
    /// Ctrl-D on an empty line.
    End,
}

/// The line being typed, and those before it.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    typed: String,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
    /// Bytes of an escape sequence that is not whole yet.
    escape: Option<Vec<u8>>,
    past: Vec<String>,
    /// How far back one has gone in what was typed before.
    back: usize,
}

impl Editor {
    /// What is typed so far.
    pub(crate) fn typed(&self) -> &str {
        &self.typed
    }

    /// Takes one byte. `is_asked`: a question is open, which one key answers.
    pub(crate) fn take(&mut self, byte: u8, is_asked: bool) -> Option<Key> {
        if let Some(escape) = &mut self.escape {
            escape.push(byte);
            // ESC [ … letter, ESC O letter; anything else ends at once.
            let is_open = matches!(escape[..], [b'[' | b'O'])
                || (escape[0] == b'[' && !(0x40..=0x7e).contains(&byte));
            if is_open {
                return None;
            }
            let whole = self.escape.take().unwrap_or_default();
            return match whole[..] {
                [b'[' | b'O', b'A'] => self.recall(1),
                [b'[' | b'O', b'B'] => self.recall(-1),
                _ => None,
            };
        }
        match byte {
            0x1b => {
                self.escape = Some(Vec::new());
                None
            }
            b'\r' | b'\n' => {
                let line = std::mem::take(&mut self.typed);
                self.back = 0;
                if !line.trim().is_empty() && self.past.last() != Some(&line) {
                    self.past.push(line.clone());
                }
                Some(Key::Line(line))
            }
            0x04 if self.typed.is_empty() => Some(Key::End),
            0x08 | 0x7f => {
                self.typed.pop();
                Some(Key::Typed)
            }
            // Ctrl-U: the line; Ctrl-W: the last word.
            0x15 => {
                self.typed.clear();
                Some(Key::Typed)
            }
            0x17 => {
                let kept = self.typed.trim_end().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                self.typed.truncate(kept);
                Some(Key::Typed)
            }
            b'a' | b'A' | b'd' if is_asked && self.typed.is_empty() => {
                Some(Key::Answer(char::from(byte)))
            }
            0..0x20 => None,
            _ => {
                self.partial.push(byte);
                match std::str::from_utf8(&self.partial) {
                    Ok(text) => self.typed.push_str(text),
                    Err(err) if err.error_len().is_none() => return None,
                    Err(_) => {}
                }
                self.partial.clear();
                Some(Key::Typed)
            }
        }
    }

    fn recall(&mut self, step: isize) -> Option<Key> {
        self.back = self.back.saturating_add_signed(step).min(self.past.len());
        self.typed = match self.back {
            0 => String::new(),
            back => self.past[self.past.len() - back].clone(),
        };
        Some(Key::Typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (Vec<String>, String) {
        let mut editor = Editor::default();
        let mut lines = Vec::new();
        for it in keys {
            if let Some(Key::Line(line)) = editor.take(*it, false) {
                lines.push(line);
            }
        }
        (lines, editor.typed().to_owned())
    }

    #[test]
    fn keys_become_lines() {
        for (keys, line) in [
            (&b"hello\n"[..], "hello"),
            ("h\u{e9}llo\r".as_bytes(), "h\u{e9}llo"),
            ("\u{e9}\u{7f}a\n".as_bytes(), "a"),
            (b"one two\x17three\n", "one three"),
            (b"gone\x15here\n", "here"),
            (b"left\x1b[D\x1b[3~ right\n", "left right"),
            (b"a\xff\xfeb\n", "ab"),
        ] {
            assert_eq!(typed(keys), (vec![line.to_owned()], String::new()), "{keys:?}");
        }
    }

    #[test]
    fn what_was_said_before_comes_back_with_the_arrow() {
        assert_eq!(typed(b"one\ntwo\n\x1b[A\x1b[A").1, "one");
        assert_eq!(typed(b"one\ntwo\n\x1b[A\x1b[A\x1b[B").1, "two");
        assert_eq!(typed(b"one\n\x1b[A\x1b[B").1, "");
    }

    #[test]
    fn one_key_answers_a_question_unless_something_is_being_typed() {
        let mut editor = Editor::default();
        assert_eq!(editor.take(b'A', true), Some(Key::Answer('A')));
        assert_eq!(editor.take(b'x', true), Some(Key::Typed));
        assert_eq!(editor.take(b'a', true), Some(Key::Typed));
        assert_eq!(editor.typed(), "xa");
        assert_eq!(editor.take(4, true), None);
    }
}
