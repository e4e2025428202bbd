//! Files from people: fetched from Telegram into `files/<thread>/`, under names that are safe.
//!
//! Refused by their size before anything is fetched.

use std::time::Duration;

use teloxide::payloads::GetFile;
use teloxide::types::FileId;
use tinyclaw_domain::{FileRef, ThreadId};

use crate::bot::client::{CallError, Client, Refusal};
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
    office: &tinyclaw_client::Client,
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
                let named = tinyclaw_client::Attachment {
                    name: &file.name,
                    mime: &file.mime,
                    bytes: &bytes,
                };
                let kept = tokio::task::block_in_place(|| office.attach(thread, update, named));
                return match kept {
                    Ok(kept) => Ok(Fetched { kept, bytes }),
                    Err(err) => {
                        tracing::error!("cannot keep a received file: {err}");
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
