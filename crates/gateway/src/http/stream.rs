//! Streams of `GET /events`: an event stream for browsers, or lines of JSON.
//!
//! What they have in common with other streams stands in `live`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::response::Response;

use super::App;
use super::live::{self, Format, Live, Pieces, RETRY_MS, Wake};
use super::tickets::TicketHeld;
use crate::access::Caller;
use crate::feed::{Feed, Told};
use crate::problem::Problem;

struct Stream {
    live: Live,
    feed: Feed,
    greeting: Option<String>,
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
    let live = Live::new(app, caller, format, ticket, place);
    let mut response = live::answer(format, Stream { live, feed, greeting });
    if let Ok(head) = HeaderValue::from_str(&app.store.head().to_string()) {
        response.headers_mut().insert("x-bus-head", head);
    }
    Ok(response)
}

impl Pieces for Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.into());
        }
        match self.live.next(self.feed.next()).await {
            Wake::Told(told) => {
                self.live.has_said();
                self.live.app.count_gaps(&told);
                Some(self.written(&told))
            }
            Wake::Beat => Some(self.beat()),
            Wake::Stops(words) => words,
            Wake::Over => None,
        }
    }
}

impl Stream {
    /// A sign of life, which also says how far everything was looked at.
    fn beat(&self) -> Bytes {
        let place = self.feed.place();
        match self.live.format {
            Format::Sse => format!(": here\nid: {place}\n\n").into(),
            Format::Lines => {
                format!("{{\"type\":\"beat\",\"data\":{{\"next\":\"{place}\"}}}}\n").into()
            }
        }
    }

    fn written(&self, told: &[Told]) -> Bytes {
        if let (Format::Sse, [Told::Event(it)]) = (self.live.format, told) {
            return it.sse();
        }
        let mut out = Vec::new();
        for it in told {
            match (self.live.format, it) {
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
