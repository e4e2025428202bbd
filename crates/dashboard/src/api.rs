//! What can be asked: every address of the server. Only reading; whatever a question says becomes a type first.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tinyclaw_disk::follow::Position;
use tinyclaw_domain::{Key, StateDir, ThreadId, Tier};
use tokio::sync::Semaphore;

use crate::answer::{ANSWER_BYTES_MAX, Refused};
use crate::dashboard::Dashboard;
use crate::feed::{self, Wish};
use crate::index::{Filter, Index, Pick};
use crate::log::{Log, pick_page, within};
use crate::meta::{self, LEVEL, LEVELS, LogName};
use crate::page::{PAGE, VIEWS};
use crate::redact::redacted_json;
use crate::rows::{self, LIVE_CHARS};
use crate::shapes::{Hit, Lengths, Metrics, Page, SearchEnd, Searched};
use crate::{events, scan, story};

/// The most rows one answer holds.
const ROWS_MAX: usize = 1_000;
/// So much of a log is read at once for an answer.
const READ_BYTES: u64 = 1 << 20;
/// How long a page of the past is waited for while the index is being built.
const PAST_WAIT: Duration = Duration::from_millis(400);
/// So many searches run at once; the next one waits.
const SEARCHES_MAX: usize = 4;
/// The most hits a search tells.
const HITS_MAX: usize = 1_000;

type Asked = State<Arc<Dashboard>>;

fn bad(why: impl ToString) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, why.to_string())
}

/// The addresses.
pub(crate) fn router(dashboard: Arc<Dashboard>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/views.js", get(views))
        .route("/api/status", get(status))
        .route("/api/threads", get(threads))
        .route("/api/threads/{id}/messages", get(thread_messages))
        .route("/api/metrics", get(metrics))
        .route("/api/live", get(live))
        .route("/api/events", get(told_events))
        .route("/api/logs/{log}", get(log_stream))
        .route("/api/prompts/lengths", get(lengths))
        .route("/api/routing/costs", get(costs))
        .route("/api/routing/learned", get(learned))
        .route("/api/routing/outcomes/{key}", get(outcomes))
        .route("/api/story/{key}", get(tell_story))
        .route("/api/waiting/{place}", get(waiting))
        .route("/api/{log}/feed", get(log_stream))
        .route("/api/{log}/recent", get(recent))
        .route("/api/{log}/row", get(one_row))
        .route("/api/{log}/search", get(search))
        .fallback(nothing_here)
        .with_state(dashboard)
}

async fn nothing_here() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "there is nothing at this address")
}

async fn page() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

async fn views() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], VIEWS).into_response()
}

fn json(it: &impl Serialize) -> Response {
    json_text(redacted_json(it))
}

fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[derive(Deserialize)]
struct StatusQuery {
    midnight: Option<u64>,
}

async fn status(State(it): Asked, Query(query): Query<StatusQuery>) -> Result<Response, Refused> {
    // Without a word on the asker's day it is the last 24 hours that count.
    let midnight = query.midnight.map_or(0, |it| it / 1000);
    blocking(move || json(&*it.status(midnight))).await
}

async fn costs(State(it): Asked, Query(query): Query<StatusQuery>) -> Result<Response, Refused> {
    let midnight = query.midnight.ok_or_else(|| bad("midnight must say when today began"))?;
    let dashboard = Arc::clone(&it);
    let told = move || {
        let told = dashboard.spending.told(
            &StateDir::new(&dashboard.state),
            &dashboard.models.now(),
            midnight,
        );
        told.map_err(|why| Refused::new(StatusCode::SERVICE_UNAVAILABLE, why))
    };
    it.answers.make(told).await
}

/// The weights that were learned in this office; `null` where none are.
async fn learned(State(it): Asked) -> Result<Response, Refused> {
    blocking(move || json(&it.office.learned())).await
}

/// What people said about the answer of a message.
async fn outcomes(State(it): Asked, Path(key): Path<String>) -> Result<Response, Refused> {
    let key: Key = key.parse().map_err(bad)?;
    blocking(move || json(&it.office.outcomes(&key))).await
}

async fn threads(State(it): Asked) -> Result<Response, Refused> {
    blocking(move || it.office.threads())
        .await?
        .map(|it| json(&it))
        .map_err(|why| Refused::new(StatusCode::SERVICE_UNAVAILABLE, why))
}

async fn metrics(State(it): Asked) -> Response {
    let samples = it.host.samples();
    json(&Metrics { now: it.host.latest(), samples, services: it.services() })
}

/// Which rows are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rows {
    n: Option<String>,
    /// The rank to begin with; without it, the last rows.
    from: Option<i64>,
    thread: Option<String>,
    model: Option<String>,
    tier: Option<String>,
    direction: Option<String>,
    level: Option<String>,
    /// `upgraded`, `injected`, `fault` or `broken`.
    only: Option<String>,
    /// Milliseconds since 1970.
    since: Option<u64>,
    until: Option<u64>,
    /// Texts are cut to so many characters; not at all without it.
    chars: Option<usize>,
}

impl Rows {
    fn count(&self, default: usize) -> Result<usize, Refused> {
        match &self.n {
            None => Ok(default),
            Some(it) => match it.parse::<usize>() {
                Ok(n) if (1..=ROWS_MAX).contains(&n) => Ok(n),
                _ => Err(bad(format!("n={it} must be a number from 1 to {ROWS_MAX}"))),
            },
        }
    }

    /// The filter, or `None` when nothing can match: a thread that has no rows.
    fn filter(&self, log: &Log, index: &Index) -> Result<Option<Filter>, Refused> {
        let mut filter = Filter::default();
        if let Some(thread) = &self.thread {
            let thread: ThreadId = thread.parse().map_err(bad)?;
            match index.tables.threads.number_of(&thread) {
                Some(number) => filter.thread = Some(number),
                None => return Ok(None),
            }
        }
        if let Some(model) = &self.model {
            let unknown = || bad(format!("model={model} is no model's name"));
            let family = log.models.now().of_name(model).ok_or_else(unknown)?;
            match index.tables.models.number_of(family) {
                Some(number) => filter.model = Some(number),
                None => return Ok(None),
            }
        }
        if let Some(tier) = &self.tier {
            filter = filter.marks(meta::TIER, meta::tier_marks(tier.parse::<Tier>().map_err(bad)?));
        }
        filter = match self.direction.as_deref() {
            None => filter,
            Some("in") => filter.marks(meta::FLAG, 0),
            Some("out") => filter.marks(meta::FLAG, meta::FLAG),
            Some(it) => return Err(bad(format!("direction={it} must be in or out"))),
        };
        filter = match self.only.as_deref() {
            None => filter,
            Some("upgraded" | "injected") => filter.marks(meta::FLAG, meta::FLAG),
            Some("fault") => filter.marks(meta::FAULT, meta::FAULT),
            Some("broken") => filter.marks(meta::BROKEN, meta::BROKEN),
            Some(it) => {
                return Err(bad(format!("only={it} must be upgraded, injected, fault or broken")));
            }
        };
        if let Some(level) = &self.level {
            if !log.name.is_text() {
                return Err(bad("level is for the logs telegram and queue"));
            }
            let at = LEVELS.iter().position(|it| it == level);
            let at = at.ok_or_else(|| bad(format!("level={level} must be one of {LEVELS:?}")))?;
            filter = filter.marks(LEVEL, at as u8 + 1);
        }
        let seconds = |it: u64| (it / 1000).min(u64::from(u32::MAX)) as u32;
        filter.since = self.since.map_or(0, seconds);
        filter.until = self.until.map_or(u32::MAX, seconds);
        Ok(Some(filter))
    }
}

fn log_named(it: &Dashboard, name: &str) -> Result<Arc<Log>, Refused> {
    let name: LogName = name.parse().map_err(|_| {
        let names = LogName::ALL.map(LogName::as_str).join(", ");
        Refused::new(StatusCode::NOT_FOUND, format!("no log is called {name:?}: there are {names}"))
    })?;
    Ok(Arc::clone(it.log(name)))
}

async fn recent(
    State(it): Asked,
    Path(name): Path<String>,
    Query(rows): Query<Rows>,
) -> Result<Response, Refused> {
    let log = log_named(&it, &name)?;
    rows_page(&it, log, rows).await
}

async fn thread_messages(
    State(it): Asked,
    Path(thread): Path<String>,
    Query(rows): Query<Rows>,
) -> Result<Response, Refused> {
    let rows = Rows { thread: Some(thread), ..rows };
    rows_page(&it, Arc::clone(it.log(LogName::Messages)), rows).await
}

async fn rows_page(it: &Dashboard, log: Arc<Log>, rows: Rows) -> Result<Response, Refused> {
    let default = if log.name == LogName::Prompts { 20 } else { 50 };
    let n = rows.count(default)?;
    log.opened().await;
    wait_for_past(it, &log, &rows, n).await?;
    let make = move || {
        let chars = rows.chars.unwrap_or(usize::MAX);
        // The place first: a row that comes in between is told twice, and not never.
        let place = log.place().to_string();
        let (mut page, picks) = {
            let index = log.index();
            let complete = index.complete;
            let Some(filter) = rows.filter(&log, &index)? else {
                let page = Page { first: 0, last: 0, complete, place, rows: Vec::new() };
                return Ok(redacted_json(&page));
            };
            let (first, last) = index.ranks(&filter);
            let picks = pick_page(&index, &filter, rows.from, n);
            (Page { first, last, complete, place, rows: Vec::with_capacity(picks.len()) }, picks)
        };
        let mut bytes = 0;
        for picks in batches(&picks) {
            for (pick, line) in picks.iter().zip(log.read(picks)) {
                let row = rows::row(log.name, pick.row, Some(pick.rank), line.as_deref(), chars);
                bytes += row.bytes;
                page.rows.push(row);
            }
            if bytes > ANSWER_BYTES_MAX - READ_BYTES as usize {
                break;
            }
        }
        Ok(redacted_json(&page))
    };
    it.answers.make(make).await
}

/// The picks, in batches that are not too much to be read at once.
fn batches(picks: &[Pick]) -> impl Iterator<Item = &[Pick]> {
    let mut rest = picks;
    std::iter::from_fn(move || {
        let n = within(rest, READ_BYTES);
        let batch = rest.split_off(..n)?;
        (!batch.is_empty()).then_some(batch)
    })
}

/// While the index grows towards the past, a page that is not known yet is waited for a little.
async fn wait_for_past(it: &Dashboard, log: &Log, rows: &Rows, n: usize) -> Result<(), Refused> {
    let is_known = || {
        let index = log.index();
        if index.complete {
            return Ok(true);
        }
        let Some(filter) = rows.filter(log, &index)? else { return Ok(false) };
        let (first, last) = index.ranks(&filter);
        Ok(match rows.from {
            Some(from) => from >= first,
            None => last - first >= n as i64,
        })
    };
    let deadline = tokio::time::Instant::now() + PAST_WAIT;
    let mut ending = it.ending();
    while !is_known()? && tokio::time::Instant::now() < deadline {
        let pause = tokio::time::sleep(Duration::from_millis(5));
        tokio::select! {
            () = pause => {}
            _ = ending.changed() => break,
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct RowQuery {
    row: i64,
}

async fn one_row(
    State(it): Asked,
    Path(name): Path<String>,
    Query(query): Query<RowQuery>,
) -> Result<Response, Refused> {
    let log = log_named(&it, &name)?;
    log.opened().await;
    let make = move || {
        let pick = log.index().row(query.row).ok_or_else(|| {
            Refused::new(StatusCode::NOT_FOUND, format!("there is no row {}", query.row))
        })?;
        let line = log.read(&[pick]).pop().flatten();
        Ok(redacted_json(&rows::row(log.name, pick.row, None, line.as_deref(), usize::MAX)))
    };
    it.answers.make(make).await
}

#[derive(Deserialize)]
struct LengthsQuery {
    thread: Option<String>,
    n: Option<usize>,
}

async fn lengths(State(it): Asked, Query(query): Query<LengthsQuery>) -> Result<Response, Refused> {
    let log = it.log(LogName::Prompts);
    log.opened().await;
    let index = log.index();
    let rows = Rows { thread: query.thread, ..Rows::default() };
    let mut answer = Lengths::default();
    if let Some(filter) = rows.filter(log, &index)? {
        for pick in index.pick_last(&filter, query.n.unwrap_or(2_000).min(20_000)) {
            answer.rows.push(pick.row);
            answer.seconds.push(pick.meta.seconds);
            answer.lengths.push(pick.meta.value);
            let is_fault = pick.meta.marks & meta::FAULT != 0;
            let is_injected = pick.meta.marks & meta::FLAG != 0;
            answer.marks.push(u8::from(is_injected) + u8::from(is_fault));
        }
    }
    drop(index);
    Ok(json(&answer))
}

#[derive(Deserialize)]
struct LiveQuery {
    /// The place to go on from, when the page itself reconnects.
    after: Option<String>,
}

/// The page's one stream. A browser opens six connections at most, so every view shares it.
async fn live(State(it): Asked, Query(query): Query<LiveQuery>, headers: HeaderMap) -> Response {
    let after = last_event_id(&headers).or(query.after).unwrap_or_default();
    let place_of = |name: LogName| {
        let mut places = after.split(',').filter_map(|it| it.split_once('='));
        places.find(|(it, _)| *it == name.as_str()).and_then(|(_, it)| it.parse::<Position>().ok())
    };
    let logs = LogName::ALL.map(|name| (name, place_of(name))).to_vec();
    feed::stream(it, Wish { logs, last: 0, is_page: true }).await
}

#[derive(Deserialize)]
struct FeedQuery {
    last: Option<usize>,
    after: Option<String>,
}

async fn log_stream(
    State(it): Asked,
    Path(name): Path<String>,
    Query(query): Query<FeedQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let name = log_named(&it, &name)?.name;
    let place = last_event_id(&headers).or(query.after);
    let place = place.map(|it| it.parse::<Position>()).transpose().map_err(bad)?;
    // A text log begins with what was said last, so that a terminal shows something.
    let last = query.last.unwrap_or_else(|| if name.is_text() { 50 } else { 0 }).min(ROWS_MAX);
    Ok(feed::stream(it, Wish { logs: vec![(name, place)], last, is_page: false }).await)
}

fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let it = headers.get("last-event-id")?.to_str().ok()?;
    (!it.is_empty()).then(|| it.to_owned())
}

#[derive(Deserialize)]
struct StoryQuery {
    thread: Option<String>,
    at: Option<u64>,
}

async fn tell_story(
    State(it): Asked,
    Path(key): Path<String>,
    Query(query): Query<StoryQuery>,
) -> Result<Response, Refused> {
    let key: Key = key.parse().map_err(bad)?;
    let thread = query.thread.map(|it| it.parse::<ThreadId>()).transpose().map_err(bad)?;
    let hint = story::Hint { thread, at: query.at };
    let dashboard = Arc::clone(&it);
    it.answers.make(move || Ok(redacted_json(&story::tell(&dashboard, &key, &hint)))).await
}

async fn told_events(
    State(it): Asked,
    Query(wanted): Query<events::Wanted>,
) -> Result<Response, Refused> {
    let path = it.office.events();
    if !path.exists() {
        let why = "no gateway has kept events here yet: docs/OPERATIONS.md, \"The event bus\"";
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    }
    it.answers.make(move || events::events(&path, &wanted)).await
}

async fn waiting(State(it): Asked, Path(place): Path<String>) -> Result<Response, Refused> {
    let waiting = blocking(move || it.office.waiting(&place).ok_or(place)).await?;
    waiting.map(|it| json(&it)).map_err(|place| {
        let places = "there are incoming, processing, outgoing and dead";
        Refused::new(StatusCode::NOT_FOUND, format!("nothing waits in {place:?}: {places}"))
    })
}

#[derive(Deserialize)]
struct SearchQuery {
    q: String,
    pattern: Option<u8>,
    hits: Option<usize>,
}

/// A search, told as it goes. It ends when the asker goes away.
async fn search(
    State(it): Asked,
    Path(name): Path<String>,
    Query(query): Query<SearchQuery>,
    Query(rows): Query<Rows>,
) -> Result<Response, Refused> {
    static PLACES: Semaphore = Semaphore::const_new(SEARCHES_MAX);
    let log = log_named(&it, &name)?;
    log.opened().await;
    let filter = rows.filter(&log, &log.index())?;
    let looked_for = scan::Query::new(&query.q, query.pattern == Some(1)).map_err(bad)?;
    let hits_max = query.hits.unwrap_or(200).clamp(1, HITS_MAX);
    let (sender, receiver) = tokio::sync::mpsc::channel::<String>(32);
    let permit = PLACES.acquire().await.map_err(|_| bad("the server ends"))?;
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut hits = 0;
        let mut searched = Searched::default();
        if let Some(filter) = filter {
            let mut told = std::time::Instant::now();
            let say = |name: &str, data: String| {
                let mut out = String::new();
                feed::event(&mut out, None, Some(name), &data);
                sender.blocking_send(out).is_ok()
            };
            scan::search(
                &log,
                &filter,
                &looked_for,
                |pick, line, snippet| {
                    hits += 1;
                    let row = rows::row(log.name, pick.row, None, Some(line), LIVE_CHARS);
                    let snippet = [snippet.before, snippet.hit, snippet.after];
                    say("hit", redacted_json(&Hit { snippet, row })) && hits < hits_max
                },
                |done, all| {
                    searched = Searched { done, all };
                    if told.elapsed() < Duration::from_millis(100) {
                        return !sender.is_closed();
                    }
                    told = std::time::Instant::now();
                    say("progress", redacted_json(&searched))
                },
            );
        }
        let mut out = String::new();
        let end = SearchEnd { searched, hits, more: hits >= hits_max };
        feed::event(&mut out, None, Some("end"), &redacted_json(&end));
        let _ = sender.blocking_send(out);
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(text), receiver))
    });
    Ok(feed::events(Body::from_stream(stream)))
}

/// Runs what waits for the disk where it keeps nobody else waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed here"))
}
