//! `/ws`: every event as a frame, and a few words that a client may say.
//!
//! | client says | it is told |
//! |---|---|
//! | nothing | `init` with the last events, then each `event` as it comes |
//! | `{"type":"subscribe","after":"k7q2-100","types":["session.*"]}` | what follows that place, if it passes |
//! | `{"type":"subscribe","job":"api-…","after":"1771234567905-3"}` | beside the events, the story of that job as frames `job` |
//! | `{"type":"ping"}` | `pong` |
//! | anything else | `error`, and goes on as before |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::SinkExt as _;
use serde::Deserialize;
use serde_json::json;
use tinyclaw_domain::Scope;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, interval_at};

use super::query::Question;
use super::ws_jobs::Jobs;
use super::{App, Asking};
use crate::access::{Caller, Denied, Kind, TicketUse};
use crate::event::{Cursor, bad_name, is_name};
use crate::feed::{Feed, Told};
use crate::filter::{Filter, Pattern, TYPES_MAX, too_many_types};
use crate::problem::Problem;

/// So many events come with the greeting.
const INIT_EVENTS: usize = 50;
/// A client says little.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// How often a client is asked whether it is there,
const PING_EVERY: Duration = Duration::from_secs(20);
/// and how long it may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const GOING_AWAY: u16 = 1001;
const TOO_BIG: u16 = 1009;
const NO_LONGER_ALLOWED: u16 = 4401;

/// Takes the connection over.
pub(super) async fn upgrade(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let asking = Asking::of(&parts);
    let question = Question::of(asking.uri)?;
    let protocol = asking.header(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let protocol = protocol.split(',').map(str::trim).find(|it| it.starts_with("ticket."));
    let protocol = protocol.map(str::to_owned);
    let shown = protocol.as_ref().and_then(|it| it.strip_prefix("ticket."));
    let caller = match question.ticket.as_deref().or(shown) {
        Some(ticket) => {
            let taken = app.access.tickets.take(ticket, "/ws", asking.origin(), TicketUse::Once);
            let (caller, _) = taken.map_err(|_| app.denied(Denied::BadToken, &asking))?;
            app.permit(caller, &asking, Some(Scope::Read))?
        }
        None => app.admit(&asking, Some(Scope::Read)).await?,
    };
    app.ask(Kind::Read, &caller, 1)?;
    let place = app.stream_place()?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this path is a WebSocket")
    })?;
    let upgrade = upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .read_buffer_size(4 << 10)
        .write_buffer_size(32 << 10)
        .max_write_buffer_size(1 << 20);
    let upgrade = match protocol {
        Some(it) => upgrade.protocols([it]),
        None => upgrade,
    };
    Ok(upgrade.on_upgrade(move |socket| async move {
        let socket = Client { app, caller, socket, _place: place };
        socket.serve(question).await;
    }))
}

struct Client {
    app: Arc<App>,
    caller: Caller,
    socket: WebSocket,
    _place: OwnedSemaphorePermit,
}

/// Why a connection ends.
enum End {
    /// With a word to the client.
    Close(u16, &'static str),
    /// The client is gone.
    Gone,
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum FromClient {
    Ping {},
    Subscribe {
        after: Option<String>,
        #[serde(default)]
        types: Vec<String>,
        session: Option<String>,
        source: Option<String>,
        subject: Option<String>,
        /// In place of all but `after`.
        job: Option<String>,
    },
}

impl Client {
    async fn serve(mut self, question: Question) {
        let end = self.tell(question).await;
        if let End::Close(code, reason) = end {
            let frame = CloseFrame { code, reason: reason.into() };
            // It is over whether it is heard or not.
            let close = self.socket.send(Message::Close(Some(frame)));
            let _ = tokio::time::timeout(Duration::from_secs(2), close).await;
        }
    }

    async fn tell(&mut self, question: Question) -> End {
        let mut feed = match self.greet(question).await {
            Ok(feed) => feed,
            Err(end) => return end,
        };
        let mut jobs = Jobs::new();
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut heard = Instant::now();
        loop {
            let access = Arc::clone(&self.app.access);
            let shutdown = self.app.shutdown.clone();
            let frames = tokio::select! {
                told = feed.next() => {
                    self.app.count_gaps(&told);
                    told.iter().map(frame).collect()
                }
                told = jobs.next() => vec![Message::Text(told.into())],
                message = self.socket.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => {
                            let (app, caller) = (&self.app, &self.caller);
                            vec![answer(app, caller, &text, &mut feed, &mut jobs).await]
                        }
                        Some(Ok(Message::Binary(_))) => vec![error("expected text, with JSON in it")],
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Vec::new(),
                        Some(Err(err)) if is_too_big(&err) => {
                            return End::Close(TOO_BIG, "a frame may have 64 KiB");
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return End::Gone;
                    }
                    vec![Message::Ping(axum::body::Bytes::new())]
                }
                () = access.ended(&self.caller) => {
                    return End::Close(NO_LONGER_ALLOWED, "the token is good no more");
                }
                () = shutdown.begun() => return End::Close(GOING_AWAY, "the gateway stops"),
            };
            if let Err(end) = self.send(frames).await {
                return end;
            }
        }
    }

    /// The last events, and then what comes; from a place that was named, everything.
    async fn greet(&mut self, question: Question) -> Result<Feed, End> {
        let store = self.app.store.clone();
        let (events, place) = match question.after {
            Some(place) => ("[]".to_owned(), place),
            None => match store.last(&question.filter, INIT_EVENTS).await {
                Ok(page) => {
                    let bodies: Vec<&str> = page.frames.iter().map(|it| it.body()).collect();
                    (format!("[{}]", bodies.join(",")), Cursor { seq: page.next, ..page.head })
                }
                Err(err) => {
                    tracing::warn!("a WebSocket's greeting has no events: {err}");
                    ("[]".to_owned(), store.head())
                }
            },
        };
        let head = store.head();
        let greeting = format!(
            r#"{{"type":"init","data":{{"events":{events},"message":"connected to tinyclaw","epoch":"{}","head":"{head}"}}}}"#,
            head.epoch
        );
        self.send(vec![Message::Text(greeting.into())]).await?;
        Ok(Feed::after(&store, question.filter, place))
    }

    /// Sends frames. A client that takes none holds up nobody else, and does not keep its token alive either.
    async fn send(&mut self, frames: Vec<Message>) -> Result<(), End> {
        let access = Arc::clone(&self.app.access);
        let (socket, caller) = (&mut self.socket, &self.caller);
        let sending = async {
            for it in frames {
                socket.feed(it).await?;
            }
            socket.flush().await
        };
        tokio::select! {
            sent = sending => sent.map_err(|_| End::Gone),
            () = access.ended(caller) => Err(End::Gone),
            () = self.app.shutdown.begun() => Err(End::Gone),
        }
    }
}

/// What a client's word brings.
async fn answer(
    app: &Arc<App>,
    caller: &Caller,
    text: &str,
    feed: &mut Feed,
    jobs: &mut Jobs,
) -> Message {
    match serde_json::from_str(text) {
        Ok(FromClient::Ping {}) => Message::Text(r#"{"type":"pong"}"#.into()),
        Ok(FromClient::Subscribe { job: Some(id), after, types, session, source, subject }) => {
            if !types.is_empty() || session.or(source).or(subject).is_some() {
                return error(
                    "a job is subscribed to by itself; types, session, source and subject are of events",
                );
            }
            match jobs.follow(app, caller, &id, after.as_deref()).await {
                Ok(told) => Message::Text(told.to_string().into()),
                Err(why) => error(&why),
            }
        }
        Ok(FromClient::Subscribe { job: None, after, types, session, source, subject }) => {
            let after = after.map(|it| it.parse::<Cursor>()).transpose();
            let has_too_many = types.len() > TYPES_MAX;
            let types: Result<Vec<Pattern>, _> =
                types.iter().map(|it| Pattern::parse(it)).collect();
            let names = [&session, &source, &subject];
            match (after, types) {
                // No event has such a one, as in an address.
                _ if !names.into_iter().flatten().all(|it| is_name(it)) => error(&bad_name()),
                _ if has_too_many => error(&too_many_types()),
                (Ok(after), Ok(types)) => {
                    let filter = Filter { types, source, session, subject, since: None };
                    feed.change(filter, after);
                    let next = feed.place();
                    Message::Text(
                        format!(r#"{{"type":"subscribed","data":{{"next":"{next}"}}}}"#).into(),
                    )
                }
                (Err(err), _) => error(&err.to_string()),
                (_, Err(err)) => error(err),
            }
        }
        Err(err) => error(&format!("that is not understood: {err}")),
    }
}

fn frame(told: &Told) -> Message {
    match told {
        Told::Event(it) => Message::Text(it.ws()),
        Told::Gap(it) => Message::Text(it.frame().into()),
    }
}

fn error(says: &str) -> Message {
    Message::Text(json!({ "type": "error", "data": { "message": says } }).to_string().into())
}

fn is_too_big(err: &axum::Error) -> bool {
    let text = std::error::Error::source(err).map_or_else(|| err.to_string(), ToString::to_string);
    text.contains("too long") || text.contains("too big") || text.contains("Space limit")
}
