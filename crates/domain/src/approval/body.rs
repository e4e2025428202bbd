//! What would be done, field by field: the command, the change of a file line by line, and everything else that the tool is
//! given.

use serde_json::{Map, Value};

use super::FIELD;
use super::named::{Namer, Oddity};

/// So many empty lines in a row stand in a change of a file; more are counted.
const EMPTY_LINES_MAX: usize = 3;

/// Puts the body of a question together.
pub(super) struct Body<'a> {
    namer: &'a mut Namer,
    text: String,
}

impl Body<'_> {
    /// All of a tool's input.
    pub(super) fn of(tool: &str, input: &Value, namer: &mut Namer) -> String {
        let mut body = Body { namer, text: String::new() };
        match input {
            Value::Object(fields) => body.tool(tool, fields),
            Value::Null => {}
            other => body.value("input", other),
        }
        body.text.truncate(body.text.trim_end_matches('\n').len());
        body.text
    }

    fn tool(&mut self, tool: &str, fields: &Map<String, Value>) {
        let mut left = fields.clone();
        // What is unlike what the tool takes is shown as it is, like the input of any other tool.
        match tool {
            "Bash" => {
                if left.get("command").is_some_and(|it| *it != "")
                    && let Some(command) = take(&mut left, "command")
                {
                    let shown = self.namer.text(&command);
                    self.push(&shown);
                }
            }
            "Edit" if is_change(fields) => {
                self.path(&mut left);
                self.change(&mut left);
            }
            "Write" if fields.get("content").is_some_and(Value::is_string) => {
                self.path(&mut left);
                let content = take(&mut left, "content").unwrap_or_default();
                self.head("content");
                self.lines('+', &content.split('\n').collect::<Vec<_>>());
            }
            "MultiEdit" if are_changes(fields.get("edits")) => {
                self.path(&mut left);
                let edits = left.shift_remove("edits");
                let edits =
                    edits.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                for (at, edit) in edits.iter().enumerate() {
                    self.head(&format!("edit {} of {}", at + 1, edits.len()));
                    let mut edit = edit.as_object().cloned().unwrap_or_default();
                    self.change(&mut edit);
                    self.fields(&edit);
                }
            }
            _ => {}
        }
        self.fields(&left);
    }

    fn push(&mut self, shown: &str) {
        self.text.push_str(shown);
        self.text.push('\n');
    }

    fn head(&mut self, name: &str) {
        self.push(&format!("{FIELD} {name}:"));
    }

    fn fields(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            self.value(name, value);
        }
    }

    fn value(&mut self, name: &str, value: &Value) {
        let name = self.namer.line(name);
        match value {
            Value::String(text) if text.contains('\n') => {
                let shown = self.namer.text(text);
                self.head(&name);
                self.push(&shown);
            }
            Value::String(text) => {
                // Text that could be a number, a list or nothing at all is told apart from them.
                let is_plain = !text.is_empty()
                    && !text.starts_with('"')
                    && serde_json::from_str::<Value>(text).is_err();
                let shown = if is_plain {
                    self.namer.line(text)
                } else {
                    self.namer.line(&Value::from(text.as_str()).to_string())
                };
                self.push(&format!("{FIELD} {name}: {shown}"));
            }
            Value::Array(_) | Value::Object(_) => {
                let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
                self.head(&name);
                // Its strings have no line breaks of their own any more.
                for line in pretty.lines() {
                    let shown = self.namer.line(line);
                    self.push(&shown);
                }
            }
            other => self.push(&format!("{FIELD} {name}: {other}")),
        }
    }

    fn path(&mut self, left: &mut Map<String, Value>) {
        if let Some(path) = left.shift_remove("file_path") {
            self.value("file_path", &path);
        }
    }

    /// One text in place of another: the lines that go, and those that come.
    fn change(&mut self, left: &mut Map<String, Value>) {
        let (old, new) = (take(left, "old_string"), take(left, "new_string"));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let old: Vec<&str> = old.split('\n').collect();
        let new: Vec<&str> = new.split('\n').collect();
        let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let shorter = old.len().min(new.len()) - before;
        let after = old
            .iter()
            .rev()
            .zip(new.iter().rev())
            .take(shorter)
            .take_while(|(a, b)| a == b)
            .count();
        self.lines(' ', &old[..before]);
        self.lines('-', &old[before..old.len() - after]);
        self.lines('+', &new[before..new.len() - after]);
        self.lines(' ', &old[old.len() - after..]);
    }

    /// Lines of a file, each behind its mark.
    fn lines(&mut self, mark: char, lines: &[&str]) {
        let mut at = 0;
        while at < lines.len() {
            let empty = lines[at..].iter().take_while(|it| it.is_empty()).count();
            if empty > EMPTY_LINES_MAX {
                self.namer.oddities.insert(Oddity::Blanks);
                self.push(&format!("{mark} ⟨{empty} empty lines⟩"));
                at += empty;
                continue;
            }
            let shown = self.namer.line(lines[at]);
            match (shown.as_str(), mark) {
                // What is unchanged has a blank for a mark, which cannot be seen alone.
                ("", ' ') => self.push("  ⟨empty line⟩"),
                ("", _) => self.push(&mark.to_string()),
                (shown, _) => self.push(&format!("{mark} {shown}")),
            }
            at += 1;
        }
    }
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    let is_text = fields.get(name).is_some_and(Value::is_string);
    let text = is_text.then(|| fields.shift_remove(name))??;
    text.as_str().map(str::to_owned)
}

fn is_change(fields: &Map<String, Value>) -> bool {
    ["old_string", "new_string"].iter().all(|it| fields.get(*it).is_some_and(Value::is_string))
}

fn are_changes(edits: Option<&Value>) -> bool {
    let edits = edits.and_then(Value::as_array);
    edits.is_some_and(|it| {
        !it.is_empty() && it.iter().all(|it| it.as_object().is_some_and(is_change))
    })
}
