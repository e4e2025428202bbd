//! Files from people: fetched from Telegram into `files/<thread>/`, under names that are safe.
//!
//! Refused by their size before anything is fetched.

use std::time::Duration;

use anyhow::Context;
use teloxide::payloads::GetFile;
use teloxide::types::FileId;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{FileRef, ThreadId};
use tinyclaw_ledger::StateDir;

use crate::bot::client::{CallError, Client, Refusal};
use crate::files::{self, safe_name};
use crate::inbound::decode::Attachment;

/// The Bot API hands out nothing larger.
pub(crate) const BYTES_MAX: u64 = 20 * 1024 * 1024;
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
    client: &Client,
    state: &StateDir,
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
        match fetch_once(client, file).await {
            Ok(bytes) => {
                let kept =
                    tokio::task::block_in_place(|| keep(state, thread, update, file, &bytes));
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
                client.connection().up().await;
                wait *= 2;
            }
        }
    }
    Err(format!("{} could not be fetched from Telegram", file.name))
}

async fn fetch_once(client: &Client, file: &Attachment) -> Result<Vec<u8>, CallError> {
    let answer = client.call(&GetFile::new(FileId(file.id.clone()))).await?;
    let path = answer["file_path"].as_str().unwrap_or_default();
    client.download(path, BYTES_MAX as usize).await
}

fn keep(
    state: &StateDir,
    thread: &ThreadId,
    update: i64,
    file: &Attachment,
    bytes: &[u8],
) -> anyhow::Result<FileRef> {
    let name = format!("{update}_{}", safe_name(&file.name));
    let (there, path) = files::place(state, thread, &name).context("cannot make the folder")?;
    tinyclaw_disk::replace(&there, bytes, Flush::Strict)?;
    Ok(FileRef { path, mime: file.mime.clone(), name: Some(file.name.clone()) })
}
