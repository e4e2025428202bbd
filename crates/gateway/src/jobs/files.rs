//! Files of sessions: what a caller puts there for Claude to read, and what Claude sends with an answer.
//!
//! They lie below `files/<thread>/`, under names that are safe whoever chose them. An agent may have put anything under such a
//! name by the time it is read, so no link is followed, and nothing but a plain file is opened.

use std::path::Path;

use axum::http::StatusCode;
use tinyclaw_client::Attachment;
use tinyclaw_disk::Room;
use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::{EnvName, FileRef, ThreadId};
use tinyclaw_service::media_type;

use super::{FAMILY, Jobs, blocking, fresh_ulid, unavailable};
use crate::event::Invalid;
use crate::problem::Problem;

/// So large a file of a caller's may be.
pub(crate) const FILE_BYTES_MAX: usize = 20 << 20;
/// So many go with one prompt,
pub(crate) const FILES_MAX: usize = 10;
/// and so many, and so many bytes, lie in one session.
const SESSION_FILES_MAX: usize = 200;
const SESSION_BYTES_MAX: u64 = 200 << 20;
/// So much of the disk stays free.
const RESERVE_BYTES: u64 = 256 << 20;
/// What an answer sends is no larger.
const SENT_BYTES_MAX: u64 = 50 << 20;

impl Jobs {
    /// Keeps a file in a session, and tells what a prompt calls it.
    pub(crate) async fn put_file(
        &self,
        env: &EnvName,
        session: &str,
        name: String,
        bytes: axum::body::Bytes,
    ) -> Result<FileRef, Problem> {
        let (session, _) = self.session(env, session).await?;
        let thread = ThreadId::of_env(env, &session);
        let (client, folder) = (self.client().await?.clone(), self.state.files(&thread));
        let root = self.state.root().to_owned();
        let full =
            |detail: &str| Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail);
        let kept = blocking(move || {
            let (count, size) = weigh(&folder);
            if count >= SESSION_FILES_MAX || size + bytes.len() as u64 > SESSION_BYTES_MAX {
                return Err(full(
                    "this session has all the files that one may have; begin another",
                ));
            }
            if Room::of(&root).is_ok_and(|it| it.available < RESERVE_BYTES + bytes.len() as u64) {
                return Err(full("there is no room for files on the disk").retry_after(30));
            }
            let mime = media_type(Path::new(&name));
            let mark = format!("{FAMILY}-{}", fresh_ulid());
            let file = Attachment { name: &name, mime, bytes: &bytes };
            client.attach(&thread, mark, file).map_err(|err| unavailable(&format!("{err}")))
        });
        kept.await?
    }

    /// The files of a session that a prompt names.
    pub(super) async fn files(
        &self,
        thread: &ThreadId,
        names: Vec<String>,
    ) -> Result<Vec<FileRef>, Problem> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        if names.len() > FILES_MAX {
            let detail = format!("has more than {FILES_MAX} files");
            return Err(Problem::invalid(Invalid::at("/files", detail)));
        }
        let (folder, thread) = (self.state.files(thread), thread.clone());
        let found = blocking(move || {
            let one = |(at, kept): (usize, &String)| -> Result<FileRef, Problem> {
                let unknown = || {
                    let detail =
                        format!("/files/{at}: no file of that name was put into this session");
                    Problem::new(StatusCode::NOT_FOUND, "unknown_file", detail)
                };
                // As `put_file` names them: by callers, and nobody else.
                let name = kept.strip_prefix("api-").and_then(|it| it.split_once('_'));
                let (_, name) = name.filter(|_| !kept.contains('/')).ok_or_else(unknown)?;
                foreign::open_below(&folder, Path::new(kept)).map_err(|_| unknown())?;
                let mime = media_type(Path::new(name)).to_owned();
                let path = format!("files/{thread}/{kept}");
                Ok(FileRef { path, mime, name: Some(name.to_owned()) })
            };
            names.iter().enumerate().map(one).collect()
        });
        found.await?
    }

    /// What is in a file that an answer sends.
    pub(crate) async fn sent_file(&self, file: &FileRef) -> Result<Vec<u8>, Problem> {
        let gone = |detail: &str| Problem::new(StatusCode::NOT_FOUND, "unknown_file", detail);
        // What goes out over Telegram lies at the desk, which nobody here looks into.
        if !file.path.starts_with("files/") {
            return Err(gone("this file went to the thread, and is not kept here"));
        }
        let (root, path) = (self.state.root().to_owned(), file.path.clone());
        let read =
            blocking(move || foreign::read_below(&root, Path::new(&path), SENT_BYTES_MAX)).await?;
        read.map_err(|err| match err {
            ForeignError::Io { .. } => unavailable("the file cannot be read"),
            _ => gone("the file is there no more"),
        })
    }
}

/// How many files lie in a folder, and how large they are together.
fn weigh(folder: &Path) -> (usize, u64) {
    let names = foreign::names_below(folder, Path::new("")).unwrap_or_default();
    let size = |name: &std::ffi::OsString| {
        foreign::open_below(folder, Path::new(name)).map_or(0, |it| it.about().len())
    };
    (names.len(), names.iter().map(size).sum())
}
