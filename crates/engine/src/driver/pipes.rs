//! The three pipes of a process, each with a task of its own, so that no side ever waits for the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use crate::wire::Line;

/// A longer line is dropped: a picture in a tool's result can be large, but not like this.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Lines read ahead of the driver.
const LINES_AHEAD: usize = 256;
/// How much of stderr is kept.
const STDERR_BYTES_MAX: usize = 16 * 1024;

/// Reads and understands lines until the end, each with where it ends in the output; the first byte has this offset. A line
/// that is longer than `line_max` is dropped.
pub(super) fn read(
    from: Box<dyn AsyncRead + Send + Unpin>,
    mut offset: u64,
    line_max: usize,
) -> mpsc::Receiver<(Line, u64)> {
    let (to, lines) = mpsc::channel(LINES_AHEAD);
    tokio::spawn(async move {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        let mut line = Vec::new();
        let mut is_too_long = false;
        loop {
            let Ok(chunk) = from.fill_buf().await else { return };
            if chunk.is_empty() {
                return;
            }
            let end = chunk.iter().position(|it| *it == b'\n');
            let used = end.map_or(chunk.len(), |it| it + 1);
            if line.len() + used > line_max {
                is_too_long = true;
                line.clear();
            }
            if !is_too_long {
                line.extend_from_slice(&chunk[..end.unwrap_or(used)]);
            }
            from.consume(used);
            offset += used as u64;
            if end.is_none() {
                continue;
            }
            let parsed = if std::mem::take(&mut is_too_long) {
                Line::Unknown("too long".to_owned())
            } else {
                Line::parse(&line)
            };
            line.clear();
            line.shrink_to(1024 * 1024);
            if to.send((parsed, offset)).await.is_err() {
                return;
            }
        }
    });
    lines
}

/// Writes lines, never waiting.
#[derive(Debug)]
pub(super) struct Pen {
    lines: Option<mpsc::UnboundedSender<Vec<u8>>>,
    written: u64,
}

/// A line as it is written.
pub(super) fn encode(line: &Value) -> Vec<u8> {
    let mut bytes = line.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

impl Pen {
    /// `written`: how many bytes an earlier process wrote.
    pub(super) fn new(mut to: Box<dyn AsyncWrite + Send + Unpin>, written: u64) -> Pen {
        let (lines_to, mut lines) = mpsc::unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                if to.write_all(&line).await.is_err() || to.flush().await.is_err() {
                    // It is gone; its stdout will say so.
                    return;
                }
            }
        });
        Pen { lines: Some(lines_to), written }
    }

    pub(super) fn write(&mut self, line: &Value) {
        self.write_encoded(encode(line));
    }

    /// A line of [`encode`].
    pub(super) fn write_encoded(&mut self, bytes: Vec<u8>) {
        if let Some(to) = &self.lines {
            self.written += bytes.len() as u64;
            let _ = to.send(bytes);
        }
    }

    /// How many bytes were written to this process, by whomever.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// End of file, after what was written so far.
    pub(super) fn close(&mut self) {
        self.lines = None;
    }
}

/// The end of what came on stderr.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    pub(super) fn text(&self) -> String {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(bytes.make_contiguous()).into_owned()
    }
}

pub(super) fn tail(mut from: Box<dyn AsyncRead + Send + Unpin>) -> Tail {
    let tail = Tail::default();
    let kept = tail.clone();
    tokio::spawn(async move {
        let mut chunk = [0; 4096];
        loop {
            let read = from.read(&mut chunk).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            let mut bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.extend(&chunk[..read]);
            let surplus = bytes.len().saturating_sub(STDERR_BYTES_MAX);
            bytes.drain(..surplus);
        }
    });
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_of_any_length_is_one_line() {
        let text = "x".repeat(300_000);
        let wire = format!(
            "{{\"type\":\"user\",\"isReplay\":true,\"uuid\":\"{text}\"}}\nnoise\n{{\"type\":\"a\"}}"
        );
        let length = wire.len() as u64;
        let mut lines =
            read(Box::new(std::io::Cursor::new(wire.into_bytes())), 100, LINE_BYTES_MAX);
        let (first, end) = lines.recv().await.unwrap();
        assert_eq!((first, end > 300_100), (Line::Replay { uuid: Some(text) }, true));
        let torn = "{\"type\":\"a\"}".len() as u64;
        assert_eq!(lines.recv().await, Some((Line::Garbage, 100 + length - torn)));
        // The torn last line of a process that died is not one.
        assert_eq!(lines.recv().await, None);
    }

    #[tokio::test]
    async fn what_a_devbox_says_in_one_line_has_a_limit() {
        const MOST: usize = 256 * 1024;
        let endless = [vec![b'x'; 10 * MOST], b"\n".to_vec()].concat();
        let odd = b"\xff\xfe\0 no JSON\n".to_vec();
        let known = b"{\"type\":\"user\",\"isReplay\":true,\"uuid\":\"u\"}\n".to_vec();
        let all = [endless, odd, known].concat();
        let length = all.len() as u64;
        let mut lines = read(Box::new(std::io::Cursor::new(all)), 7, MOST);
        let (first, _) = lines.recv().await.unwrap();
        assert_eq!(first, Line::Unknown("too long".to_owned()));
        assert_eq!(lines.recv().await.map(|it| it.0), Some(Line::Garbage));
        let heard = (Line::Replay { uuid: Some("u".to_owned()) }, length + 7);
        assert_eq!(lines.recv().await, Some(heard), "what comes after it is heard");
        assert_eq!(lines.recv().await, None);
    }
}
