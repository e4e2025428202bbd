//! Claude's transcripts, read after the fact: does a session exist, and how far did a turn get?
//!
//! `<claude dir>/projects/<slug of the cwd>/<session>.jsonl`, one JSON object a line, the last one perhaps torn. They
//! belong to Claude. Nothing here writes one, except to copy it when a thread moves to another directory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tinyclaw_disk::{DiskError, Flush};
use tinyclaw_domain::SessionId;

/// How far a turn got, as the transcript tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// The transcript does not know the turn: the same uuid may be sent again.
    Unseen,
    /// The prompt arrived, and there is no finished answer: only another uuid will be answered.
    Begun,
    /// There is a finished answer.
    Finished(FinishedReply),
}

/// An answer that was found in a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedReply {
    /// Claude's last words of the turn.
    pub text: String,
    /// Everything Claude said in the turn, piece by piece.
    pub said: Vec<String>,
    /// The full name of the model that gave the answer.
    pub model: Option<String>,
}

/// Claude's name for a directory: everything but letters and digits becomes a dash.
fn slug(cwd: &Path) -> String {
    let text = cwd.to_string_lossy();
    // By UTF-16 units, as JavaScript counts them.
    text.chars()
        .flat_map(|it| {
            let keep = it.is_ascii_alphanumeric();
            std::iter::repeat_n(if keep { it } else { '-' }, it.len_utf16())
        })
        .collect()
}

/// Where the transcript of a session in this directory lies, or would lie, below Claude's own folder (`.claude`).
pub fn path(claude_dir: &Path, cwd: &Path, session: &SessionId) -> PathBuf {
    let cwd = cwd.canonicalize().unwrap_or_else(|_| cwd.to_owned());
    let projects = claude_dir.join("projects");
    let name = format!("{session}.jsonl");
    let slug = slug(&cwd);
    let plain = projects.join(&slug).join(&name);
    // Beyond this Claude shortens the name in a way of its own; then the session's id finds it.
    const SLUG_BYTES_MAX: usize = 200;
    if slug.len() <= SLUG_BYTES_MAX || plain.is_file() {
        return plain;
    }
    let start = &slug[..SLUG_BYTES_MAX];
    let folders = std::fs::read_dir(&projects).into_iter().flatten().flatten();
    let found = folders
        .filter(|it| it.file_name().to_string_lossy().starts_with(start))
        .map(|it| it.path().join(&name))
        .find(|it| it.is_file());
    found.unwrap_or(plain)
}

/// Whether there is anything to resume.
pub(crate) fn exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() > 0)
}

/// How far the turn with this uuid got. A transcript that is not there knows no turn.
pub(crate) fn trace(path: &Path, uuid: &str) -> io::Result<Trace> {
    let file = match File::open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Trace::Unseen),
        other => other?,
    };
    let mut turn: Option<Seen> = None;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // A torn line was the last one of a process that died.
        let Ok(line) = serde_json::from_slice::<Value>(&line) else { continue };
        if let Some(seen) = &mut turn {
            if seen.take(&line) {
                break;
            }
        } else if line.get("uuid").and_then(Value::as_str) == Some(uuid) {
            turn = Some(Seen::default());
        }
    }
    Ok(turn.map_or(Trace::Unseen, Seen::end))
}

/// What was seen of a turn so far.
#[derive(Debug, Default)]
struct Seen {
    message: Option<String>,
    model: Option<String>,
    stop: Option<String>,
    last: Vec<String>,
    said: Vec<String>,
}

impl Seen {
    /// Takes a line; `true` when the next turn begins with it.
    fn take(&mut self, line: &Value) -> bool {
        let is = |key: &str| line.get(key).and_then(Value::as_bool).unwrap_or(false);
        if is("isSidechain") || is("isMeta") {
            return false;
        }
        let message = line.get("message").unwrap_or(&Value::Null);
        let word = |key: &str| message.get(key).and_then(Value::as_str);
        let blocks =
            message.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let of_type = |it: &Value, kind: &str| it.get("type").and_then(Value::as_str) == Some(kind);
        match line.get("type").and_then(Value::as_str) {
            Some("user") => !blocks.iter().any(|it| of_type(it, "tool_result")),
            Some("assistant") if word("model") != Some("<synthetic>") => {
                // One line for each block of a message, all with its id.
                if self.message.as_deref() != word("id") {
                    self.message = word("id").map(str::to_owned);
                    self.last.clear();
                }
                self.model = word("model").map(str::to_owned);
                self.stop = word("stop_reason").map(str::to_owned);
                let texts = blocks.iter().filter(|it| of_type(it, "text"));
                for text in texts.filter_map(|it| it.get("text").and_then(Value::as_str)) {
                    self.last.push(text.to_owned());
                    self.said.push(text.to_owned());
                }
                false
            }
            _ => false,
        }
    }

    fn end(self) -> Trace {
        match self.stop.as_deref() {
            Some("end_turn" | "stop_sequence") if !self.last.is_empty() => {
                Trace::Finished(FinishedReply {
                    text: self.last.concat(),
                    said: self.said,
                    model: self.model,
                })
            }
            _ => Trace::Begun,
        }
    }
}

/// Copies a session to where Claude looks for it in another directory. `false`: there is nothing to copy.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<bool, DiskError> {
    if from == to {
        return Ok(true);
    }
    let fail = |step, path: &Path| {
        let path = path.to_owned();
        move |source| DiskError { step, path, source }
    };
    let bytes = match std::fs::read(from) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(fail("read", from))?,
    };
    if let Some(dir) = to.parent() {
        std::fs::create_dir_all(dir).map_err(fail("make", dir))?;
    }
    tinyclaw_disk::replace(to, &bytes, Flush::Strict)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expect: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        expect.assert_eq(&format!("{:?}", trace(&path, "u1").unwrap()));
    }

    const PROMPT: &str = r#"{"type":"user","uuid":"u1","message":{"role":"user","content":"7?"}}"#;
    const LOOK: &str = r#"{"type":"assistant","message":{"id":"m1","model":"claude-sonnet-5","stop_reason":"tool_use","content":[{"type":"text","text":"Let me look."}]}}"#;
    const RESULT: &str = r#"{"type":"user","uuid":"u9","message":{"content":[{"type":"tool_result","tool_use_id":"t"}]}}"#;
    const ANSWER: &str = r#"{"type":"assistant","message":{"id":"m2","model":"claude-sonnet-5","stop_reason":"end_turn","content":[{"type":"text","text":"It is 7."}]}}"#;
    const NEXT: &str =
        r#"{"type":"user","uuid":"u2","message":{"role":"user","content":"and 8?"}}"#;
    const LATER: &str = r#"{"type":"assistant","message":{"id":"m3","model":"claude-opus-4-8","stop_reason":"end_turn","content":[{"type":"text","text":"8."}]}}"#;

    #[test]
    fn a_finished_answer_is_that_of_its_own_turn() {
        check(&[NEXT, LATER], expect!["Unseen"]);
        check(&[PROMPT], expect!["Begun"]);
        check(&[PROMPT, LOOK, RESULT], expect!["Begun"]);
        check(
            &[PROMPT, LOOK, RESULT, ANSWER, NEXT, LATER],
            expect![[
                r#"Finished(FinishedReply { text: "It is 7.", said: ["Let me look.", "It is 7."], model: Some("claude-sonnet-5") })"#
            ]],
        );
    }

    #[test]
    fn a_torn_answer_is_no_answer() {
        check(&[PROMPT, &ANSWER[..60]], expect!["Begun"]);
    }

    #[test]
    fn what_the_cli_made_up_is_no_answer() {
        let synthetic = ANSWER.replace("claude-sonnet-5", "<synthetic>");
        check(&[PROMPT, &synthetic], expect!["Begun"]);
    }

    #[test]
    fn a_directory_is_named_as_claude_names_it() {
        assert_eq!(slug(Path::new("/tmp/cc.x/Größe_1")), "-tmp-cc-x-Gr--e-1");
    }
}
