//! The porter, asked how environments that are containers are, and to start and stop them. It names an environment and a word, and
//! nothing else; Docker itself is out of reach from here.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tinyclaw_domain::{ContainerStatus, EnvName};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::problem::Problem;

/// How long it may take to say how one is.
const LOOK: Duration = Duration::from_secs(10);
/// A container may have to be made first, and its volumes to be filled; one that is stopped has seconds to end.
const CHANGE: Duration = Duration::from_secs(120);
/// An answer is a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How much of its words is passed on.
const DETAIL_CHARS_MAX: usize = 500;
/// What passes by itself is worth asking again then, in seconds,
const AGAIN_S: u64 = 5;
/// and what waits for a person then.
const LATER_S: u64 = 60;

/// The way to it.
#[derive(Debug)]
pub(crate) struct Porter {
    /// Where it listens. `None`: nobody said.
    socket: Option<PathBuf>,
}

/// An environment that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PorterError {
    /// It is not there, or does not answer to the end.
    #[error("{0}")]
    Away(String),
    /// It answers, and says why not.
    #[error("{detail}")]
    Refused {
        /// Its own words.
        detail: String,
        /// Whether a person has to do something about it.
        is_held: bool,
    },
}

/// What it refuses with.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

impl From<PorterError> for Problem {
    fn from(err: PorterError) -> Problem {
        let again = match &err {
            PorterError::Refused { is_held: true, .. } => LATER_S,
            _ => AGAIN_S,
        };
        let problem =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "env_unavailable", err.to_string());
        problem.retry_after(again)
    }
}

impl Porter {
    pub(crate) fn new(socket: Option<PathBuf>) -> Porter {
        Porter { socket }
    }

    /// How the container of an environment is.
    pub(crate) async fn status(&self, env: &EnvName) -> Result<ContainerStatus, PorterError> {
        self.ask(Method::GET, env, "", LOOK).await
    }

    /// Sees to it that it runs.
    pub(crate) async fn start(&self, env: &EnvName) -> Result<ContainerStatus, PorterError> {
        self.ask(Method::POST, env, "/start", CHANGE).await
    }

    /// Ends all that runs in it.
    pub(crate) async fn stop(&self, env: &EnvName) -> Result<ContainerStatus, PorterError> {
        self.ask(Method::POST, env, "/stop", CHANGE).await
    }

    async fn ask(
        &self,
        method: Method,
        env: &EnvName,
        word: &str,
        patience: Duration,
    ) -> Result<ContainerStatus, PorterError> {
        let path = format!("/v1/envs/{env}{word}");
        let late = || away(env, "it does not answer");
        timeout(patience, self.answer(method, env, &path)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn answer(
        &self,
        method: Method,
        env: &EnvName,
        path: &str,
    ) -> Result<ContainerStatus, PorterError> {
        let lost = |err: &dyn std::error::Error| away(env, &format!("it breaks off: {err}"));
        let Some(socket) = &self.socket else { return Err(away(env, "nobody said where")) };
        let stream = UnixStream::connect(socket).await.map_err(|err| {
            away(env, &format!("nobody answers at {}: {err} (porter.socket)", socket.display()))
        })?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "porter")
            .body(Body::empty())
            .map_err(|err| lost(&err))?;
        let (mut to, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|err| lost(&err))?;
        // It ends with the answer.
        let connection = tokio::spawn(connection);
        let answer = to.send_request(request).await.map_err(|err| lost(&err));
        let read = async {
            let answer = answer?;
            let status = answer.status();
            let said = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
            Ok((status, said.map_err(|err| lost(&err))?))
        };
        let read = read.await;
        connection.abort();
        let (status, said) = read?;
        if status == StatusCode::OK {
            let told: ContainerStatus = serde_json::from_slice(&said).map_err(|err| lost(&err))?;
            return match told.env == *env {
                true => Ok(told),
                false => Err(away(env, "it speaks of another environment")),
            };
        }
        let Ok(Refusal { detail }) = serde_json::from_slice(&said) else {
            return Err(away(env, "what answers is no porter"));
        };
        let detail = detail.chars().filter(|it| !it.is_control()).take(DETAIL_CHARS_MAX).collect();
        Err(PorterError::Refused { detail, is_held: status.is_client_error() })
    }
}

fn away(env: &EnvName, why: &str) -> PorterError {
    PorterError::Away(format!(
        "environment {env} is a container, and the porter (tinyclaw-porter) is away: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    fn at(socket: &Path, answer: &str) -> tokio::task::JoinHandle<String> {
        let (listener, answer) = (UnixListener::bind(socket).unwrap(), answer.to_owned());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8(asked).unwrap()
        })
    }

    fn with(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn dev() -> EnvName {
        "dev".parse().unwrap()
    }

    #[tokio::test]
    async fn a_porter_is_asked_by_a_name_and_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("porter.sock");
        let said = r#"{"env":"dev","name":"claude-agent-dev","exists":true,"running":true,"paused":false,"links":1}"#;
        let asked = at(&socket, &with("200 OK", said));
        let status = Porter::new(Some(socket)).stop(&dev()).await.unwrap();
        assert_eq!((status.running, status.links), (true, 1));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("POST /v1/envs/dev/stop HTTP/1.1\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn what_a_porter_says_that_cannot_be_is_away() {
        let other =
            r#"{"env":"dev2","name":"x","exists":true,"running":true,"paused":false,"links":0}"#;
        let long = format!("{{\"detail\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX));
        for answer in [
            "",
            "SSH-2.0-x\r\n",
            &with("200 OK", "{}"),
            &with("200 OK", other),
            &with("200 OK", &long),
            &with("409 Conflict", &long),
            &with("404 Not Found", "<html>"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("porter.sock");
            let _asked = at(&socket, answer);
            let err = Porter::new(Some(socket)).status(&dev()).await.unwrap_err();
            assert!(matches!(&err, PorterError::Away(_)), "{answer:?}: {err:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let nobody = Porter::new(Some(dir.path().join("porter.sock")));
        for porter in [nobody, Porter::new(None)] {
            let err = porter.start(&dev()).await.unwrap_err();
            assert!(err.to_string().contains("tinyclaw-porter"), "{err}");
        }
    }

    #[tokio::test]
    async fn a_porters_refusal_is_told_in_its_words() {
        for (status, is_held) in [("409 Conflict", true), ("503 Service Unavailable", false)] {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("porter.sock");
            let _asked = at(&socket, &with(status, "{\"detail\":\"there is no\\n image\"}"));
            let err = Porter::new(Some(socket)).start(&dev()).await.unwrap_err();
            let detail = "there is no image".to_owned();
            assert_eq!(err, PorterError::Refused { detail, is_held });
        }
    }
}
