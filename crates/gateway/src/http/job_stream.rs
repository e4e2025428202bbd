//! The story of a job while it is written: every line of its log, and the result at last.
//!
//! Nothing is told that is not on disk. Whoever was cut off says which line they have (`Last-Event-ID`, or `after`) and goes
//! on behind it. After the result the stream ends; an `EventSource` that comes back then is told 204, which ends it for good.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tinyclaw_client::{Ending, Standing, Stream as Story, Told};
use tinyclaw_domain::{JobEvent, JobId, Key, Scope, ThreadId};
use tinyclaw_service::now_ms;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::stream::{BEAT, Format, RETRY_MS, RETRY_SPREAD_MS, TicketHeld};
use super::tie::Tie;
use super::{App, Asking};
use crate::access::{Book, Caller, Kind};
use crate::problem::Problem;

/// What a browser says that it has when it has all.
const END: &str = "end";
/// So much is gathered into one piece, when it is there anyway.
const PIECE_BYTES: usize = 64 << 10;
/// What cannot be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How a job is told.
pub(super) struct Telling {
    pub(super) format: Format,
    /// The last line that the reader has.
    pub(super) last: JobId,
    /// Stops the job when the reader leaves.
    pub(super) tie: Option<Tie>,
    pub(super) ticket: Option<TicketHeld>,
}

/// What can be asked for in the address of a stream.
#[derive(Debug, Default)]
struct Question {
    format: Option<Format>,
    after: Option<String>,
    ticket: Option<String>,
}

/// The stream of one job.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let asking = Asking::of(&parts);
    let question = Question::of(asking.uri)?;
    let last = asking.header("last-event-id").filter(|it| !it.is_empty());
    let (caller, ticket) = match question.ticket.as_deref() {
        Some(ticket) => {
            let path = asking.uri.path();
            let (caller, held) = TicketHeld::take(&app, &asking, ticket, path, last.is_some())?;
            (caller, Some(held))
        }
        None => (app.admit(&asking, Some(Scope::Read)).await?, None),
    };
    app.ask(Kind::Read, &caller, 1)?;
    let format = question.format.or_else(|| Format::of(asking.header(header::ACCEPT)?));
    let job = app.jobs.find(&caller, &app.envs.current(), &id).await?;
    let last = match last
        .map(|it| ("Last-Event-ID", it))
        .or_else(|| question.after.as_deref().map(|it| ("?after", it)))
    {
        Some((_, END)) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Some((name, text)) => text
            .parse::<JobId>()
            .map_err(|err| Problem::invalid(crate::event::Invalid::at(name, err.to_string())))?,
        None => JobId::default(),
    };
    let telling = Telling { format: format.unwrap_or(Format::Sse), last, tie: None, ticket };
    answer(&app, caller, &job.key, &job.thread, telling).await
}

impl Question {
    fn of(uri: &axum::http::Uri) -> Result<Question, Problem> {
        let pairs: axum::extract::Query<Vec<(String, String)>> =
            axum::extract::Query::try_from_uri(uri)
                .map_err(|_| Problem::query("", "the query is not well formed"))?;
        let mut question = Question::default();
        for (name, value) in pairs.0 {
            match (name.as_str(), value.as_str()) {
                ("format", "sse") => question.format = Some(Format::Sse),
                ("format", "ndjson") => question.format = Some(Format::Lines),
                ("format", _) => return Err(Problem::query(&name, "expected sse or ndjson")),
                ("after", _) => question.after = Some(value),
                ("ticket", _) => question.ticket = Some(value),
                _ => {
                    return Err(Problem::query(
                        &name,
                        "is not known here; use format, after, ticket",
                    ));
                }
            }
        }
        Ok(question)
    }
}

struct Stream {
    app: Arc<App>,
    caller: Caller,
    key: Key,
    thread: ThreadId,
    story: Story,
    telling: Telling,
    greeting: Option<String>,
    changes: watch::Receiver<Arc<Book>>,
    said: Instant,
    has_told: bool,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

/// The answer that goes on until the job is over.
pub(super) async fn answer(
    app: &Arc<App>,
    caller: Caller,
    key: &Key,
    thread: &ThreadId,
    telling: Telling,
) -> Result<Response, Problem> {
    let place = app.stream_place()?;
    let format = telling.format;
    let mut greeting = match format {
        // Whoever is cut off before the first line comes back here.
        Format::Sse => format!("retry: {RETRY_MS}\nid: {}\ndata\n\n", telling.last),
        Format::Lines => String::new(),
    };
    let client = app.jobs.client().await?;
    // It may have ended and gone since it was looked for; then the story says so.
    let standing = client.standing(key).ok();
    if let Some(Standing::Unfinished { position: Some(position), trouble }) = standing {
        let told = json!({ "type": "queued", "position": position, "trouble": trouble });
        greeting.push_str(&written(format, None, &told));
    }
    let stream = Stream {
        changes: app.access.changes(),
        story: app.jobs.stream(key, telling.last).await?,
        app: Arc::clone(app),
        caller,
        key: key.clone(),
        thread: thread.clone(),
        has_told: telling.last != JobId::default(),
        telling,
        greeting: Some(greeting).filter(|it| !it.is_empty()),
        said: Instant::now(),
        is_over: false,
        _place: place,
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
                told = self.story.next() => {
                    let mut out = String::new();
                    match told {
                        Ok(told) => self.tell(told, &mut out).await,
                        Err(err) => {
                            tracing::warn!(key = %self.key, "cannot go on with the story of job {}: {err}", self.key);
                            tokio::time::sleep(AGAIN).await;
                        }
                    }
                    while !self.is_over && out.len() < PIECE_BYTES {
                        let Some(Ok(more)) = self.story.next().now_or_never() else { break };
                        self.tell(more, &mut out).await;
                    }
                    if !out.is_empty() {
                        self.said = Instant::now();
                        return Some(out.into());
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if self.said + BEAT <= Instant::now() {
                        self.said = Instant::now();
                        return Some(match self.telling.format {
                            Format::Sse => ": here\n\n".into(),
                            Format::Lines => "{\"type\":\"beat\"}\n".into(),
                        });
                    }
                }
                changed = self.changes.changed() => self.is_over |= changed.is_err(),
                () = self.app.shutdown.begun() => {
                    self.is_over = true;
                    if self.telling.format == Format::Sse {
                        let retry = RETRY_MS + rand::random_range(0..RETRY_SPREAD_MS);
                        return Some(format!("retry: {retry}\n\n").into());
                    }
                }
            }
        }
    }

    async fn tell(&mut self, told: Told, out: &mut String) {
        let told = told_of(&self.app, &self.key, &self.thread, self.has_told, told).await;
        self.has_told = true;
        for (id, json) in &told.lines {
            out.push_str(&written(self.telling.format, id.as_deref(), json));
        }
        if told.is_over {
            self.is_over = true;
            if let Some(tie) = &mut self.telling.tie {
                tie.let_go();
            }
            self.telling.ticket = None;
        }
    }
}

/// What readers are told of one step of a story.
pub(super) struct ToldOf {
    /// Each with what it is known by, if one can go on behind it.
    pub(super) lines: Vec<(Option<String>, Value)>,
    /// Whether nothing more comes.
    pub(super) is_over: bool,
}

/// A step of a job's story in the words of its readers; `has_told` is whether they have any of it.
pub(super) async fn told_of(
    app: &App,
    key: &Key,
    thread: &ThreadId,
    has_told: bool,
    told: Told,
) -> ToldOf {
    let mut lines = Vec::new();
    match told {
        // What a later version writes is not known here, and told to nobody.
        Told::Line(line) if line.event == JobEvent::Unknown => {}
        Told::Line(line) => {
            let json = serde_json::to_value(&line).unwrap_or_default();
            lines.push((Some(line.id().to_string()), json));
        }
        Told::Ended(ending) => {
            let had_turn = matches!(&ending, Ending::Answered(it) if it.checkpoint.is_some());
            if had_turn && !has_told && !app.jobs.has_story(key) {
                lines.push((None, json!({ "type": "gap", "reason": "retention" })));
            }
            let envs = app.envs.current();
            let finished = app.jobs.finished(&envs, thread, key, ending).await;
            let result = finished.map_or(Value::Null, |it| it.to_json());
            lines.push((Some(END.to_owned()), json!({ "type": "result", "result": result })));
            return ToldOf { lines, is_over: true };
        }
    }
    ToldOf { lines, is_over: false }
}

fn written(format: Format, id: Option<&str>, told: &Value) -> String {
    match (format, id) {
        (Format::Sse, Some(id)) => format!("id: {id}\ndata: {told}\n\n"),
        (Format::Sse, None) => format!("data: {told}\n\n"),
        (Format::Lines, _) => format!("{told}\n"),
    }
}
