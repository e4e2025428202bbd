//! What every stream has in common, whatever it tells: its headers, its sign of life, and its end: with its token, with a
//! shutdown, or when it is over.
//!
//! Nothing is read for a client that does not take what it got. At a shutdown an event stream says when to come back: not
//! everybody at once.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tinyclaw_service::now_ms;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::App;
use super::tickets::TicketHeld;
use crate::access::{Book, Caller};

/// A word at least so often, so that both ends know of each other.
const BEAT: Duration = Duration::from_secs(15);
/// When a client that was cut off comes back, in ms.
pub(super) const RETRY_MS: u64 = 2_000;
/// The same at a shutdown, spread over so long.
const RETRY_SPREAD_MS: u64 = 5_000;

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/event-stream`.
    Sse,
    /// `application/x-ndjson`: the frames of the WebSocket, one a line.
    Lines,
}

impl Format {
    /// What a request asks for; `None` is a page.
    pub(super) fn of(accept: &str) -> Option<Format> {
        let kinds = accept.split(',').map(|it| it.split(';').next().unwrap_or_default().trim());
        kinds.into_iter().find_map(|it| match it {
            "text/event-stream" => Some(Format::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Some(Format::Lines)
            }
            _ => None,
        })
    }
}

/// A stream that goes on.
pub(super) struct Live {
    pub(super) app: Arc<App>,
    pub(super) format: Format,
    caller: Caller,
    changes: watch::Receiver<Arc<Book>>,
    said: Instant,
    is_over: bool,
    ticket: Option<TicketHeld>,
    _place: OwnedSemaphorePermit,
}

/// Why a stream goes on now.
pub(super) enum Wake<T> {
    /// There is something to tell.
    Told(T),
    /// Nothing was said for a while.
    Beat,
    /// The gateway stops; these are its last words, where the format has any.
    Stops(Option<Bytes>),
    /// It is over.
    Over,
}

impl Live {
    pub(super) fn new(
        app: &Arc<App>,
        caller: Caller,
        format: Format,
        ticket: Option<TicketHeld>,
        place: OwnedSemaphorePermit,
    ) -> Live {
        Live {
            changes: app.access.changes(),
            app: Arc::clone(app),
            format,
            caller,
            said: Instant::now(),
            is_over: false,
            ticket,
            _place: place,
        }
    }

    /// Something was said just now.
    pub(super) fn has_said(&mut self) {
        self.said = Instant::now();
    }

    /// The next is the end.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.ticket = None;
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Waits for what comes next, or for what ends the stream. What is dropped of `next` loses nothing.
    pub(super) async fn next<T>(&mut self, next: impl Future<Output = T>) -> Wake<T> {
        let mut next = pin!(next);
        loop {
            if self.is_over || !self.app.access.is_still_good(&self.caller) {
                self.end();
                return Wake::Over;
            }
            let until = self.caller.until.map(|it| it.saturating_sub(now_ms()));
            let until = until.map_or(BEAT, Duration::from_millis);
            let wake = (self.said + BEAT).min(Instant::now() + until);
            tokio::select! {
                told = &mut next => return Wake::Told(told),
                () = tokio::time::sleep_until(wake) => {
                    if self.said + BEAT <= Instant::now() {
                        self.has_said();
                        return Wake::Beat;
                    }
                }
                changed = self.changes.changed() => self.is_over |= changed.is_err(),
                () = self.app.shutdown.begun() => {
                    self.end();
                    let retry = RETRY_MS + rand::random_range(0..RETRY_SPREAD_MS);
                    let words = format!("retry: {retry}\n\n").into();
                    return Wake::Stops(Some(words).filter(|_| self.format == Format::Sse));
                }
            }
        }
    }
}

/// What a stream tells, in pieces.
pub(super) trait Pieces: Send + 'static {
    /// The next bytes, or `None` when it is over.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The answer that goes on for as long as there are pieces.
pub(super) fn answer(format: Format, pieces: impl Pieces) -> Response {
    let kind = match format {
        Format::Sse => "text/event-stream; charset=utf-8",
        Format::Lines => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // Proxies that collect answers would hold back the stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let parts = futures_util::stream::unfold(Box::new(pieces), |mut it| async move {
        let bytes = it.next().await?;
        Some((Ok::<_, Infallible>(bytes), it))
    });
    (headers, Body::from_stream(parts)).into_response()
}
