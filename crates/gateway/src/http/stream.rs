//! Streams of `GET /events`: an event stream for browsers, or lines of JSON.
//!
//! Nothing is read for a client that does not take what it got. A stream ends when its token does, and says at a shutdown
//! when to come back: not everybody at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tinyclaw_domain::Scope;
use tinyclaw_service::now_ms;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::{App, Asking};
use crate::access::{Caller, Denied, Held, TicketRefused, TicketUse};
use crate::feed::{Feed, Told};
use crate::problem::Problem;

/// A word at least so often, so that both ends know of each other.
pub(super) const BEAT: Duration = Duration::from_secs(15);
/// When a client that was cut off comes back, in ms.
pub(super) const RETRY_MS: u64 = 2_000;
/// The same at a shutdown, spread over so long.
pub(super) const RETRY_SPREAD_MS: u64 = 5_000;

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

struct Stream {
    app: Arc<App>,
    feed: Feed,
    caller: Caller,
    format: Format,
    greeting: Option<String>,
    changes: watch::Receiver<Arc<crate::access::Book>>,
    said: Instant,
    is_over: bool,
    _place: OwnedSemaphorePermit,
    ticket: Option<TicketHeld>,
}

/// A ticket in use. Dropped, it may be used to come back.
pub(super) struct TicketHeld {
    app: Arc<App>,
    text: String,
    _held: Held,
}

impl TicketHeld {
    /// Lets somebody in who shows a ticket in place of a token, for a stream at `path`.
    pub(super) fn take(
        app: &Arc<App>,
        asking: &Asking<'_>,
        ticket: &str,
        path: &str,
        is_return: bool,
    ) -> Result<(Caller, TicketHeld), Problem> {
        let how = TicketUse::Stream { is_return };
        let taken = app.access.tickets.take(ticket, path, asking.origin(), how);
        let (caller, held) = taken.map_err(|it| match it {
            TicketRefused::Unknown => app.denied(Denied::BadToken, asking),
            TicketRefused::Busy => {
                let detail = "this ticket serves another stream just now";
                Problem::new(StatusCode::CONFLICT, "ticket_busy", detail)
            }
        })?;
        let held = TicketHeld { app: Arc::clone(app), text: ticket.to_owned(), _held: held };
        Ok((app.permit(caller, asking, Some(Scope::Read))?, held))
    }
}

impl Drop for TicketHeld {
    fn drop(&mut self) {
        self.app.access.tickets.ended(&self.text);
    }
}

/// The answer that goes on.
pub(super) fn answer(
    app: &Arc<App>,
    caller: Caller,
    feed: Feed,
    format: Format,
    ticket: Option<TicketHeld>,
) -> Result<Response, Problem> {
    let place = app.stream_place()?;
    // Whoever is cut off before the first event comes back here.
    let greeting = match format {
        Format::Sse => Some(format!("retry: {RETRY_MS}\nid: {}\ndata\n\n", feed.place())),
        Format::Lines => None,
    };
    let stream = Stream {
        changes: app.access.changes(),
        app: Arc::clone(app),
        feed,
        caller,
        format,
        greeting,
        said: Instant::now(),
        is_over: false,
        _place: place,
        ticket,
    };
    let kind = match format {
        Format::Sse => "text/event-stream; charset=utf-8",
        Format::Lines => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CACHE_CONTROL, "no-store, no-transform".to_owned()),
        // Proxies that collect answers would hold back the stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no".to_owned()),
        (header::HeaderName::from_static("x-bus-head"), app.store.head().to_string()),
    ];
    let parts = futures_util::stream::unfold(Box::new(stream), |mut it| async move {
        let bytes = it.next().await?;
        Some((Ok::<_, Infallible>(bytes), it))
    });
    Ok((headers, Body::from_stream(parts)).into_response())
}

impl Stream {
    /// The next bytes, or `None` when it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.into());
        }
        loop {
            if self.is_over {
                self.ticket = None;
                return None;
            }
            if !self.app.access.is_still_good(&self.caller) {
                self.is_over = true;
                continue;
            }
            let until = self.caller.until.map(|it| it.saturating_sub(now_ms()));
            let until = until.map_or(BEAT, Duration::from_millis);
            let wake = (self.said + BEAT).min(Instant::now() + until);
            tokio::select! {
                told = self.feed.next() => {
                    self.said = Instant::now();
                    self.app.count_gaps(&told);
                    return Some(self.written(&told));
                }
                () = tokio::time::sleep_until(wake) => {
                    if self.said + BEAT <= Instant::now() {
                        self.said = Instant::now();
                        return Some(self.beat());
                    }
                }
                changed = self.changes.changed() => self.is_over |= changed.is_err(),
                () = self.app.shutdown.begun() => {
                    self.is_over = true;
                    if self.format == Format::Sse {
                        let retry = RETRY_MS + rand::random_range(0..RETRY_SPREAD_MS);
                        return Some(format!("retry: {retry}\n\n").into());
                    }
                }
            }
        }
    }

    /// A sign of life, which also says how far everything was looked at.
    fn beat(&self) -> Bytes {
        let place = self.feed.place();
        match self.format {
            Format::Sse => format!(": here\nid: {place}\n\n").into(),
            Format::Lines => {
                format!("{{\"type\":\"beat\",\"data\":{{\"next\":\"{place}\"}}}}\n").into()
            }
        }
    }

    fn written(&self, told: &[Told]) -> Bytes {
        if let (Format::Sse, [Told::Event(it)]) = (self.format, told) {
            return it.sse();
        }
        let mut out = Vec::new();
        for it in told {
            match (self.format, it) {
                (Format::Sse, Told::Event(it)) => out.extend_from_slice(&it.sse()),
                (Format::Sse, Told::Gap(it)) => {
                    let data = serde_json::to_string(it).unwrap_or_default();
                    out.extend_from_slice(
                        format!("event: gap\nid: {}\ndata: {data}\n\n", it.to).as_bytes(),
                    );
                }
                (Format::Lines, Told::Event(it)) => {
                    out.extend_from_slice(it.ws().as_bytes());
                    out.push(b'\n');
                }
                (Format::Lines, Told::Gap(it)) => {
                    out.extend_from_slice(it.frame().as_bytes());
                    out.push(b'\n');
                }
            }
        }
        out.into()
    }
}
