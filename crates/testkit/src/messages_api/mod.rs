//! A fake of the API that `claude` talks to: `POST /v1/messages` as a stream and as a whole, token counts, and a polite
//! nothing for the rest. It knows no model, keeps what it was asked, and does what the marks in a prompt say.
//!
//! It listens on loopback only, and ends with the value that started it.

mod answer;
mod marks;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// One request to `/v1/messages`, as far as tests look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The model asked for, by its full name.
    pub model: String,
    /// Everything in the system prompt, in one piece.
    pub system: String,
    /// The words of the message being answered.
    pub prompt: String,
    /// The results of the tools used since then, in one piece each.
    pub results: Vec<String>,
    /// The names of the tools offered.
    pub tools: Vec<String>,
    /// The whole conversation, as JSON text.
    pub messages: String,
    /// How hard the model is to think, if the request says.
    pub effort: Option<String>,
}

/// The running fake.
#[derive(Debug)]
pub struct MessagesApi {
    address: SocketAddr,
    memory: Arc<Memory>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Memory {
    asked: Mutex<Vec<Asked>>,
    /// How often each prompt was asked, for marks that count.
    times: Mutex<HashMap<String, u32>>,
    /// What every request gets, whatever its marks say.
    always: Mutex<Option<marks::Plan>>,
    /// How far the plan of whoever asks is used.
    usage: Mutex<Value>,
}

impl MessagesApi {
    /// Starts it on a free port of loopback.
    pub async fn start() -> anyhow::Result<MessagesApi> {
        MessagesApi::start_at(0).await
    }

    /// Starts it on this port of loopback.
    pub async fn start_at(port: u16) -> anyhow::Result<MessagesApi> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let memory = Arc::new(Memory::default());
        let app = Router::new()
            .route("/v1/messages", post(messages))
            .route("/v1/messages/count_tokens", post(count))
            .route("/api/oauth/usage", get(usage))
            .fallback(anything)
            .with_state(memory.clone());
        let server = tokio::spawn(async move {
            // As the real one: no part of a stream waits for the one before it to be confirmed.
            let listener = listener.tap_io(|it| drop(it.set_nodelay(true)));
            let _ = axum::serve(listener, app).await;
        });
        Ok(MessagesApi { address, memory, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `ANTHROPIC_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.memory.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on every request gets this status; `None`: as the marks say.
    pub fn answer_always(&self, status: Option<u16>) {
        *self.memory.always.lock().unwrap_or_else(PoisonError::into_inner) =
            status.map(marks::Plan::Status);
    }

    /// From now on whoever is logged in is told this of their plan.
    pub fn has_plan(&self, usage: Value) {
        *self.memory.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }

    /// From now on every answer stops because it is as long as may be, and so does whatever is to complete it.
    pub fn never_come_to_an_end(&self) {
        *self.memory.always.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(marks::Plan::TooLong("This answer is as long as may be".to_owned()));
    }

    /// From now on every request is declined, also when it is made once more in other words.
    pub fn decline_everything(&self) {
        *self.memory.always.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(marks::Plan::Refuse);
    }

    /// Serves until the end of the process.
    pub async fn serve(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for MessagesApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn messages(State(memory): State<Arc<Memory>>, Json(request): Json<Value>) -> Response {
    let asked = marks::asked(&request);
    let times = {
        let mut all = memory.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = all.entry(format!("{}\n{}", asked.prompt, asked.results.len())).or_insert(0);
        *times += 1;
        *times
    };
    let always = memory.always.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let plan = always.unwrap_or_else(|| marks::plan(&asked, times));
    let is_stream = request["stream"] == true;
    let model = asked.model.clone();
    memory.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    answer::respond(plan, &model, is_stream).await
}

async fn count() -> Json<Value> {
    Json(json!({ "input_tokens": 7 }))
}

async fn usage(State(memory): State<Arc<Memory>>, headers: HeaderMap) -> Response {
    let is_logged_in = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|it| it.to_str().is_ok_and(|it| it.starts_with("Bearer ")));
    if !is_logged_in {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let usage = memory.usage.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Json(usage).into_response()
}

async fn anything(uri: Uri) -> Response {
    let known = uri.path() == "/" || uri.path().starts_with("/api/");
    if known { Json(json!({})).into_response() } else { StatusCode::NOT_FOUND.into_response() }
}
