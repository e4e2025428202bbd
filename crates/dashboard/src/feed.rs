//! Live streams: each client is a place in each log, and nothing else.
//!
//! A client that keeps up gets rows from memory; one that does not gets them from the file, at its own pace. What a row's
//! event carries as its id is where the client goes on after a broken connection, even with another server. Streams
//! end when the server does.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tinyclaw_disk::follow::{GapCause, Position};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::dashboard::Dashboard;
use crate::log::{Log, Sent};
use crate::meta::{LogName, REPEATED};
use crate::redact::redacted_json;
use crate::shapes::{Gap, Rotated};

/// A silent stream says that it lives.
const BEAT: Duration = Duration::from_secs(15);
/// The state of the logs is told at least so often on the page's stream, which the page takes for a heartbeat.
const STATE_INTERVAL: Duration = Duration::from_secs(5);
/// The state of the logs is told at most so often.
const STATE_PAUSE: Duration = Duration::from_millis(250);
/// How many rows are sent at once.
const BATCH_ROWS: usize = 64;
/// So many clients read rows from files at once.
const READERS_MAX: usize = 4;
/// How long a client's place is looked for while the past is still being read.
const RESUME_WAIT: Duration = Duration::from_secs(10);

/// Which logs a client follows, and what else.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The logs, with the place after the last row the client has, if it had any.
    pub(crate) logs: Vec<(LogName, Option<Position>)>,
    /// How many of the last rows a client without a place gets first.
    pub(crate) last: usize,
    /// Whether this is the page's one stream: events are named after their log, and state and metrics are told, too.
    pub(crate) is_page: bool,
}

/// A client's place in one log.
#[derive(Debug)]
struct Cursor {
    log: Arc<Log>,
    /// The next row.
    next: i64,
    /// The place before it.
    place: Position,
    gaps: usize,
    rotations: u64,
}

struct Feed {
    dashboard: Arc<Dashboard>,
    cursors: Vec<Cursor>,
    is_page: bool,
    news: watch::Receiver<u64>,
    ending: watch::Receiver<bool>,
    /// What is still to be said before anything else.
    greeting: Option<String>,
    said: Instant,
    state_said: Instant,
    state_seen: u64,
    sample_seen: u64,
}

/// The stream a client wished for.
pub(crate) async fn stream(dashboard: Arc<Dashboard>, wish: Wish) -> Response {
    let mut greeting = String::from("retry: 1000\n\n");
    let mut cursors = Vec::with_capacity(wish.logs.len());
    for (name, place) in &wish.logs {
        let log = Arc::clone(dashboard.log(*name));
        log.opened().await;
        let cursor = begin(log, *place, wish.last, wish.is_page, &mut greeting, &dashboard).await;
        cursors.push(cursor);
    }
    let now = Instant::now();
    let mut feed = Feed {
        news: dashboard.news(),
        ending: dashboard.ending(),
        cursors,
        is_page: wish.is_page,
        greeting: None,
        said: now,
        state_said: now - STATE_INTERVAL,
        state_seen: 0,
        sample_seen: 0,
        dashboard,
    };
    // An id without data is no event, but it is remembered: who is cut off before the first row comes back here.
    let _ = write!(greeting, "id: {}\n\n", feed.id());
    feed.greeting = Some(greeting);
    let stream = futures_util::stream::unfold(Box::new(feed), |mut feed| async move {
        let bytes = feed.next().await?;
        Some((Ok::<_, Infallible>(bytes), feed))
    });
    events(Body::from_stream(stream))
}

/// A response that is a stream of events.
pub(crate) fn events(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // Proxies that collect answers would hold back the stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// Where a client begins in one log.
async fn begin(
    log: Arc<Log>,
    place: Option<Position>,
    last: usize,
    is_page: bool,
    greeting: &mut String,
    dashboard: &Dashboard,
) -> Cursor {
    // The place first: rows that come in between are sent, and not passed over by a client that returns at once.
    let end = log.place();
    let (first, head, gaps) = {
        let index = log.index();
        (index.range().0, index.range().1, index.gaps.len())
    };
    let rotations = log.rotations();
    let cursor = |next, place| Cursor { log: Arc::clone(&log), next, place, gaps, rotations };
    let Some(place) = place else {
        let next = (head - last as i64).max(first);
        let place = if next < head { log.place_before(next) } else { None };
        return cursor(next, place.unwrap_or(end));
    };
    match find_place(&log, place, dashboard).await {
        Some(row) => cursor(row, place),
        None => {
            // The client's file is no longer the one it knew. What stands there now is new to it.
            let there = log.index().first_row_from(place.segment);
            let next = there.unwrap_or(head);
            // Who had nothing of a file in which nothing is has lost nothing.
            if place.offset > 0 || there.is_some() {
                let gap = Gap::new(is_page.then_some(log.name), next, GapCause::Overwritten);
                event(greeting, None, Some("gap"), &redacted_json(&gap));
            }
            cursor(next, Position::start_of(place.segment))
        }
    }
}

async fn find_place(log: &Arc<Log>, place: Position, dashboard: &Dashboard) -> Option<i64> {
    let deadline = Instant::now() + RESUME_WAIT;
    let mut news = dashboard.news();
    loop {
        let is_complete = log.index().complete;
        let log = Arc::clone(log);
        let found = tokio::task::spawn_blocking(move || log.row_after(&place)).await.ok()?;
        if found.is_some() || is_complete || Instant::now() > deadline {
            return found;
        }
        let _ = tokio::time::timeout(STATE_PAUSE, news.changed()).await;
    }
}

impl Feed {
    /// The next bytes of the stream, or `None` when the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.into());
        }
        loop {
            if *self.ending.borrow() {
                return None;
            }
            self.news.mark_unchanged();
            let mut out = String::new();
            for at in 0..self.cursors.len() {
                self.take_rows(at, &mut out).await;
            }
            let wake = if self.is_page { self.say_state(&mut out) } else { self.said + BEAT };
            if !out.is_empty() {
                self.said = Instant::now();
                return Some(out.into());
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = tokio::time::sleep_until(wake) => {
                    if !self.is_page {
                        self.said = Instant::now();
                        return Some(Bytes::from_static(b": here\n\n"));
                    }
                }
                _ = self.ending.changed() => return None,
            }
        }
    }

    /// Writes the rows of one log that the client has not got yet.
    async fn take_rows(&mut self, at: usize, out: &mut String) {
        let cursor = &mut self.cursors[at];
        let log = self.is_page.then_some(cursor.log.name);
        if cursor.log.rotations() != cursor.rotations {
            cursor.rotations = cursor.log.rotations();
            let place = cursor.log.place();
            let rotated = Rotated { log, segment: place.segment };
            event(out, None, Some("rotated"), &redacted_json(&rotated));
        }
        let gaps: Vec<_> = {
            let index = cursor.log.index();
            index.gaps.get(cursor.gaps..).unwrap_or_default().to_vec()
        };
        let mut gaps = gaps.into_iter().peekable();
        let rows = match cursor.log.head() > cursor.next {
            true => rows_from(&cursor.log, cursor.next).await,
            false => Vec::new(),
        };
        for sent in rows {
            while gaps.peek().is_some_and(|(row, _)| *row <= sent.row) {
                if let Some((row, cause)) = gaps.next() {
                    event(out, None, Some("gap"), &redacted_json(&Gap::new(log, row, cause)));
                    self.cursors[at].gaps += 1;
                }
            }
            self.cursors[at].next = sent.row + 1;
            self.cursors[at].place = sent.place;
            if sent.meta.marks & REPEATED == 0 {
                let id = self.id();
                event(out, Some(&id), log.map(LogName::as_str), &sent.json);
            }
        }
        // A gap at the very end is told at once, not with the next row.
        let next = self.cursors[at].next;
        for (row, cause) in gaps.take_while(|(row, _)| *row <= next) {
            event(out, None, Some("gap"), &redacted_json(&Gap::new(log, row, cause)));
            self.cursors[at].gaps += 1;
        }
    }

    /// What the client resumes with: its place in each log.
    fn id(&self) -> String {
        if !self.is_page {
            return self.cursors.first().map_or_else(String::new, |it| it.place.to_string());
        }
        let places = self.cursors.iter().map(|it| format!("{}={}", it.log.name.as_str(), it.place));
        places.collect::<Vec<_>>().join(",")
    }

    /// Writes what the page wants to know besides rows; tells when to look again.
    fn say_state(&mut self, out: &mut String) -> Instant {
        let sample = self.dashboard.host.latest();
        if sample.at != self.sample_seen {
            self.sample_seen = sample.at;
            event(out, None, Some("metrics"), &redacted_json(&*sample));
        }
        let version = self.dashboard.state_version();
        let now = Instant::now();
        let is_new = version != self.state_seen && now >= self.state_said + STATE_PAUSE;
        if is_new || now >= self.state_said + STATE_INTERVAL {
            self.state_seen = version;
            self.state_said = now;
            event(out, None, Some("state"), &redacted_json(&self.dashboard.tail_state()));
        }
        let pause = if version == self.state_seen { STATE_INTERVAL } else { STATE_PAUSE };
        self.state_said + pause
    }
}

async fn rows_from(log: &Arc<Log>, next: i64) -> Vec<Sent> {
    if let Some(rows) = log.sent_ready(next, BATCH_ROWS) {
        return rows;
    }
    // Many that do not keep up take turns: each holds what it has read.
    static PLACES: Semaphore = Semaphore::const_new(READERS_MAX);
    let Ok(_place) = PLACES.acquire().await else { return Vec::new() };
    let log = Arc::clone(log);
    tokio::task::spawn_blocking(move || log.sent_from(next, BATCH_ROWS)).await.unwrap_or_default()
}

/// Writes one event. `data` is JSON and so has no newline.
pub(crate) fn event(out: &mut String, id: Option<&str>, name: Option<&str>, data: &str) {
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    if let Some(name) = name {
        let _ = writeln!(out, "event: {name}");
    }
    let _ = write!(out, "data: {data}\n\n");
}
