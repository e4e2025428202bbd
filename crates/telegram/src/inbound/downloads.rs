//! Files from people: fetched from Telegram into `files/<thread>/`, under names that are safe.
//!
//! Refused by their size before anything is fetched.

use std::time::Duration;

use anyhow::Context;
use teloxide::payloads::GetFile;
use teloxide::types::FileId;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{FileRef, ThreadId};

use crate::bot::client::{CallError, Refusal};
use crate::face::Face;
use crate::inbound::decode::Attachment;

/// The Bot API hands out nothing larger.
pub(crate) const BYTES_MAX: u64 = 20 * 1024 * 1024;
/// A name is shortened to this.
const NAME_BYTES_MAX: usize = 100;
/// How often a fetch is tried.
const TRIES: u32 = 3;

/// A file that was fetched.
pub(crate) struct Fetched {
    /// What a message says of it.
    pub(crate) kept: FileRef,
    /// What came from Telegram. Where it is kept, the thread's agent may write something else by now.
    pub(crate) bytes: Vec<u8>,
}

/// Fetches a file and keeps it for the thread. The error is for the person who sent it.
pub(crate) async fn fetch(
    face: &Face,
    thread: &ThreadId,
    update: i64,
    file: &Attachment,
) -> Result<Fetched, String> {
    let too_big = || format!("{} is larger than 20 MB, which is all a bot may fetch", file.name);
    if file.bytes > BYTES_MAX && file.bytes != u64::from(u32::MAX) {
        return Err(too_big());
    }
    let mut wait = Duration::from_secs(1);
    for attempt in 1..=TRIES {
        match fetch_once(face, file).await {
            Ok(bytes) => {
                let kept = tokio::task::block_in_place(|| keep(face, thread, update, file, &bytes));
                return match kept {
                    Ok(kept) => Ok(Fetched { kept, bytes }),
                    Err(err) => {
                        tracing::error!("cannot keep a received file: {err:#}");
                        Err(format!("{} could not be kept: {err}", file.name))
                    }
                };
            }
            Err(err) if err.refusal() == Some(Refusal::FileTooBig) => return Err(too_big()),
            Err(err) => {
                tracing::warn!(attempt, "a file could not be fetched: {err}");
                if attempt == TRIES || err.refusal().is_some() {
                    return Err(format!("{} could not be fetched from Telegram", file.name));
                }
                if let CallError::Flood { wait: asked, .. } = err {
                    wait = wait.max(asked);
                }
                tokio::time::sleep(wait).await;
                // An outage costs one try, however long it takes.
                face.client.line().up().await;
                wait *= 2;
            }
        }
    }
    Err(format!("{} could not be fetched from Telegram", file.name))
}

async fn fetch_once(face: &Face, file: &Attachment) -> Result<Vec<u8>, CallError> {
    let answer = face.client.call(&GetFile::new(FileId(file.id.clone()))).await?;
    let path = answer["file_path"].as_str().unwrap_or_default();
    face.client.download(path, BYTES_MAX as usize).await
}

fn keep(
    face: &Face,
    thread: &ThreadId,
    update: i64,
    file: &Attachment,
    bytes: &[u8],
) -> anyhow::Result<FileRef> {
    let name = format!("{update}_{}", safe_name(&file.name));
    let (there, path) = face.place_for_file(thread, &name).context("cannot make the folder")?;
    tinyclaw_disk::replace(&there, bytes, Flush::Strict)?;
    Ok(FileRef { path, mime: file.mime.clone(), name: Some(file.name.clone()) })
}

/// A name that is one, whatever it was: no folders, no leading dot, no control characters, not too long.
pub(crate) fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .map(|it| if it.is_alphanumeric() || "._-+ ()".contains(it) { it } else { '_' })
        .collect();
    let clean = clean.trim().trim_start_matches('.').trim_start_matches('-');
    let mut out = clean.to_owned();
    if out.len() > NAME_BYTES_MAX {
        // The extension says what it is.
        let extension =
            out.rfind('.').filter(|it| out.len() - it <= 12).map(|it| out[it..].to_owned());
        let extension = extension.unwrap_or_default();
        out.truncate(out.floor_char_boundary(NAME_BYTES_MAX - extension.len()));
        out.push_str(&extension);
    }
    if out.is_empty() { "file".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_stranger_is_only_a_name() {
        for (name, safe) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\x.exe", "x.exe"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a\nb\0c.txt", "a_b_c.txt"),
            ("Übersicht (1).md", "Übersicht (1).md"),
            ("///", "file"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
        let long = safe_name(&format!("{}.pdf", "ä".repeat(300)));
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with(".pdf"), "{long}");
    }
}
