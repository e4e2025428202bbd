//! `send_file`: a file of the desk's directory goes out with the answer. Nothing beside it, and no secret.

use std::path::Path;

use tinyclaw_disk::foreign::{ForeignError, replace_below};
use tinyclaw_domain::{Channel, FileRef, Message, Place, Thread, safe_name};
use tinyclaw_engine::{Desk, FoundFile, LookError};
use tinyclaw_service::{may_hold_secrets, media_type};

use crate::blocking::on_disk;
use crate::tools::Tools;
use crate::tools::outbox::{Outbox, SENT_MAX};

/// Telegram takes no larger document.
const FILE_BYTES_MAX: u64 = 50 * 1000 * 1000;

impl Tools {
    pub(super) async fn send_file(
        &self,
        message: &Message,
        thread: &Thread,
        outbox: &mut Outbox,
        path: &str,
    ) -> Result<String, String> {
        if outbox.files.len() >= SENT_MAX {
            return Err(format!("{SENT_MAX} files are the most in one turn"));
        }
        let desk = Desk::of(&message.thread_id, thread);
        let look = self.engine.look(&desk.place).map_err(|err| err.to_string())?;
        let found = look.find_file(&desk, Path::new(path)).await.map_err(|err| match err {
            LookError::Foreign(ForeignError::Missing(_)) => format!("there is no file {path}"),
            LookError::Foreign(ForeignError::Outside(_)) => {
                format!("{path} is outside this thread's directory; copy it there first")
            }
            LookError::Foreign(ForeignError::NotAFile(_)) => format!("{path} is not a file"),
            other => format!("{path} cannot be looked at: {other}"),
        })?;
        let name = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(why) = refusal(&found, path) {
            return Err(why);
        }
        let is_ours = self.engine.users().is_none();
        let there = match desk.place {
            Place::Here if is_ours && message.channel != Channel::Api => {
                found.path.display().to_string()
            }
            // Whoever sends it reads what is this machine's and the office's user's alone; whoever asked over HTTP fetches it
            // later, from what the office keeps.
            _ => {
                let bytes = look.get(&desk, &found.below, FILE_BYTES_MAX).await;
                let bytes = bytes.map_err(|err| format!("{path} cannot be fetched: {err}"))?;
                let kept = on_disk(|| self.keep(message, outbox.files.len() + 1, &name, &bytes));
                kept.map_err(|err| format!("{path} cannot be kept: {err}"))?
            }
        };
        outbox.files.push(FileRef {
            path: there,
            mime: media_type(&found.path).to_owned(),
            name: Some(name.clone()),
        });
        Ok(format!("{name} goes out with the answer."))
    }

    /// Keeps a file of another place until it is sent, under a name of our making. Returns its path below the state folder.
    fn keep(
        &self,
        message: &Message,
        number: usize,
        name: &str,
        bytes: &[u8],
    ) -> Result<String, String> {
        let name = format!("box-{}-{number}-{}", message.key, safe_name(name));
        let folder = self.state.files(&message.thread_id);
        std::fs::create_dir_all(&folder).map_err(|err| err.to_string())?;
        let written = replace_below(&folder, Path::new(&name), bytes, 0o600);
        written.map_err(|err| err.to_string())?;
        Ok(format!("files/{}/{name}", message.thread_id))
    }
}

/// Why this file does not go out: what telegram would not send is refused to Claude at once.
fn refusal(found: &FoundFile, path: &str) -> Option<String> {
    if found.bytes > FILE_BYTES_MAX {
        return Some(format!("{path} has {} bytes; {FILE_BYTES_MAX} are the most", found.bytes));
    }
    if found.bytes == 0 {
        return Some(format!("{path} is empty"));
    }
    let name = found.path.file_name().unwrap_or_default().to_string_lossy();
    may_hold_secrets(&found.path).then(|| format!("{name} looks like a secret and is not sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, bytes: u64) -> Option<String> {
        let found = FoundFile { path: Path::new("/desk").join(path), below: path.into(), bytes };
        refusal(&found, path)
    }

    /// Claude heard that these go out with the answer, and telegram did not send them.
    #[test]
    fn what_would_not_be_sent_is_refused_to_claude_at_once() {
        let secret = [".env", ".npmrc", ".aws/config", ".gnupg/ring", ".tinyclaw/x", "secrets/x"];
        let keys = ["a.pem", "a.key", "a.p12", "a.pfx", "a.kdbx", "id_rsa.old"];
        for path in secret.into_iter().chain(keys) {
            let why = refused(path, 1).expect(path);
            assert!(why.ends_with("looks like a secret and is not sent"), "{path}: {why}");
        }
        assert_eq!(refused("empty.txt", 0).as_deref(), Some("empty.txt is empty"));
        assert_eq!(refused("plan.md", 6), None);
        assert!(refused("film.mp4", FILE_BYTES_MAX + 1).is_some());
    }
}
