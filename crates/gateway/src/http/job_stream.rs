//! The story of a job while it is written: every line of its log, and the result at last.
//!
//! Nothing is told that is not on disk. Whoever was cut off says which line they have (`Last-Event-ID`, or `after`) and goes
//! on behind it. After the result the stream ends; an `EventSource` that comes back then is told 204, which ends it for good.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tinyclaw_client::{Ending, Standing, Stream as Story, Told};
use tinyclaw_domain::{JobEvent, JobId, Key, Scope, ThreadId};

use super::live::{self, Format, Live, Pieces, RETRY_MS, Wake};
use super::query::pairs;
use super::tickets::TicketHeld;
use super::tie::Tie;
use super::{App, Asking};
use crate::access::{Caller, Kind};
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
        let mut question = Question::default();
        for (name, value) in pairs(uri)? {
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
    live: Live,
    key: Key,
    thread: ThreadId,
    story: Story,
    /// Stops the job when the reader leaves.
    tie: Option<Tie>,
    greeting: Option<String>,
    has_told: bool,
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
    let Telling { last, tie, ticket, .. } = telling;
    let stream = Stream {
        story: app.jobs.stream(key, last).await?,
        live: Live::new(app, caller, format, ticket, place),
        key: key.clone(),
        thread: thread.clone(),
        tie,
        greeting: Some(greeting).filter(|it| !it.is_empty()),
        has_told: last != JobId::default(),
    };
    Ok(live::answer(format, stream))
}

impl Pieces for Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.into());
        }
        loop {
            let told = match self.live.next(self.story.next()).await {
                Wake::Told(Ok(told)) => told,
                Wake::Told(Err(err)) => {
                    tracing::warn!(key = %self.key, "cannot go on with the story of job {}: {err}", self.key);
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Wake::Beat => {
                    return Some(match self.live.format {
                        Format::Sse => ": here\n\n".into(),
                        Format::Lines => "{\"type\":\"beat\"}\n".into(),
                    });
                }
                Wake::Stops(words) => return words,
                Wake::Over => return None,
            };
            let mut out = String::new();
            self.tell(told, &mut out).await;
            while !self.live.is_over() && out.len() < PIECE_BYTES {
                let Some(Ok(more)) = self.story.next().now_or_never() else { break };
                self.tell(more, &mut out).await;
            }
            if !out.is_empty() {
                self.live.has_said();
                return Some(out.into());
            }
        }
    }
}

impl Stream {
    async fn tell(&mut self, told: Told, out: &mut String) {
        let told = told_of(&self.live.app, &self.key, &self.thread, self.has_told, told).await;
        self.has_told = true;
        for (id, json) in &told.lines {
            out.push_str(&written(self.live.format, id.as_deref(), json));
        }
        if told.is_over {
            self.live.end();
            if let Some(tie) = &mut self.tie {
                tie.let_go();
            }
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
