//! What is said to Claude: text, pictures and PDFs.
//!
//! A file is looked at before it is sent, because Claude drops bytes that are not the picture they claim to be, and
//! says nothing about it. What is neither a picture nor a PDF is not sent: name its path in the text instead. Somebody
//! else's Claude may have put another file in its place, so no link is followed and nothing but a file is opened.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tinyclaw_disk::foreign::{ForeignError, read_below};

/// The largest attachment that is sent inside a prompt. The API takes requests of 32 MB.
const ATTACHMENT_BYTES_MAX: u64 = 20 * 1024 * 1024;

/// One piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Words.
    Text(String),
    /// A PNG, JPEG, GIF, WebP or PDF on disk.
    File {
        /// The folder that is trusted.
        root: PathBuf,
        /// Where it lies in it.
        below: PathBuf,
    },
}

/// A file that cannot be part of a prompt.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It cannot be read, is too large, or is no file at all.
    #[error(transparent)]
    Read(#[from] ForeignError),
    /// It is something else.
    #[error("{} is no picture Claude can read", name(path))]
    Unknown {
        /// The file.
        path: PathBuf,
    },
}

impl Content {
    /// Whether Claude takes a file of this MIME type inside a prompt.
    pub fn takes(mime: &str) -> bool {
        matches!(mime, "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "application/pdf")
    }

    /// The `content` of a user message. Reads the files; blocks the thread.
    pub(crate) fn to_wire(all: &[Content]) -> Result<Value, ContentError> {
        if let [Content::Text(text)] = all {
            return Ok(json!(text));
        }
        all.iter().map(Content::block).collect::<Result<Vec<_>, _>>().map(Value::from)
    }

    fn block(&self) -> Result<Value, ContentError> {
        let (root, below) = match self {
            Content::Text(text) => return Ok(json!({ "type": "text", "text": text })),
            Content::File { root, below } => (root, below),
        };
        let bytes = read_below(root, below, ATTACHMENT_BYTES_MAX)?;
        let Some(mime) = kind(&bytes) else {
            return Err(ContentError::Unknown { path: root.join(below) });
        };
        let block = if mime == "application/pdf" { "document" } else { "image" };
        let source = json!({ "type": "base64", "media_type": mime, "data": base64(&bytes) });
        Ok(json!({ "type": block, "source": source }))
    }
}

/// What a person called a file. It lies under the number of the message that brought it and this name.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = name
        .split_once('_')
        .filter(|(number, _)| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()));
    plain.map_or_else(|| name.to_string(), |(_, it)| it.to_owned())
}

fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => None,
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use super::*;

    #[test]
    fn base64_is_what_everybody_else_writes() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    fn file(dir: &tempfile::TempDir, below: &str) -> Content {
        Content::File { root: dir.path().to_owned(), below: below.into() }
    }

    #[test]
    fn bytes_that_are_no_picture_are_refused_aloud() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("812345001_photo.png");
        std::fs::write(&path, b"<html>").unwrap();
        let err = Content::to_wire(&[file(&dir, "812345001_photo.png")]).unwrap_err();
        assert_eq!(err.to_string(), "photo.png is no picture Claude can read");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\n...").unwrap();
        let wire = Content::to_wire(&[
            Content::Text("look".to_owned()),
            file(&dir, "812345001_photo.png"),
        ]);
        assert_eq!(wire.unwrap()[1]["source"]["media_type"], "image/png");
    }

    /// A pipe in a picture's place held the turn for ever, and a link sent another thread's picture.
    #[test]
    fn what_was_put_in_a_pictures_place_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("42")).unwrap();
        std::fs::write(dir.path().join("secret.png"), b"\x89PNG\r\n\x1a\n...").unwrap();
        let there = dir.path().join("42/photo.png");
        std::os::unix::fs::symlink(dir.path().join("secret.png"), &there).unwrap();
        let refused = || Content::to_wire(&[file(&dir, "42/photo.png")]).unwrap_err().to_string();
        assert!(refused().contains("is a link"), "{}", refused());
        std::fs::remove_file(&there).unwrap();
        nix::unistd::mkfifo(&there, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused().contains("is no regular file"), "{}", refused());
        std::fs::remove_file(&there).unwrap();
        std::fs::File::create(&there).unwrap().set_len(1 << 40).unwrap();
        assert!(refused().contains("is larger than"), "{}", refused());
        // The whole folder.
        std::fs::remove_dir_all(dir.path().join("42")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("42")).unwrap();
        std::fs::write(dir.path().join("photo.png"), b"\x89PNG\r\n\x1a\n...").unwrap();
        assert!(refused().contains("is a link"), "{}", refused());
    }
}
