//! `/v1/chat/completions` and `/v1/models`, as the clients of `OpenAI` ask: a prompt for Claude in an environment.
//!
//! The model's name is `[env/]auto` or that of a family, such as `haiku`, `sonnet`, `opus` or `fable`. What is said in a stream cannot be taken back there: when
//! Claude begins a text anew, the stream ends with the error `stream_restarted`, and the job goes on. Tools of the caller's
//! are refused: Claude has its own.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tinyclaw_client::{Stream as Story, Told};
use tinyclaw_domain::{Catalogue, EnvName, Envs, JobEvent, JobId, Quote, quoted};
use tinyclaw_service::now_ms;
use tokio::sync::OwnedSemaphorePermit;

use super::admit::{Admitted, Executes, Reads};
use super::execute::{idempotency_key, model};
use super::live::{self, Format, Live, Pieces, Wake};
use super::tie::Tie;
use super::{App, Asking, body};
use crate::access::Caller;
use crate::event::Invalid;
use crate::jobs::{Accepted, Finished, JobState, Wanted};
use crate::problem::Problem;

/// A conversation is a message of the queue, which has a limit of its own.
const BODY_BYTES_MAX: usize = 1 << 20;
/// So long a caller waits for a whole answer.
const WAIT: Duration = Duration::from_secs(600);
/// The model that the router chooses.
const AUTO: &str = "auto";
/// So much of an earlier message is told again.
const EARLIER_CHARS_MAX: usize = 200_000;

/// What is asked. What else such clients send (a temperature, a limit of tokens) is Claude's own affair.
#[derive(Debug, Deserialize)]
struct Completion {
    model: String,
    messages: Vec<Said>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    n: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Said {
    role: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// The models there are for the caller.
pub(super) async fn models(
    State(app): State<Arc<App>>,
    by: Admitted<Reads>,
) -> Result<Response, Problem> {
    let envs = app.envs.current();
    let usable = usable(&app, &by.caller, &envs).await;
    let mut names: Vec<String> = Vec::new();
    let families = Catalogue::default();
    let models = || std::iter::once(AUTO).chain(families.names());
    if usable.len() == 1 {
        names.extend(models().map(str::to_owned));
    }
    names.extend(usable.iter().flat_map(|env| models().map(move |it| format!("{env}/{it}"))));
    let told = names
        .iter()
        .map(|it| json!({ "id": it, "object": "model", "created": 0, "owned_by": "tinyclaw" }));
    Ok(by.tell(json!({ "object": "list", "data": told.collect::<Vec<_>>() })))
}

/// The environments in which the caller may have Claude work, and which can be used now.
async fn usable<'a>(app: &App, caller: &Caller, envs: &'a Envs) -> Vec<&'a EnvName> {
    let all = app.available(caller, envs).await.into_iter();
    all.filter(|it| it.1).map(|it| it.0).collect()
}

/// Lets Claude answer.
pub(super) async fn complete(
    State(app): State<Arc<App>>,
    by: Admitted<Executes>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asking = Asking::of(&parts);
    let caller = by.caller.clone();
    let again = idempotency_key(&asking)?.map(str::to_owned);
    let session = asking.header("x-session-id").map(str::to_owned);
    let expected = "{ \"model\", \"messages\": [{ \"role\", \"content\" }] }";
    let asked: Completion = body::json(&parts.headers, body, BODY_BYTES_MAX, expected).await?;
    let envs = app.envs.current();
    let wanted = wanted(&app, &caller, &envs, &asked, session).await?;
    let is_stream = asked.stream.unwrap_or(false);
    let place = is_stream.then(|| app.stream_place()).transpose()?;
    let mut tie = Tie::accepting(&app, &caller, &envs, wanted, again, false);
    let accepted = tie.accepted().await?;
    let head = Head {
        id: format!("chatcmpl-{}", accepted.key),
        created: now_ms() / 1_000,
        model: asked.model,
    };
    let mut response = match place {
        Some(place) => {
            let with_usage = asked.stream_options.and_then(|it| it.include_usage).unwrap_or(false);
            stream(&app, caller, &accepted, head, with_usage, place).await?
        }
        None => whole(&app, &envs, &accepted, &head).await?,
    };
    let session = accepted.thread.env().map(|it| it.1.to_string()).unwrap_or_default();
    for (name, value) in [("x-session-id", session), ("x-job-id", accepted.key.to_string())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    by.stamp(&mut response);
    Ok(response)
}

fn refused(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

async fn wanted(
    app: &App,
    caller: &Caller,
    envs: &Envs,
    asked: &Completion,
    session: Option<String>,
) -> Result<Wanted, Problem> {
    let has_any = |it: &Option<Vec<Value>>| it.as_ref().is_some_and(|it| !it.is_empty());
    if has_any(&asked.tools) || has_any(&asked.functions) {
        return Err(refused("tools", "tools of the caller's cannot be used; Claude has its own"));
    }
    if asked.n.is_some_and(|it| it != 1) {
        return Err(refused("choices", "there is one answer; leave n out"));
    }
    let (env, name) = match asked.model.rsplit_once('/') {
        Some((env, name)) => (env, name),
        None => match usable(app, caller, envs).await[..] {
            [env] => (env.as_str(), &*asked.model),
            _ => {
                let detail = "there is more than one environment, or none: write ENV/MODEL, as GET /v1/models lists them";
                return Err(Problem::invalid(Invalid::at("/model", detail)));
            }
        },
    };
    let env = app.env(caller, envs, env).await?;
    let model = match name {
        AUTO => None,
        name => Some(model(name).map_err(|why| Problem::invalid(Invalid::at("/model", why)))?),
    };
    let prompt = prompt(&asked.messages, session.is_some())?;
    Ok(Wanted {
        env,
        session,
        prompt,
        model,
        json_output: false,
        deadline_s: None,
        callback_url: None,
        files: Vec::new(),
    })
}

/// The last message is the prompt, whoever it is from. In a session Claude knows those before; elsewhere they go in front of
/// it, as what they are.
fn prompt(messages: &[Said], has_session: bool) -> Result<String, Problem> {
    let texts = messages.iter().map(|it| it.content.text()).collect::<Result<Vec<_>, _>>()?;
    let Some((last, earlier)) = texts.split_last() else {
        return Err(Problem::invalid(Invalid::at("/messages", "is empty")));
    };
    if has_session || earlier.is_empty() {
        return Ok(last.clone());
    }
    let role = |it: &Said| quoted(&it.role, Quote::Name, 32);
    let mut text = String::from("What was said before in this conversation:\n");
    for (message, said) in messages.iter().zip(earlier) {
        let said = quoted(said, Quote::Block, EARLIER_CHARS_MAX);
        text.push_str(&format!("\n{}:\n{said}\n", role(message)));
    }
    // A person's message is what is expected there.
    let from = messages.last().filter(|it| it.role != "user").map(role);
    let from = from.map(|it| format!(", from {it}")).unwrap_or_default();
    text.push_str(&format!("\nThe message to answer{from}:\n\n{last}"));
    Ok(text)
}

impl Content {
    /// What it says: nothing is no message.
    fn text(&self) -> Result<String, Problem> {
        let texts = match self {
            Content::Text(text) => vec![text.as_str()],
            Content::Parts(parts) => {
                let texts = parts.iter().map(|it| it.text.as_deref().filter(|_| it.kind == "text"));
                texts.collect::<Option<Vec<_>>>().ok_or_else(|| {
                    refused("content", "only text can be said here, no pictures and no sound")
                })?
            }
        };
        if texts.is_empty() || texts.iter().any(|it| it.trim().is_empty()) {
            return Err(Problem::invalid(Invalid::at("/messages", "one says nothing")));
        }
        Ok(texts.join("\n"))
    }
}

/// What stands in every answer and in every piece of one.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn with(&self, object: &str, more: Value) -> Value {
        let mut told = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
        });
        if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(more);
        }
        told
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        self.with("chat.completion.chunk", json!({ "choices": [choice] }))
    }
}

fn usage(finished: &Finished) -> Value {
    let (given, written) = (finished.usage.context(), finished.usage.output_tokens);
    json!({ "prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written })
}

async fn whole(
    app: &App,
    envs: &Envs,
    accepted: &Accepted,
    head: &Head,
) -> Result<Response, Problem> {
    let finished = tokio::select! {
        finished = app.jobs.wait(envs, &accepted.thread, &accepted.key, WAIT) => finished?,
        () = app.shutdown.begun() => None,
    };
    let Some(finished) = finished else {
        let detail = format!("the job goes on; it is found at /api/jobs/{}", accepted.key);
        return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "still_running", detail));
    };
    if finished.state != JobState::Done {
        let status = match finished.state {
            JobState::Stopped | JobState::Cancelled => StatusCode::CONFLICT,
            _ => StatusCode::BAD_GATEWAY,
        };
        return Err(Problem::new(status, finished.state.as_str(), finished.error()));
    }
    let message = json!({ "role": "assistant", "content": finished.output() });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    let more = json!({ "choices": [choice], "usage": usage(&finished) });
    Ok(axum::Json(head.with("chat.completion", more)).into_response())
}

struct Stream {
    live: Live,
    accepted: Accepted,
    story: Story,
    head: Head,
    with_usage: bool,
    /// What was said of the piece that Claude writes now.
    piece: String,
    /// Whether anything was said.
    has_said: bool,
    /// Whether a piece was said whole, so that the next one is another paragraph.
    has_piece: bool,
    is_greeted: bool,
}

async fn stream(
    app: &Arc<App>,
    caller: Caller,
    accepted: &Accepted,
    head: Head,
    with_usage: bool,
    place: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let stream = Stream {
        story: app.jobs.stream(&accepted.key, JobId::default()).await?,
        live: Live::new(app, caller, Format::Sse, None, place),
        accepted: accepted.clone(),
        head,
        with_usage,
        piece: String::new(),
        has_said: false,
        has_piece: false,
        is_greeted: false,
    };
    Ok(live::answer(Format::Sse, stream))
}

impl Pieces for Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.is_greeted, true) {
            let delta = json!({ "role": "assistant", "content": "" });
            return Some(data(&self.head.chunk(delta, None)).into());
        }
        loop {
            let out = match self.live.next(self.story.next()).await {
                Wake::Told(Ok(Told::Line(line))) => self.line(line.event),
                Wake::Told(Ok(Told::Ended(ending))) => {
                    let (jobs, envs) =
                        (Arc::clone(&self.live.app.jobs), self.live.app.envs.current());
                    let Accepted { key, thread, .. } = &self.accepted;
                    match jobs.finished(&envs, thread, key, ending).await {
                        Ok(finished) => self.end(&finished),
                        Err(_) => self.broken("queue_unavailable", "the queue cannot be looked at"),
                    }
                }
                Wake::Told(Err(err)) => self.broken("story_unreadable", &err.to_string()),
                Wake::Beat => ": here\n\n".to_owned(),
                Wake::Stops(_) => self.broken("draining", "this gateway stops; the job goes on"),
                Wake::Over => return None,
            };
            if !out.is_empty() {
                self.live.has_said();
                return Some(out.into());
            }
        }
    }
}

impl Stream {
    /// What a line of the story is in this shape; empty when it is nothing there.
    fn line(&mut self, event: JobEvent) -> String {
        match event {
            JobEvent::Text { text } => {
                let out = self.say(&text);
                self.piece.push_str(&text);
                out
            }
            JobEvent::TextDone { text } => {
                let Some(rest) = text.strip_prefix(&*self.piece).map(str::to_owned) else {
                    return self.restarted();
                };
                let out = self.say(&rest);
                self.piece.clear();
                self.has_piece = true;
                out
            }
            JobEvent::Void if self.piece.is_empty() => String::new(),
            JobEvent::Restart { .. } if !self.has_said => String::new(),
            JobEvent::Void | JobEvent::Restart { .. } => self.restarted(),
            _ => String::new(),
        }
    }

    fn say(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let is_next_piece = self.piece.is_empty() && self.has_piece;
        self.has_said = true;
        let content = if is_next_piece { format!("\n\n{text}") } else { text.to_owned() };
        data(&self.head.chunk(json!({ "content": content }), None))
    }

    fn end(&mut self, finished: &Finished) -> String {
        if finished.state != JobState::Done {
            return self.broken(finished.state.as_str(), finished.error());
        }
        self.live.end();
        // Its story is gone, or was never kept.
        let mut out = if self.has_said { String::new() } else { self.say(finished.output()) };
        out.push_str(&data(&self.head.chunk(json!({}), Some("stop"))));
        if self.with_usage {
            let more = json!({ "choices": [], "usage": usage(finished) });
            out.push_str(&data(&self.head.with("chat.completion.chunk", more)));
        }
        out.push_str("data: [DONE]\n\n");
        out
    }

    fn restarted(&mut self) -> String {
        let detail =
            "Claude begins anew, and what was said cannot be taken back here; the job goes on";
        self.broken("stream_restarted", detail)
    }

    fn broken(&mut self, code: &str, detail: &str) -> String {
        self.live.end();
        let job = self.accepted.key.to_string();
        data(
            &json!({ "error": { "message": detail, "type": code, "code": code, "param": null, "jobId": job } }),
        )
    }
}

fn data(told: &Value) -> String {
    format!("data: {told}\n\n")
}
