//! The Docker daemon: HTTP/1.1 over its socket, a connection a request, each with a limit of time and size.
//!
//! What it answers is text of the machine's own daemon; its messages are shown to people, and decide nothing but by their status.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::container::LABEL;

/// A daemon that says nothing for so long is away. Stopping takes up to [`STOP_S`] in it.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer of the daemon's is a few kilobytes; a list of containers some more.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of its words a person is shown.
const MESSAGE_CHARS_MAX: usize = 300;
/// So many seconds the first process of a container has to end. It ends at once.
const STOP_S: u32 = 5;

/// The daemon behind this socket.
#[derive(Debug, Clone)]
pub(crate) struct Docker(PathBuf);

/// What the daemon did not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DockerError {
    /// It is not there, or does not answer to the end.
    #[error("docker is away: {0}")]
    Away(String),
    /// It says no.
    #[error("docker refuses to {step}: {message}")]
    Refused {
        /// What it was asked for.
        step: &'static str,
        status: u16,
        message: String,
    },
    /// It says something else than it should.
    #[error("docker's answer to {step} is not understood: {why}")]
    Answer { step: &'static str, why: String },
}

impl DockerError {
    fn is(&self, code: u16) -> bool {
        matches!(self, DockerError::Refused { status, .. } if *status == code)
    }
}

/// A container as the daemon lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    /// Without the slash that it begins with.
    pub(crate) name: String,
    pub(crate) env: String,
    pub(crate) made_of: String,
    pub(crate) is_running: bool,
    pub(crate) is_paused: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

impl Docker {
    pub(crate) fn new(socket: &Path) -> Docker {
        Docker(socket.to_owned())
    }

    /// Every container of ours; of this environment alone, when one is named.
    pub(crate) async fn containers(&self, env: Option<&str>) -> Result<Vec<Found>, DockerError> {
        let step = "list containers";
        let label = env.map_or_else(|| LABEL.to_owned(), |it| format!("{LABEL}={it}"));
        let filter = escape(&serde_json::json!({ "label": [label] }).to_string());
        let path = format!("/containers/json?all=true&filters={filter}");
        let answer = self.ask(step, Method::GET, &path, Body::empty()).await?;
        let listed: Vec<Listed> = read(step, &answer)?;
        let found = listed.into_iter().filter_map(|it| {
            let label = |name: &str| it.labels.get(name).cloned().unwrap_or_default();
            let name = it.names.iter().find_map(|it| it.strip_prefix('/'))?.to_owned();
            Some(Found {
                name,
                env: label(LABEL),
                made_of: label(crate::container::LABEL_MADE_OF),
                // A paused one is listed under that word alone.
                is_running: matches!(it.state.as_str(), "running" | "paused" | "restarting"),
                is_paused: it.state == "paused",
                id: it.id,
            })
        });
        // The daemon's filter is asked for; what it means by it is seen to here.
        Ok(found.filter(|it| env.is_none_or(|env| env == it.env)).collect())
    }

    /// The id of an image that is here.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<String>, DockerError> {
        let step = "look at an image";
        let path = format!("/images/{}/json", escape_path(name));
        match self.ask(step, Method::GET, &path, Body::empty()).await {
            Ok(answer) => Ok(Some(read::<Made>(step, &answer)?.id)),
            Err(err) if err.is(404) => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub(crate) async fn create(&self, name: &str, body: &Value) -> Result<String, DockerError> {
        let step = "make a container";
        let path = format!("/containers/create?name={}", escape(name));
        let answer = self.ask(step, Method::POST, &path, json(body)).await?;
        Ok(read::<Made>(step, &answer)?.id)
    }

    /// Puts an archive's entries below a folder of a container.
    pub(crate) async fn put(&self, id: &str, dir: &str, tar: Vec<u8>) -> Result<(), DockerError> {
        let path = format!("/containers/{id}/archive?path={}", escape(dir));
        self.ask("fill a volume", Method::PUT, &path, Body::from(tar)).await.map(drop)
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), DockerError> {
        self.order("start a container", id, "start").await
    }

    pub(crate) async fn pause(&self, id: &str) -> Result<(), DockerError> {
        self.order("pause a container", id, "pause").await
    }

    pub(crate) async fn unpause(&self, id: &str) -> Result<(), DockerError> {
        self.order("wake a container", id, "unpause").await
    }

    pub(crate) async fn stop(&self, id: &str) -> Result<(), DockerError> {
        self.order("stop a container", id, &format!("stop?t={STOP_S}")).await
    }

    async fn order(&self, step: &'static str, id: &str, what: &str) -> Result<(), DockerError> {
        let path = format!("/containers/{id}/{what}");
        self.ask(step, Method::POST, &path, Body::empty()).await.map(drop)
    }

    /// With the volumes that no name was given to. One that is not there is removed.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let path = format!("/containers/{id}?force=true&v=true");
        match self.ask("remove a container", Method::DELETE, &path, Body::empty()).await {
            Err(err) if err.is(404) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes a network if it is not there. One porter does that at a time: two calls could make two.
    pub(crate) async fn network(&self, name: &str, body: &Value) -> Result<(), DockerError> {
        let path = format!("/networks/{name}");
        match self.ask("look at a network", Method::GET, &path, Body::empty()).await {
            Err(err) if err.is(404) => {}
            other => return other.map(drop),
        }
        self.ask("make a network", Method::POST, "/networks/create", json(body)).await.map(drop)
    }

    /// Starts a command in a container that runs; its streams, as the daemon interleaves them.
    pub(crate) async fn exec(
        &self,
        id: &str,
        body: &Value,
    ) -> Result<TokioIo<Upgraded>, DockerError> {
        let step = "start a command";
        let path = format!("/containers/{id}/exec");
        let answer = self.ask(step, Method::POST, &path, json(body)).await?;
        let exec = read::<Made>(step, &answer)?.id;
        let body = json(&serde_json::json!({ "Detach": false, "Tty": false }));
        let request = Request::post(format!("/exec/{exec}/start"))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp");
        let answer = self.send(step, request, body).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status();
            let said = self.body(answer).await?;
            return Err(refusal(step, status, &said));
        }
        let upgraded = hyper::upgrade::on(answer).await;
        upgraded.map(TokioIo::new).map_err(|err| DockerError::Away(err.to_string()))
    }

    async fn ask(
        &self,
        step: &'static str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Bytes, DockerError> {
        let request = Request::builder().method(method).uri(path);
        let answer = self.send(step, request, body).await?;
        let status = answer.status();
        let said = self.body(answer).await?;
        // 304: it is already as it was asked to be.
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(said);
        }
        Err(refusal(step, status, &said))
    }

    async fn send(
        &self,
        step: &'static str,
        request: axum::http::request::Builder,
        body: Body,
    ) -> Result<axum::http::Response<hyper::body::Incoming>, DockerError> {
        let away = |err: &dyn std::error::Error| DockerError::Away(format!("{step}: {err}"));
        let request = request
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, if step == "fill a volume" { TAR } else { JSON })
            .body(body)
            .map_err(|err| away(&err))?;
        let sent = async {
            let stream = UnixStream::connect(&self.0).await.map_err(|err| {
                DockerError::Away(format!("{} does not answer: {err}", self.0.display()))
            })?;
            let (mut to, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|err| away(&err))?;
            // It ends with the answer, or with the streams it becomes.
            tokio::spawn(connection.with_upgrades());
            to.send_request(request).await.map_err(|err| away(&err))
        };
        let silent = || DockerError::Away(format!("{step}: no answer in {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, sent).await.map_err(|_| silent())?
    }

    async fn body(
        &self,
        answer: axum::http::Response<hyper::body::Incoming>,
    ) -> Result<Bytes, DockerError> {
        let read = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX);
        match timeout(PATIENCE, read).await {
            Ok(Ok(it)) => Ok(it),
            Ok(Err(err)) => Err(DockerError::Away(format!("its answer breaks off: {err}"))),
            Err(_) => Err(DockerError::Away("its answer does not end".to_owned())),
        }
    }
}

const JSON: &str = "application/json";
const TAR: &str = "application/x-tar";

fn json(body: &Value) -> Body {
    Body::from(body.to_string())
}

fn read<T: serde::de::DeserializeOwned>(
    step: &'static str,
    answer: &[u8],
) -> Result<T, DockerError> {
    serde_json::from_slice(answer).map_err(|err| DockerError::Answer { step, why: err.to_string() })
}

fn refusal(step: &'static str, status: StatusCode, said: &[u8]) -> DockerError {
    let parsed = serde_json::from_slice::<Value>(said).ok();
    let message = parsed.as_ref().and_then(|it| it["message"].as_str()).map(str::to_owned);
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(said).into_owned());
    let message: String = message.trim().chars().filter(|it| !it.is_control()).collect();
    let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
    DockerError::Refused { step, status: status.as_u16(), message }
}

/// A value of a query.
fn escape(text: &str) -> String {
    escape_but(text, b"-_.~")
}

/// A path that may have parts.
fn escape_path(text: &str) -> String {
    escape_but(text, b"-_.~/:@")
}

fn escape_but(text: &str, plain: &[u8]) -> String {
    let one = |it: u8| match it {
        it if it.is_ascii_alphanumeric() || plain.contains(&it) => char::from(it).to_string(),
        it => format!("%{it:02X}"),
    };
    text.bytes().map(one).collect()
}
