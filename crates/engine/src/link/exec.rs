//! The carrier into a container: a stream through the porter, which has the container run and starts a hub in it.
//!
//! The porter is told an environment's name and nothing else. What it refuses with is a sentence for a person.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tinyclaw_devbox::Asked;
use tinyclaw_domain::EnvName;
use tinyclaw_domain::frame::encode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::carrier::{Carrier, CarrierFuture, Connection, Unreached};
use super::ssh::Wish;
use crate::config::Landlock;

/// A container may have to be made first, and its volumes to be filled.
const START: Duration = Duration::from_secs(120);
/// What the porter answers with before the stream begins.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// What it refuses with.
const REFUSAL_BYTES_MAX: u64 = 8 * 1024;
/// The porter is on this machine: who asks it often floods nobody.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Questions and starts come in groups; afterwards the container may rest.
const RESTS_AFTER: Duration = Duration::from_secs(5);
/// The container was stopped, and all that ran in it has ended.
const GONE: u16 = 410;
/// No word of a helper's is longer.
const LINE_BYTES_MAX: usize = 200;

/// Reaches one environment.
pub(crate) struct ExecCarrier {
    pub(crate) env: EnvName,
    /// Where the porter listens.
    pub(crate) socket: PathBuf,
    pub(crate) landlock: Landlock,
}

impl fmt::Debug for ExecCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCarrier").field("env", &self.env).finish_non_exhaustive()
    }
}

/// What the porter refuses with.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

impl Carrier for ExecCarrier {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let late = || "the porter does not answer".to_owned().into();
            timeout(START, self.dial("exec")).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn reconnect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let late = || "the porter does not answer".to_owned().into();
            timeout(START, self.dial("attach")).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn pause_max(&self) -> Option<Duration> {
        Some(PAUSE_MAX)
    }

    fn rests_after(&self) -> Option<Duration> {
        Some(RESTS_AFTER)
    }
}

impl ExecCarrier {
    /// By one of the porter's two words for a link.
    async fn dial(&self, word: &str) -> Result<Connection, Unreached> {
        let lost = |err: std::io::Error| Unreached::from(format!("the porter is gone: {err}"));
        let mut stream = UnixStream::connect(&self.socket).await.map_err(|err| {
            let socket = self.socket.display();
            Unreached::from(format!(
                "no porter answers at {socket}: {err} (tinyclaw-porter, setting porter.socket)"
            ))
        })?;
        let request = format!(
            "POST /v1/envs/{}/{word} HTTP/1.1\r\nHost: porter\r\nConnection: Upgrade\r\nUpgrade: tinyclaw-link\r\n\r\n",
            self.env
        );
        stream.write_all(request.as_bytes()).await.map_err(lost)?;
        let head = read_until(&mut stream, b"\r\n\r\n", HEAD_BYTES_MAX).await?;
        let status = head.split(' ').nth(1).and_then(|it| it.parse::<u16>().ok());
        if status != Some(101) {
            return Err(refused(&mut stream, &head, status).await);
        }
        let (mut from, mut to) = stream.into_split();
        let word = read_until(&mut from, b"\n", LINE_BYTES_MAX).await?;
        let word = word.as_bytes().strip_prefix(&[Asked::MARK]).map(<[u8]>::trim_ascii_end);
        if word.and_then(Asked::read) != Some(Asked::Here) {
            let why = format!("what answers in the container of {} is no helper", self.env);
            return Err(why.into());
        }
        let wish = Wish { claude: None, landlock: self.landlock };
        to.write_all(&encode(&wish, b"")).await.map_err(lost)?;
        Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
    }
}

/// Up to this end, and no byte further: what follows is the link's.
async fn read_until(
    from: &mut (impl AsyncRead + Unpin),
    end: &[u8],
    bytes_max: usize,
) -> Result<String, Unreached> {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        match from.read_u8().await {
            Ok(byte) if all.len() < bytes_max => all.push(byte),
            Ok(_) => return Err("what answers is no porter".to_owned().into()),
            Err(_) => return Err("the helper in the container did not start".to_owned().into()),
        }
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// The porter's own words. What it answers with 4xx lasts until a person does something.
async fn refused(stream: &mut UnixStream, head: &str, status: Option<u16>) -> Unreached {
    let length = head.lines().find_map(|it| {
        let (name, value) = it.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let mut body = Vec::new();
    let _ = stream.take(length.unwrap_or(0).min(REFUSAL_BYTES_MAX)).read_to_end(&mut body).await;
    let why = match serde_json::from_slice::<Refusal>(&body) {
        Ok(it) => it.detail.chars().filter(|it| !it.is_control()).take(500).collect(),
        Err(_) => "what answers is no porter".to_owned(),
    };
    let is_gone = status == Some(GONE);
    let is_held = !is_gone && status.is_some_and(|it| (400..500).contains(&it));
    Unreached { why, is_held, is_gone }
}
