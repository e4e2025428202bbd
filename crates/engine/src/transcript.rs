//! Claude's transcripts, read after the fact: does a session exist, and how far did a turn get?
//!
//! `<claude dir>/projects/<slug of the cwd>/<session>.jsonl`, one JSON object a line, the last one perhaps torn. They
//! belong to Claude, and to whatever its agent makes of them: a link is not followed, a pipe not opened, and a file
//! without end not read. Nothing here writes one, except to copy it when a thread moves to another directory or home.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::SessionId;

/// A larger transcript is not read: Claude compacts a conversation long before.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A longer line is skipped: pictures lie in them, but not larger ones.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What lies beside a transcript is copied up to so many files of a folder,
const SIDE_FILES_MAX: usize = 2_000;
/// so deep,
const SIDE_DEPTH_MAX: usize = 4;
/// and so large each.
const SIDE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A session's transcript, which may be there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transcript {
    /// The folder that is trusted to be what it is called.
    root: PathBuf,
    /// Claude's own folder, below it.
    claude_dir: PathBuf,
    /// The file, below `root`.
    file: PathBuf,
}

/// How far a turn got, as the transcript tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// The transcript does not know the turn: the same uuid may be sent again.
    Unseen,
    /// It goes on: an earlier process of this office began it, and a turn under the same uuid follows it from its beginning
    /// and sends no prompt. Nothing that a transcript tells.
    Running,
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
    Transcript::find(claude_dir, Path::new(""), cwd, session).path()
}

impl Transcript {
    /// The transcript of a session in this directory, where Claude's own folder is `claude_dir` below `root`.
    pub(crate) fn find(
        root: &Path,
        claude_dir: &Path,
        cwd: &Path,
        session: &SessionId,
    ) -> Transcript {
        let cwd = cwd.canonicalize().unwrap_or_else(|_| cwd.to_owned());
        let projects = claude_dir.join("projects");
        let name = format!("{session}.jsonl");
        let slug = slug(&cwd);
        let at = |file: PathBuf| Transcript {
            root: root.to_owned(),
            claude_dir: claude_dir.to_owned(),
            file,
        };
        let plain = at(projects.join(&slug).join(&name));
        // Beyond this Claude shortens the name in a way of its own; then the session's id finds it.
        const SLUG_BYTES_MAX: usize = 200;
        if slug.len() <= SLUG_BYTES_MAX || plain.exists() {
            return plain;
        }
        let start = &slug[..SLUG_BYTES_MAX];
        let folders = foreign::names_below(root, &projects).unwrap_or_default();
        let mut found = folders
            .iter()
            .filter(|it| it.to_string_lossy().starts_with(start))
            .map(|it| at(projects.join(it).join(&name)));
        found.find(Transcript::exists).unwrap_or(plain)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.file)
    }

    /// Whether there is anything to resume.
    pub(crate) fn exists(&self) -> bool {
        foreign::open_below(&self.root, &self.file).is_ok_and(|it| it.about().len() > 0)
    }

    /// How far the turn with this uuid got. A transcript that is not there knows no turn.
    pub(crate) fn trace(&self, uuid: &str) -> Result<Trace, ForeignError> {
        let file = match foreign::open_below(&self.root, &self.file) {
            Err(err) if err.is_missing() => return Ok(Trace::Unseen),
            other => other?,
        };
        let mut turn: Option<TurnSeen> = None;
        for line in file.lines(BYTES_MAX, LINE_BYTES_MAX)? {
            // A torn line was the last one of a process that died.
            let Some(Ok(line)) = line?.map(|it| serde_json::from_slice::<Value>(&it)) else {
                continue;
            };
            if let Some(seen) = &mut turn {
                if seen.take(&line) {
                    break;
                }
            } else if line.get("uuid").and_then(Value::as_str) == Some(uuid)
                // Words that came while Claude worked.
                || line.pointer("/attachment/source_uuid").and_then(Value::as_str) == Some(uuid)
            {
                turn = Some(TurnSeen::default());
            }
        }
        Ok(turn.map_or(Trace::Unseen, TurnSeen::end))
    }

    /// All of it, up to so many bytes; nothing where there is none.
    pub(crate) fn read(&self, bytes_max: u64) -> Result<Vec<u8>, ForeignError> {
        match foreign::read_below(&self.root, &self.file, bytes_max) {
            Err(err) if err.is_missing() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Puts these bytes in its place.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), ForeignError> {
        foreign::replace_below(&self.root, &self.file, bytes, 0o600)
    }

    /// Copies it to where Claude looks for it in another directory. `false`: there is nothing to copy.
    pub(crate) fn copy_to(&self, to: &Transcript) -> Result<bool, ForeignError> {
        if self == to {
            return Ok(self.exists());
        }
        match foreign::read_below(&self.root, &self.file, BYTES_MAX) {
            Err(err) if err.is_missing() => Ok(false),
            other => {
                foreign::replace_below(&to.root, &to.file, &other?, 0o600)?;
                Ok(true)
            }
        }
    }
}

/// Copies a session from one home to another: its transcript, and what Claude keeps beside it under the session's id.
pub(crate) fn take_over(
    from: &Transcript,
    to: &Transcript,
    session: &SessionId,
) -> Result<(), ForeignError> {
    let side = |it: &Transcript| it.file.with_extension("");
    copy_folder(from, &side(from), to, &side(to), SIDE_DEPTH_MAX)?;
    for name in ["file-history", "session-env", "tasks"] {
        let folder = |it: &Transcript| it.claude_dir.join(name).join(session.as_str());
        copy_folder(from, &folder(from), to, &folder(to), SIDE_DEPTH_MAX)?;
    }
    // Last: as long as it is missing here, all of this is done again.
    from.copy_to(to)?;
    Ok(())
}

/// Copies the plain files of a folder. What is something else, or too much, is left where it is.
fn copy_folder(
    from: &Transcript,
    folder: &Path,
    to: &Transcript,
    there: &Path,
    depth: usize,
) -> Result<(), ForeignError> {
    let names = foreign::names_below(&from.root, folder).unwrap_or_default();
    for name in names.iter().take(SIDE_FILES_MAX) {
        let below = folder.join(name);
        match foreign::read_below(&from.root, &below, SIDE_BYTES_MAX) {
            Ok(bytes) => foreign::replace_below(&to.root, &there.join(name), &bytes, 0o600)?,
            Err(ForeignError::NotAFile(_)) if depth > 0 => {
                copy_folder(from, &below, to, &there.join(name), depth - 1)?;
            }
            Err(err) => tracing::warn!("not taken over with its session: {err}"),
        }
    }
    Ok(())
}

/// What was seen of a turn so far.
#[derive(Debug, Default)]
struct TurnSeen {
    message: Option<String>,
    model: Option<String>,
    stop: Option<String>,
    last: Vec<String>,
    said: Vec<String>,
}

impl TurnSeen {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use expect_test::{Expect, expect};

    use super::*;

    const SESSION: &str = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";

    fn in_folder(root: &Path) -> Transcript {
        Transcript::find(root, Path::new(".claude"), Path::new("/desk"), &SESSION.parse().unwrap())
    }

    #[track_caller]
    fn check(lines: &[&str], expect: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let transcript = in_folder(dir.path());
        foreign::replace_below(dir.path(), &transcript.file, lines.join("\n").as_bytes(), 0o600)
            .unwrap();
        expect.assert_eq(&format!("{:?}", transcript.trace("u1").unwrap()));
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
    fn a_transcript_that_an_agent_replaced_is_none_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, format!("{PROMPT}\n{ANSWER}")).unwrap();
        let root = dir.path().join("home");
        std::fs::create_dir(&root).unwrap();
        let transcript = in_folder(&root);
        let path = transcript.path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let refused = |why: &str| {
            assert!(!transcript.exists(), "{why}");
            let err = transcript.trace("u1").unwrap_err().to_string();
            assert!(err.contains(why), "{err}");
            let other = Transcript::find(
                &root,
                Path::new(""),
                Path::new("/other"),
                &SESSION.parse().unwrap(),
            );
            assert!(transcript.copy_to(&other).is_err(), "{why}");
            assert!(!other.exists(), "{why}");
            std::fs::remove_file(&path).unwrap();
        };
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        refused("is a link");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("no regular file");
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let err = transcript.trace("u1").unwrap_err().to_string();
        assert!(err.contains("is larger than"), "{err}");
    }

    #[test]
    fn a_directory_is_named_as_claude_names_it() {
        assert_eq!(slug(Path::new("/tmp/cc.x/Größe_1")), "-tmp-cc-x-Gr--e-1");
    }
}
