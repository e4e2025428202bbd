//! `GET /events`: a page, a long poll, or a stream, as the request's `Accept` says.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tinyclaw_domain::Scope;
use tokio::time::{Instant, timeout_at};

use super::live::Format;
use super::query::Question;
use super::stream;
use super::tickets::TicketHeld;
use super::{App, Asking};
use crate::access::Kind;
use crate::event::{BadCursor, Cursor, Timestamp};
use crate::feed::{Feed, Gap, GapReason};
use crate::problem::{Problem, with_allowance};
use crate::store::{Frame, Page};

/// Events that are kept, and those that come.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let asking = Asking::of(&parts);
    let question = Question::of(asking.uri)?;
    let accept = asking.header(header::ACCEPT).unwrap_or_default();
    let format = Format::of(accept);
    let last = last_event(asking.headers)?;
    // A page cannot send a header with an EventSource: for a stream a ticket does.
    if let (Some(format), Some(ticket)) = (format, question.ticket.clone()) {
        let (caller, held) = TicketHeld::take(&app, &asking, &ticket, "/events", last.is_some())?;
        let begin = begin(&app, &question, last).await?;
        return stream::answer(&app, caller, begin, format, Some(held));
    }
    let caller = app.admit(&asking, Some(Scope::Read)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    if let Some(format) = format {
        let begin = begin(&app, &question, last).await?;
        return stream::answer(&app, caller, begin, format, None);
    }
    let page = match question.wait {
        Some(wait) => wait_for(&app, &question, Instant::now() + wait).await?,
        None => page(&app, &question).await?,
    };
    let gap = question.after.and_then(|after| gap_before(after, &page));
    let mut response = told(&page, gap, &question)?;
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// A subscriber at the place that the request names: what was told last, else a place, else from a time on, else now.
/// The last event that a stream's client saw. What is no place is refused, also where a page is asked for.
fn last_event(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    let place = String::from_utf8_lossy(value.as_bytes()).parse();
    place.map(Some).map_err(|it: BadCursor| Problem::query("Last-Event-ID", it.to_string()))
}

async fn begin(app: &App, question: &Question, last: Option<Cursor>) -> Result<Feed, Problem> {
    let head = app.store.head();
    let place = match last.or(question.after) {
        Some(place) => place,
        None if question.is_from_start || question.filter.since.is_some() => {
            // What is no longer kept was not asked for.
            let page = app.store.page(&question.filter, 0, 1).await?;
            let first = page.frames.first().map_or(page.next, |it| it.cursor.seq - 1);
            Cursor { seq: first, ..page.head }
        }
        None => head,
    };
    Ok(Feed::after(&app.store, question.filter.clone(), place))
}

async fn page(app: &App, question: &Question) -> Result<Page, Problem> {
    let page = match question.after {
        // A place of another database, or of the future, is a gap; what follows it is everything that is kept.
        Some(after) if after.epoch != app.store.head().epoch => {
            app.store.page(&question.filter, 0, question.limit).await?
        }
        Some(after) => app.store.page(&question.filter, after.seq, question.limit).await?,
        None if question.is_from_start || question.filter.since.is_some() => {
            app.store.page(&question.filter, 0, question.limit).await?
        }
        None => app.store.last(&question.filter, question.limit).await?,
    };
    Ok(page)
}

/// The first page that is not empty, or the empty one when the time is over.
async fn wait_for(app: &App, question: &Question, until: Instant) -> Result<Page, Problem> {
    let mut question = question.clone();
    if question.after.is_none() && !question.is_from_start && question.filter.since.is_none() {
        question.after = Some(app.store.head());
    }
    let mut heads = app.store.watch();
    loop {
        heads.mark_unchanged();
        let page = page(app, &question).await?;
        let is_over = app.shutdown.has_begun() || Instant::now() >= until;
        let has_gap = question.after.is_some_and(|it| gap_before(it, &page).is_some());
        if !page.frames.is_empty() || has_gap || is_over {
            return Ok(page);
        }
        question.after = Some(Cursor { seq: page.next, ..page.head });
        // Not everything was looked at yet; else only what comes now has to be.
        if page.next < page.head.seq {
            continue;
        }
        tokio::select! {
            changed = timeout_at(until, heads.changed()) => if changed.is_err() { continue },
            () = app.shutdown.begun() => {}
        }
    }
}

/// What is missing between a place and a page.
fn gap_before(after: Cursor, page: &Page) -> Option<Gap> {
    let at = |seq| Cursor { seq, ..page.head }.to_string();
    if after.epoch != page.head.epoch {
        let (from, to) = (after.to_string(), at(page.first - 1));
        return Some(Gap { from, to, count: None, reason: GapReason::Epoch });
    }
    if after.seq > page.head.seq {
        let count = Some(after.seq - page.head.seq);
        let (from, to) = (at(page.head.seq + 1), after.to_string());
        return Some(Gap { from, to, count, reason: GapReason::Future });
    }
    let count = page.first.checked_sub(after.seq + 1).filter(|it| *it > 0)?;
    let (from, to) = (at(after.seq + 1), at(page.first - 1));
    Some(Gap { from, to, count: Some(count), reason: GapReason::Retention })
}

fn told(page: &Page, gap: Option<Gap>, question: &Question) -> Result<Response, Problem> {
    let mut events = String::from("[");
    for it in &page.frames {
        if events.len() > 1 {
            events.push(',');
        }
        if question.is_pai {
            events.push_str(&pai(it).to_string());
        } else {
            events.push_str(it.body());
        }
    }
    events.push(']');
    let at = |seq| Cursor { seq, ..page.head }.to_string();
    let total = page.head.seq + 1 - page.first;
    let next = if gap.as_ref().is_some_and(|it| it.reason == GapReason::Future) {
        page.head.seq
    } else {
        page.next
    };
    let mut text = format!(
        r#"{{"events":{events},"total":{total},"next":"{}","first":"{}","head":"{}""#,
        at(next),
        at(page.first),
        page.head
    );
    if let Some(gap) = gap {
        let gap = serde_json::to_string(&gap).unwrap_or_default();
        text.push_str(&format!(r#","gap":{gap}"#));
    }
    text.push('}');
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::HeaderName::from_static("x-bus-head"), page.head.to_string()),
    ];
    Ok((headers, text).into_response())
}

/// An event as pai-daemon tells it.
fn pai(frame: &Frame) -> Value {
    let event: Value = serde_json::from_str(frame.body()).unwrap_or_default();
    let time = event["timestamp"].as_str().and_then(Timestamp::of_text);
    let kind = &*frame.kind;
    json!({
        "id": frame.cursor.seq,
        "source_app": &*frame.source,
        "session_id": frame.session.as_deref().unwrap_or_default(),
        "hook_event_type": kind.strip_prefix("claude.").unwrap_or(kind),
        "payload": event["metadata"],
        "timestamp": time.map_or(frame.time, |it| it.ms),
    })
}
