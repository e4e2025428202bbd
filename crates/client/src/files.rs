//! The files that go with messages, and answers that are too long for one.
//!
//! They lie below `files/<thread>/`, under names that are safe whoever chose them. How large a file may be is for the caller to say.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::string::FromUtf8Error;

use tinyclaw_disk::foreign::{ForeignError, read_below};
use tinyclaw_disk::{DiskError, Flush, replace};
use tinyclaw_domain::{FileRef, Reply, ThreadId, safe_name};

use crate::Client;

/// An answer in a file is no longer than this.
const TEXT_BYTES_MAX: u64 = 50 << 20;

/// A file that goes with a message.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// What its sender calls it.
    pub name: &'a str,
    /// Its media type.
    pub mime: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// A file could not be kept.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum AttachError {
    #[error("cannot make the folder for files of thread {thread}")]
    MakeFolder { thread: ThreadId, source: io::Error },
    #[error(transparent)]
    Write(#[from] DiskError),
}

/// The text of a reply cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum TextError {
    #[error("cannot show the answer in {file:?}")]
    Read { file: String, source: ForeignError },
    #[error("{file:?} is not text")]
    NotText { file: String, source: FromUtf8Error },
}

impl Client {
    /// Keeps a file where the thread's Claude may read it, and returns what a message says of it. It is on disk, flushed,
    /// when this returns.
    ///
    /// `mark` stands before its name and tells it from others: what was kept under the same mark and name is replaced.
    pub fn attach(
        &self,
        thread: &ThreadId,
        mark: impl Display,
        file: Attachment<'_>,
    ) -> Result<FileRef, AttachError> {
        let folder = self.state.files(thread);
        if let Err(source) = std::fs::create_dir_all(&folder) {
            return Err(AttachError::MakeFolder { thread: thread.clone(), source });
        }
        let kept = format!("{mark}_{}", safe_name(file.name));
        replace(&folder.join(&kept), file.bytes, Flush::Strict)?;
        Ok(FileRef {
            path: format!("files/{thread}/{kept}"),
            mime: file.mime.to_owned(),
            name: Some(file.name.to_owned()),
        })
    }

    /// The whole text of a reply, also of one that was too long for its message.
    pub fn text(&self, reply: &Reply) -> Result<String, TextError> {
        let Some(file) = reply.file.clone() else { return Ok(reply.text.clone()) };
        match read_below(self.state.root(), Path::new(&file), TEXT_BYTES_MAX) {
            Ok(bytes) => {
                String::from_utf8(bytes).map_err(|source| TextError::NotText { file, source })
            }
            Err(source) => Err(TextError::Read { file, source }),
        }
    }
}
