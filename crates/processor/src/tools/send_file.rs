//! `send_file`: a file of the desk's directory goes out with the answer. Nothing from elsewhere, and no secret.

use std::path::{Path, PathBuf};

use tinyclaw_domain::{FileRef, Thread};
use tinyclaw_service::{may_hold_secrets, media_type};

use crate::tools::outbox::{Outbox, SENT_MAX};

/// Telegram takes no larger document.
const FILE_BYTES_MAX: u64 = 50 * 1000 * 1000;

pub(super) fn send_file(
    thread: &Thread,
    outbox: &mut Outbox,
    path: &str,
) -> Result<String, String> {
    if outbox.files.len() >= SENT_MAX {
        return Err(format!("{SENT_MAX} files are the most in one turn"));
    }
    let cwd = Path::new(&thread.cwd)
        .canonicalize()
        .map_err(|err| format!("this thread's directory: {err}"))?;
    let asked = cwd.join(path);
    let there: PathBuf = asked.canonicalize().map_err(|_| format!("there is no file {path}"))?;
    if !there.starts_with(&cwd) {
        return Err(format!("{path} is outside this thread's directory; copy it there first"));
    }
    let meta = there.metadata().map_err(|err| err.to_string())?;
    if !meta.is_file() {
        return Err(format!("{path} is not a file"));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{path} has {} bytes; {FILE_BYTES_MAX} are the most", meta.len()));
    }
    if meta.len() == 0 {
        return Err(format!("{path} is empty"));
    }
    let name = there.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if may_hold_secrets(&there) {
        return Err(format!("{name} looks like a secret and is not sent"));
    }
    outbox.files.push(FileRef {
        path: there.display().to_string(),
        mime: media_type(&there).to_owned(),
        name: Some(name.clone()),
    });
    Ok(format!("{name} goes out with the answer."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests lay files down as Claude would")]
    use super::*;

    /// Claude heard that these go out with the answer, and telegram did not send them.
    #[test]
    fn what_would_not_be_sent_is_refused_to_claude_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let thread = serde_json::json!({ "name": "calendar", "cwd": dir.path() });
        let thread: Thread = serde_json::from_value(thread).unwrap();
        let mut outbox = Outbox::default();
        let secret = [".env", ".npmrc", ".aws/config", ".gnupg/ring", ".tinyclaw/x", "secrets/x"];
        let keys = ["a.pem", "a.key", "a.p12", "a.pfx", "a.kdbx", "id_rsa.old"];
        for path in secret.into_iter().chain(keys) {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "x").unwrap();
            let why = send_file(&thread, &mut outbox, path).expect_err(path);
            assert!(why.ends_with("looks like a secret and is not sent"), "{path}: {why}");
        }
        std::fs::write(dir.path().join("empty.txt"), "").unwrap();
        assert_eq!(send_file(&thread, &mut outbox, "empty.txt").unwrap_err(), "empty.txt is empty");
        std::fs::write(dir.path().join("plan.md"), "# Plan").unwrap();
        assert_eq!(
            send_file(&thread, &mut outbox, "plan.md").unwrap(),
            "plan.md goes out with the answer."
        );
        assert_eq!(outbox.files.len(), 1);
        assert_eq!(outbox.files[0].mime, "text/markdown");
    }
}
