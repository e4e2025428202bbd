//! What is said to Claude: text, pictures and PDFs.
//!
//! A file is looked at before it is sent, because Claude drops bytes that are not the picture they claim to be, and
//! says nothing about it. What is neither a picture nor a PDF is not sent: name its path in the text instead.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The largest attachment that is sent inside a prompt. The API takes requests of 32 MB.
const ATTACHMENT_BYTES_MAX: u64 = 20 * 1024 * 1024;

/// One piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Words.
    Text(String),
    /// A PNG, JPEG, GIF, WebP or PDF on disk.
    File(PathBuf),
}

/// A file that cannot be part of a prompt.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} has {bytes} bytes, {ATTACHMENT_BYTES_MAX} is the most that fits in a prompt", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is something else.
    #[error("{} is neither PNG, JPEG, GIF, WebP nor PDF; name its path in the text instead", path.display())]
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
        let path = match self {
            Content::Text(text) => return Ok(json!({ "type": "text", "text": text })),
            Content::File(path) => path,
        };
        let bytes = read(path)?;
        let Some(mime) = kind(&bytes) else {
            return Err(ContentError::Unknown { path: path.clone() });
        };
        let block = if mime == "application/pdf" { "document" } else { "image" };
        let source = json!({ "type": "base64", "media_type": mime, "data": base64(&bytes) });
        Ok(json!({ "type": block, "source": source }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ContentError> {
    let fail = |source| ContentError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let bytes = file.metadata().map_err(fail)?.len();
    if bytes > ATTACHMENT_BYTES_MAX {
        return Err(ContentError::TooLarge { path: path.to_owned(), bytes });
    }
    let mut read = Vec::new();
    file.take(ATTACHMENT_BYTES_MAX).read_to_end(&mut read).map_err(fail)?;
    Ok(read)
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

    #[test]
    fn bytes_that_are_no_picture_are_refused_aloud() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("photo.png");
        std::fs::write(&path, b"<html>").unwrap();
        let err = Content::to_wire(&[Content::File(path.clone())]).unwrap_err();
        assert!(matches!(err, ContentError::Unknown { .. }));
        std::fs::write(&path, b"\x89PNG\r\n\x1a\n...").unwrap();
        let wire = Content::to_wire(&[Content::Text("look".to_owned()), Content::File(path)]);
        assert_eq!(wire.unwrap()[1]["source"]["media_type"], "image/png");
    }
}
