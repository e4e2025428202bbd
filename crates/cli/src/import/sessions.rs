//! Whether the threads' folders are here, and their Claude sessions where Claude will look for them. Sessions are
//! Claude's: nothing is copied, the command that does is told.

use std::path::{Path, PathBuf};

use tinyclaw_domain::{Place, SessionId, Thread, Threads};
use tinyclaw_engine::transcript_path;
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::Settings;

use super::report::{Because, ReportPart};
use super::source::Source;

/// Looks for every thread's folder and session.
pub(super) fn look(
    source: &Source,
    state: &StateDir,
    settings: &Settings,
    threads: &Threads,
) -> [ReportPart; 2] {
    let mut folders = ReportPart::new("folders", "folder");
    let mut sessions = ReportPart::new("sessions", "session");
    let home = settings.engine.home.clone().or_else(std::env::home_dir);
    for (id, thread) in threads {
        let what = || format!("thread {id}");
        // The original knew no other place, but this office may have threads elsewhere.
        let (Place::Here, dir) = thread.place() else { continue };
        match no_desk(&dir, state) {
            None => folders.taken += 1,
            Some(why) => {
                let way_out =
                    Some("in the thread: /setdir DIR, or bring the folder here".to_owned());
                folders.left.push(Because { what: what(), why, way_out });
            }
        }
        let (Some(session), Some(home)) = (&thread.session_id, &home) else { continue };
        let there = transcript_path(&home.join(".claude"), &dir, session);
        // In the office's home until the desk's first turn takes it over into its own.
        let taken_over = transcript_path(&state.home(id).join(".claude"), &dir, session);
        if there.is_file() || taken_over.is_file() {
            sessions.taken += 1;
        } else {
            sessions.left.push(missing(source, what(), thread, session, &there));
        }
    }
    [folders, sessions]
}

/// Why Claude cannot work in a folder.
fn no_desk(dir: &Path, state: &StateDir) -> Option<String> {
    let Ok(there) = dir.canonicalize() else {
        return Some(format!("{} is not here", dir.display()));
    };
    let root = state.root().canonicalize().unwrap_or_else(|_| state.root().to_owned());
    root.starts_with(&there).then(|| {
        format!("{} holds this office's own state, and no thread may work there", dir.display())
    })
}

fn missing(
    source: &Source,
    what: String,
    thread: &Thread,
    session: &SessionId,
    there: &Path,
) -> Because {
    let copy = format!("sessions/{session}.jsonl");
    let from = match source.file(&copy) {
        Ok(Some(_)) => quoted(&source.root().join(copy)),
        // Claude names the folder after the thread's, wherever it is.
        _ => {
            let below: PathBuf = there.components().rev().take(2).collect();
            let below: PathBuf = below.components().rev().collect();
            format!("OLD-HOME/.claude/projects/{}", quoted(&below))
        }
    };
    let dir = there.parent().unwrap_or(there);
    Because {
        what,
        why: format!(
            "its session {session} is not in Claude's home; {} begins a new one, with the last messages in it",
            thread.name
        ),
        way_out: Some(format!("mkdir -p {} && cp {from} {}/", quoted(dir), quoted(dir))),
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain =
        |it: char| it.is_ascii_alphanumeric() || matches!(it, '/' | '.' | '-' | '_' | '+' | ':');
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-c_1.jsonl")), "/a/b-c_1.jsonl");
        assert_eq!(quoted(Path::new("/a b/it's;rm")), r"'/a b/it'\''s;rm'");
    }
}
