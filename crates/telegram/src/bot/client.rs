//! Talking to the Bot API: teloxide's payloads over a transport of our own, and what a failure means.
//!
//! The transport is ours for three reasons: teloxide's `Bot` waits ten seconds inside a call after a 5xx, it calls a
//! message that was sent but cannot be parsed a failure, and its types drop fields that are newer than they are
//! (`style`, and whatever an update brings). So answers stay JSON, and whoever needs a field takes it.
//!
//! The one question that matters after a failure is whether the request may have been carried out; [`CallError`] answers
//! it. Nothing here tries again. The token is in every URL, so no error carries one.

use std::sync::RwLock;
use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value, json};
use teloxide::payloads::GetMe;
use teloxide::requests::Payload;
use tokio::time::Instant;

use crate::bot::connection::Connection;
use crate::bot::surrogates;

/// Names may take a while to resolve, but a host that does not answer in this time is away.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Ordinary calls are answered in well under a second.
const CALL_TIME: Duration = Duration::from_secs(30);
/// An upload of 50 MB through a slow line.
const UPLOAD_TIME: Duration = Duration::from_secs(300);
/// Whoever is asked for a sign of life either gives one soon or is asked again.
const LIFE_TIME: Duration = Duration::from_secs(4);
/// What a long poll may take beyond the time it was asked to wait.
const POLL_SLACK: Duration = Duration::from_secs(20);

/// The updates we want. Everything else stays with Telegram.
pub const ALLOWED_UPDATES: [&str; 5] =
    ["message", "edited_message", "callback_query", "message_reaction", "my_chat_member"];

/// A call that did not work, by what it means for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It never left: trying again repeats nothing.
    #[error("{method} did not reach Telegram: {why}")]
    Unsent {
        /// The method.
        method: &'static str,
        /// Why.
        why: String,
    },
    /// It may have been carried out: the answer is missing.
    #[error("{method} may or may not have reached Telegram: {why}")]
    Ambiguous {
        /// The method.
        method: &'static str,
        /// Why.
        why: String,
    },
    /// Too many requests; leave the chat alone for so long.
    #[error("{method} came too soon: wait {} s", wait.as_secs())]
    Flood {
        /// The method.
        method: &'static str,
        /// `retry_after`.
        wait: Duration,
    },
    /// The chat has another id now.
    #[error("{method}: the chat has become {to}")]
    Migrated {
        /// The method.
        method: &'static str,
        /// The new id.
        to: i64,
    },
    /// Telegram says no, and will say so again.
    #[error("{method} was refused: {description}")]
    Refused {
        /// The method.
        method: &'static str,
        /// `error_code`.
        code: u16,
        /// What it means, as far as we know.
        what: Refusal,
        /// Telegram's words.
        description: String,
    },
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The message is already as it should be.
    NotModified,
    /// The markup is not valid.
    Markup,
    /// The topic is gone.
    TopicGone,
    /// The topic is closed to us.
    TopicClosed,
    /// The message to edit, delete or react to is gone.
    MessageGone,
    /// The message to edit is somebody else's.
    NotOurs,
    /// The text is too long.
    TooLong,
    /// We are not in that chat any more, or it never was.
    ChatGone,
    /// The token is not valid.
    Unauthorized,
    /// Somebody else polls with our token.
    OtherPoller,
    /// A webhook is set, which ends polling.
    Webhook,
    /// The button was pressed too long ago.
    QueryTooOld,
    /// The file is too large for the Bot API.
    FileTooBig,
    /// Anything else.
    Other,
}

impl Refusal {
    /// The only place that reads Telegram's prose.
    fn of(code: u16, description: &str) -> Refusal {
        let text = description.to_ascii_lowercase();
        let has = |words: &str| text.contains(words);
        match code {
            401 => Refusal::Unauthorized,
            // An unknown token in the path is "Not Found".
            404 if text == "not found" => Refusal::Unauthorized,
            409 if has("webhook") => Refusal::Webhook,
            409 => Refusal::OtherPoller,
            403 => Refusal::ChatGone,
            _ if has("message is not modified") || has("topic_not_modified") => {
                Refusal::NotModified
            }
            _ if has("can't parse entities") => Refusal::Markup,
            _ if has("message thread not found")
                || has("topic_id_invalid")
                || has("topic_deleted") =>
            {
                Refusal::TopicGone
            }
            _ if has("topic_closed") => Refusal::TopicClosed,
            _ if has("message can't be edited") => Refusal::NotOurs,
            _ if has("message to edit not found")
                || has("message to delete not found")
                || has("message can't be deleted")
                || has("message to react not found")
                || has("message_id_invalid") =>
            {
                Refusal::MessageGone
            }
            _ if has("too long") || has("message_too_long") => Refusal::TooLong,
            _ if has("chat not found") || has("bot was kicked") => Refusal::ChatGone,
            _ if has("query is too old") => Refusal::QueryTooOld,
            _ if has("file is too big") || code == 413 => Refusal::FileTooBig,
            _ => Refusal::Other,
        }
    }
}

impl CallError {
    /// The kind of refusal, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            CallError::Refused { what, .. } => Some(*what),
            _ => None,
        }
    }

    /// Whether trying again later may help without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        !matches!(self, CallError::Refused { .. })
    }
}

/// A file on its way out.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The name people see.
    pub name: String,
    /// Its media type.
    pub mime: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The connection to one bot's account.
#[derive(Debug)]
pub struct Client {
    base: reqwest::Url,
    token: SecretString,
    /// Replaced when its connections may be dead; held to take a copy, never over a call.
    http: RwLock<reqwest::Client>,
    connection: Connection,
}

impl Client {
    /// A client of the Bot API at `api_url`. Connects with the first call.
    pub fn new(api_url: &str, token: SecretString) -> anyhow::Result<Client> {
        let mut base = reqwest::Url::parse(api_url).context("cannot read TELEGRAM_API_URL")?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = RwLock::new(http_client(&base)?);
        Ok(Client { base, token, http, connection: Connection::new() })
    }

    /// Begins with fresh connections: the old ones may be dead without knowing it.
    pub fn reconnect(&self) -> anyhow::Result<()> {
        let fresh = http_client(&self.base)?;
        *self.http.write().unwrap_or_else(|it| it.into_inner()) = fresh;
        Ok(())
    }

    /// Whether Telegram answers.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes a call that changes nothing, for what it tells about the connection. Where there is no answer at all, the
    /// connection may be dead without knowing it.
    pub(crate) async fn ask_for_life(&self) {
        let asked = self.post(GetMe::NAME, LIFE_TIME, |it| it.json(&GetMe::new())).await;
        if let Err(CallError::Ambiguous { .. }) = asked
            && let Err(err) = self.reconnect()
        {
            tracing::error!("{err:#}");
        }
    }

    /// Calls a method. The answer is Telegram's `result`.
    pub async fn call<P: Payload + Serialize>(&self, payload: &P) -> Result<Value, CallError> {
        self.call_with(payload, Map::new()).await
    }

    /// [`Client::call`] with fields that teloxide's types do not know yet.
    pub async fn call_with<P: Payload + Serialize>(
        &self,
        payload: &P,
        more: Map<String, Value>,
    ) -> Result<Value, CallError> {
        let mut body = serde_json::to_value(payload).map_err(|it| unsent(P::NAME, &it))?;
        if let Some(fields) = body.as_object_mut() {
            fields.extend(more);
        }
        self.post(P::NAME, CALL_TIME, |it| it.json(&body)).await
    }

    /// Waits up to `wait` for updates from `offset` on; confirms all before it. Each is the JSON as it came.
    pub async fn updates(
        &self,
        offset: Option<i64>,
        wait: Duration,
    ) -> Result<Vec<Value>, CallError> {
        let mut body = json!({"timeout": wait.as_secs(), "allowed_updates": ALLOWED_UPDATES});
        if let (Some(offset), Some(fields)) = (offset, body.as_object_mut()) {
            fields.insert("offset".to_owned(), offset.into());
        }
        let answer = self.post("getUpdates", wait + POLL_SLACK, |it| it.json(&body)).await?;
        match answer {
            Value::Array(updates) => Ok(updates),
            _ => Err(ambiguous("getUpdates", &"the answer is no list")),
        }
    }

    /// Sends files: `method` with its parameters, and each file under the name its parameter refers to.
    pub async fn upload(
        &self,
        method: &'static str,
        params: Map<String, Value>,
        files: Vec<(String, Upload)>,
    ) -> Result<Value, CallError> {
        let mut form = reqwest::multipart::Form::new();
        for (name, value) in params {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            form = form.text(name, text);
        }
        for (name, file) in files {
            let part = reqwest::multipart::Part::bytes(file.bytes).file_name(file.name);
            let part = part.mime_str(&file.mime).map_err(|it| unsent(method, &it))?;
            form = form.part(name, part);
        }
        self.post(method, UPLOAD_TIME, |it| it.multipart(form)).await
    }

    /// Fetches a file by the path that `getFile` gave, at most `bytes_max` of it.
    pub async fn download(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, CallError> {
        const METHOD: &str = "download";
        let url = self.url(&format!("file/bot{}/{path}", self.token.expose_secret()));
        let url = url.map_err(|it| unsent(METHOD, &it))?;
        let mut response = self
            .http()
            .get(url)
            .timeout(UPLOAD_TIME)
            .send()
            .await
            .map_err(|it| failed(METHOD, it))?;
        if !response.status().is_success() {
            return Err(unsent(METHOD, &response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|it| failed(METHOD, it))? {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(refused(METHOD, 413, "file is too big".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn http(&self) -> reqwest::Client {
        self.http.read().unwrap_or_else(|it| it.into_inner()).clone()
    }

    fn url(&self, path: &str) -> Result<reqwest::Url, &'static str> {
        // With the dot it is a path; without, the token's colon would make what stands before it a scheme.
        self.base.join(&format!("./{path}")).map_err(|_| "the path makes no URL")
    }

    async fn post(
        &self,
        method: &'static str,
        patience: Duration,
        body: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Value, CallError> {
        let url = self.url(&format!("bot{}/{method}", self.token.expose_secret()));
        let url = url.map_err(|it| unsent(method, &it))?;
        let request = body(self.http().post(url)).timeout(patience);
        let begun = Instant::now();
        let done = tokio::select! {
            done = answer_to(method, request) => done,
            // A poll and an upload may well take longer than what others ask meanwhile.
            () = self.connection.has_passed(begun), if patience == CALL_TIME => {
                Err(ambiguous(method, &"later calls were answered, and this one was not"))
            }
        };
        match &done {
            Err(CallError::Unsent { .. } | CallError::Ambiguous { .. }) => self.connection.failed(),
            it => self.connection.answered(method, begun, it.is_ok()),
        }
        done
    }
}

fn http_client(base: &reqwest::Url) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIME)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_secs(90));
    if matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build().context("cannot set up HTTPS")
}

/// JSON, also with halves of characters in it, which make no text: clients send them, and Telegram hands them on.
fn parse(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes)
        .or_else(|_| serde_json::from_slice(&surrogates::replaced(bytes)))
        .ok()
}

async fn answer_to(
    method: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<Value, CallError> {
    let response = request.send().await.map_err(|it| failed(method, it))?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(|it| failed(method, it))?;
    let Some(answer) = parse(&bytes) else {
        // A proxy's page. Whether Telegram saw the request is anybody's guess.
        return Err(ambiguous(method, &format!("status {}", status.as_u16())));
    };
    read_answer(method, status.as_u16(), answer)
}

fn read_answer(method: &'static str, status: u16, mut answer: Value) -> Result<Value, CallError> {
    if answer["ok"] == true {
        return Ok(answer["result"].take());
    }
    let code = answer["error_code"].as_u64().and_then(|it| it.try_into().ok()).unwrap_or(status);
    let description = answer["description"].as_str().unwrap_or("no description").to_owned();
    let parameters = &answer["parameters"];
    if let Some(to) = parameters["migrate_to_chat_id"].as_i64() {
        return Err(CallError::Migrated { method, to });
    }
    if code == 429 {
        let seconds = parameters["retry_after"].as_u64().unwrap_or(5);
        return Err(CallError::Flood { method, wait: Duration::from_secs(seconds) });
    }
    if code >= 500 {
        return Err(ambiguous(method, &description));
    }
    Err(refused(method, code, description))
}

fn refused(method: &'static str, code: u16, description: String) -> CallError {
    CallError::Refused { method, code, what: Refusal::of(code, &description), description }
}

fn unsent(method: &'static str, why: &dyn std::fmt::Display) -> CallError {
    CallError::Unsent { method, why: why.to_string() }
}

fn ambiguous(method: &'static str, why: &dyn std::fmt::Display) -> CallError {
    CallError::Ambiguous { method, why: why.to_string() }
}

fn failed(method: &'static str, err: reqwest::Error) -> CallError {
    let never_left = err.is_connect() || err.is_builder() || err.is_request() && err.is_connect();
    // The URL holds the token.
    let err = err.without_url();
    let mut why = err.to_string();
    let mut source = std::error::Error::source(&err);
    while let Some(it) = source {
        why.push_str(": ");
        why.push_str(&it.to_string());
        source = it.source();
    }
    if never_left { unsent(method, &why) } else { ambiguous(method, &why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refusal(code: u16, description: &str, expected: Refusal) {
        let answer = json!({"ok": false, "error_code": code, "description": description});
        assert_eq!(read_answer("x", code, answer).unwrap_err().refusal(), Some(expected));
    }

    #[test]
    fn telegrams_words_have_a_meaning() {
        refusal(400, "Bad Request: message thread not found", Refusal::TopicGone);
        refusal(400, "Bad Request: TOPIC_CLOSED", Refusal::TopicClosed);
        refusal(
            400,
            "Bad Request: can't parse entities: Unexpected end tag at byte offset 1",
            Refusal::Markup,
        );
        refusal(
            400,
            "Bad Request: message is not modified: specified new message content",
            Refusal::NotModified,
        );
        refusal(403, "Forbidden: bot was kicked from the supergroup chat", Refusal::ChatGone);
        refusal(409, "Conflict: terminated by other getUpdates request", Refusal::OtherPoller);
        refusal(401, "Unauthorized", Refusal::Unauthorized);
        refusal(400, "Bad Request: something new", Refusal::Other);
    }

    #[test]
    fn what_may_have_happened_is_told_from_what_has_not() {
        let answer = json!({"ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 7}});
        assert_eq!(
            read_answer("x", 429, answer),
            Err(CallError::Flood { method: "x", wait: Duration::from_secs(7) })
        );
        let answer =
            json!({"ok": false, "error_code": 500, "description": "Internal Server Error"});
        assert!(matches!(read_answer("x", 500, answer), Err(CallError::Ambiguous { .. })));
        let answer = json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded to a supergroup chat", "parameters": {"migrate_to_chat_id": -1005}});
        assert_eq!(
            read_answer("x", 400, answer),
            Err(CallError::Migrated { method: "x", to: -1005 })
        );
    }
}
