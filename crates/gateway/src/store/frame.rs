//! An event as it lies in memory and goes out: written out once, however many get it.

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;

use crate::event::Cursor;

/// One event, in the words of each way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its place.
    pub cursor: Cursor,
    /// Its type.
    pub kind: Box<str>,
    /// Who said it.
    pub source: Box<str>,
    /// The session it is of.
    pub session: Option<Box<str>>,
    /// What it is about.
    pub subject: Option<Box<str>>,
    /// When it happened, in ms since 1970; never after it came.
    pub time: u64,
    /// `id: …`, `data: …` and an empty line.
    sse: Bytes,
    /// `{"type":"event","data":…}`.
    ws: Utf8Bytes,
    body: (usize, usize),
}

impl Frame {
    /// Writes an event out. `body` is JSON on one line.
    pub(crate) fn new(
        cursor: Cursor,
        kind: &str,
        source: &str,
        session: Option<&str>,
        subject: Option<&str>,
        time: u64,
        body: &str,
    ) -> Frame {
        let sse = format!("id: {cursor}\ndata: {body}\n\n");
        let start = sse.len() - 2 - body.len();
        Frame {
            cursor,
            kind: kind.into(),
            source: source.into(),
            session: session.map(Into::into),
            subject: subject.map(Into::into),
            time,
            sse: sse.into(),
            ws: format!(r#"{{"type":"event","data":{body}}}"#).into(),
            body: (start, start + body.len()),
        }
    }

    /// The event as JSON.
    pub fn body(&self) -> &str {
        // It was put in as text.
        std::str::from_utf8(&self.sse[self.body.0..self.body.1]).unwrap_or_default()
    }

    /// The event for an event stream.
    pub fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The event for a WebSocket.
    pub fn ws(&self) -> Utf8Bytes {
        self.ws.clone()
    }

    /// What it takes of memory.
    pub(crate) fn weight(&self) -> usize {
        self.sse.len() + self.ws.len() + size_of::<Frame>() + self.kind.len() + self.source.len()
    }
}
