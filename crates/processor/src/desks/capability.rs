//! A thread's capability for the credential broker: a short-lived, signed permission for the thread's own repository,
//! in place of a client's secret. Written where the thread's Claude may read it, renewed before each turn.
//!
//! The format is the broker's (`broker/README.md`): `tcap1.HEX(payload).HEX(HMAC-SHA256)`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmac::{Hmac, Mac};
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::Sha256;
use tinyclaw_disk::{Flush, replace};
use tinyclaw_domain::{StateDir, Thread, ThreadId};
use tinyclaw_engine::Desk;
use tinyclaw_service::now_ms;

use crate::desks::threads::Desks;

/// Much shorter than a day,
const LIFETIME_S: u64 = 2 * 3_600;
/// and renewed well before its end while a turn runs.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(3_600);

/// A capability's name in `files/<thread>/`, which only that thread's Claude may read.
pub(crate) const FILE: &str = ".capability";

fn path(state: &StateDir, thread: &ThreadId) -> PathBuf {
    state.files(thread).join(FILE)
}

/// Writes a thread's capability anew. Without a signing secret, or for a thread without a repository, there is none;
/// nor for one of another place, where nobody is told of this machine's files.
pub(crate) fn renew(desks: &Desks, id: &ThreadId, thread: &Thread) {
    if let Some(repo) = thread.repo.as_ref().filter(|_| thread.place().0.is_here()) {
        write(desks, id, repo);
    }
}

/// Brings it to a desk that is a user of its own, and that reads nothing of the office's.
pub(crate) async fn bring(desks: &Desks, desk: &Desk) {
    let (folder, name) = (desks.state.files(&desk.thread), Path::new(FILE));
    if desks.engine.users().is_none() || !desk.place.is_here() || !folder.join(name).is_file() {
        return;
    }
    let brought = match desks.engine.look(&desk.place) {
        Ok(look) => look.put(desk, &folder, name).await.map(drop),
        Err(err) => Err(err.into()),
    };
    if let Err(err) = brought {
        let id = &desk.thread;
        tracing::error!(thread.id = %id, "thread {id} has no fresh capability for the broker: {err}");
    }
}

/// Writes a thread's capability for a repository where its Claude finds it. Nothing without a signing secret.
fn write(desks: &Desks, id: &ThreadId, repo: &str) {
    write_to(desks, &path(&desks.state, id), id, repo);
}

/// Writes the same for a program of the office's own, away from what the agent may change: a link in the place of the
/// other one would have the office use another desk's. `None` without a signing secret.
pub(crate) fn for_office(desks: &Desks, id: &ThreadId, repo: &str) -> Option<PathBuf> {
    let path = desks.state.mirrors().join(format!(".capability-{id}"));
    write_to(desks, &path, id, repo).then_some(path)
}

/// The same for a token that is handed on to the devbox of this thread. Two that are asked for at once have each their own.
#[cfg(feature = "devboxes")]
pub(crate) fn for_devbox(desks: &Desks, id: &ThreadId, repo: &str) -> Option<PathBuf> {
    let name = format!(".capability-{id}-{}", uuid::Uuid::new_v4().simple());
    let path = desks.state.mirrors().join(name);
    write_to(desks, &path, id, repo).then_some(path)
}

/// Whether it stands there now.
fn write_to(desks: &Desks, path: &Path, id: &ThreadId, repo: &str) -> bool {
    let settings = desks.settings.current();
    let Some(secret) = settings.github.capability_secret.as_ref() else { return false };
    let payload = json!({
        "thread": id.to_string(),
        "repositories": [repo],
        "permissions": { "contents": "write", "pull_requests": "write", "issues": "write", "metadata": "read" },
        "expires": now_ms() / 1_000 + LIFETIME_S,
    });
    let text = sign(&payload.to_string(), secret.expose_secret().trim());
    let written =
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|err| err.to_string()).and_then(
            |()| replace(path, text.as_bytes(), Flush::None).map_err(|err| err.to_string()),
        );
    if let Err(err) = written {
        tracing::error!(thread.id = %id, "thread {id} has no fresh capability for the broker: {err}");
        return false;
    }
    true
}

fn sign(payload: &str, secret: &str) -> String {
    let mut text = "tcap1.".to_owned();
    hex(payload.as_bytes(), &mut text);
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return text };
    mac.update(text.as_bytes());
    let signature = mac.finalize().into_bytes();
    text.push('.');
    hex(&signature, &mut text);
    text
}

fn hex(bytes: &[u8], to: &mut String) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(to, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_signed_as_the_brokers_vector_says() {
        let payload = r#"{"thread":"42","repositories":["acme/site"],"permissions":{"contents":"write"},"expires":1771238167}"#;
        let signed = sign(payload, "an example of a signing secret, 32+");
        assert!(signed.starts_with("tcap1.7b22746872656164223a223432222c"), "{signed}");
        assert!(
            signed.ends_with(".72fe8b8a98e9e037934e42d255cace318c50581c507d201b11788f1509d0f9a0"),
            "{signed}"
        );
    }
}
