//! The story of a turn while it is written: every line of its log in order, and what became of the message at last.
//!
//! It tells nothing that is not on disk, and keeps nothing for a reader that is slow: the log does.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tinyclaw_domain::{JobId, JobLine, Key};
use tinyclaw_ledger::JobReader;

use crate::{Client, Ending, WaitError};

/// The log is looked at so often. Lines are written fifty a second at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a stream tells next.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Something happened in the turn.
    Line(JobLine),
    /// Something has become of the message, and every line before that was told. The reply says what counts: a log may lack
    /// its tail.
    Ended(Ending),
}

/// A stream cannot go on. The next call tries again.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum StreamError {
    #[error("cannot read the story of message {key}")]
    Read { key: Key, source: io::Error },
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// The story of one message. Two streams of the same message do not know of each other.
pub struct Stream {
    client: Client,
    key: Key,
    reader: JobReader,
    /// Read, and not told yet.
    lines: VecDeque<JobLine>,
    /// Until it is known what became of the message.
    wait: Option<Wait>,
    ended: Option<Ending>,
}

type Wait = Pin<Box<dyn Future<Output = Result<Ending, WaitError>> + Send>>;

impl Client {
    /// The story of a message from its beginning. The message may wait yet, or have ended long ago.
    pub fn stream(&self, key: &Key) -> Stream {
        self.stream_after(key, JobId::default())
    }

    /// The story of a message from the line after `last`, for somebody who has read up to there.
    pub fn stream_after(&self, key: &Key, last: JobId) -> Stream {
        let reader = JobReader::open(&self.state, key, last);
        let (client, key) = (self.clone(), key.clone());
        Stream { client, key, reader, lines: VecDeque::new(), wait: None, ended: None }
    }
}

impl Stream {
    /// What comes next: lines, and the ending after the last of them, which is told again from then on. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Result<Told, StreamError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Told::Line(line));
            }
            let read = self.reader.poll();
            self.lines.extend(
                read.map_err(|source| StreamError::Read { key: self.key.clone(), source })?,
            );
            if !self.lines.is_empty() {
                continue;
            }
            // The log was read to its end after the message had ended.
            if let Some(ending) = &self.ended {
                return Ok(Told::Ended(ending.clone()));
            }
            let wait = self.wait.get_or_insert_with(|| {
                let (client, key) = (self.client.clone(), self.key.clone());
                Box::pin(async move { client.wait(&key).await })
            });
            tokio::select! {
                waited = wait => {
                    self.wait = None;
                    self.ended = Some(waited?);
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}
