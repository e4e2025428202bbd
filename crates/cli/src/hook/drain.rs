//! Bringing what waits to the event bus: one process at a time, in order, for as long as the bus is away.
//!
//! Each hook has an id of its own, so that what was sent and not acknowledged is sent again and kept once. What the bus
//! will never take is set aside, and the rest goes on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use tinyclaw_disk::{Lock, remove};

use super::spool::{Config, Spool};

/// So many hooks go in one request,
const BATCH_MAX: usize = 200;
/// and about so many bytes.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// So long is waited after the bus was not there: longer each time.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A drainer that got nothing done for so long ends; the next hook starts another.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How long one answer may take, and how long it may be.
const ANSWER_TIME: Duration = Duration::from_secs(40);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What the bus said.
enum Answer {
    /// All of it is kept.
    Kept,
    /// This one will never be.
    Refused(usize, String),
    /// Later, and after how long at least.
    Later(String, Option<Duration>),
}

/// Brings everything that waits, until nothing does. At once done when somebody else is at it.
pub(crate) fn drain(spool: &Spool) -> anyhow::Result<()> {
    loop {
        {
            let Some(_lock) = Lock::try_take(&spool.lock())? else { return Ok(()) };
            bring_all(spool)?;
        }
        // Whoever kept something while the lock was held started nobody: look once more without it.
        if spool.waiting()?.0.is_empty() {
            return Ok(());
        }
    }
}

fn bring_all(spool: &Spool) -> anyhow::Result<()> {
    let (mut pause, mut done) = (PAUSE, Instant::now());
    loop {
        let config = spool.config()?.context("no bus is named; run tinyclaw hook install")?;
        let (paths, _) = spool.waiting()?;
        if paths.is_empty() && spool.lost().count == 0 {
            return Ok(());
        }
        let (paths, lines) = batch(paths);
        match send(&config, spool, &lines)? {
            Answer::Kept => {
                for it in &paths {
                    remove(it)?;
                }
                if spool.lost().count > 0 {
                    spool.lost_was_told()?;
                }
                (pause, done) = (PAUSE, Instant::now());
            }
            Answer::Refused(index, why) if index < paths.len() => {
                spool.set_aside(&paths[index], &lines[index], &why)?;
            }
            Answer::Refused(_, why) => bail!("the bus refused what was never sent: {why}"),
            Answer::Later(why, after) => {
                spool.give_up()?;
                if done.elapsed() > PATIENCE {
                    bail!("the bus was away for a while: {why}");
                }
                std::thread::sleep(after.unwrap_or(pause).min(PAUSE_MAX));
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// The oldest ones, as many as go in one request.
fn batch(paths: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<String>) {
    let (mut taken, mut lines, mut bytes) = (Vec::new(), Vec::new(), 0);
    for it in paths.into_iter().take(BATCH_MAX) {
        let text = std::fs::read_to_string(&it).unwrap_or_default();
        bytes += text.len();
        if bytes > BATCH_BYTES_MAX && !lines.is_empty() {
            break;
        }
        taken.push(it);
        lines.push(text);
    }
    (taken, lines)
}

/// Sends lines, and what was given up before them.
fn send(config: &Config, spool: &Spool, lines: &[String]) -> anyhow::Result<Answer> {
    let lost = spool.lost();
    let mut body = String::new();
    let before = usize::from(lost.count > 0);
    if lost.count > 0 {
        let gap = json!({
            "type": "hook.gap", "source": config.source, "id": format!("gap-{}", lost.last),
            "metadata": { "count": lost.count, "first": lost.first, "last": lost.last },
        });
        body.push_str(&format!("{gap}\n"));
    }
    for it in lines {
        body.push_str(it);
        body.push('\n');
    }
    let (status, head, answer) = match ask(config, "POST", "/events", &body, ANSWER_TIME) {
        Ok(it) => it,
        Err(err) => return Ok(Answer::Later(format!("{err:#}"), None)),
    };
    let after = head.lines().find_map(|it| {
        let (name, value) = it.split_once(':')?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.trim().parse().ok())?
    });
    let said: Value = serde_json::from_str(&answer).unwrap_or_default();
    let why = said["detail"].as_str().unwrap_or("no reason was given").to_owned();
    let index = said["errors"][0]["pointer"].as_str().and_then(|it| {
        it.strip_prefix('/')?.split('/').next()?.parse::<usize>().ok()?.checked_sub(before)
    });
    Ok(match (status, index) {
        (200..=299, _) => Answer::Kept,
        (409 | 422, Some(index)) => Answer::Refused(index, why),
        // One that is no JSON: it stands in the first line that is none.
        (400, _) => {
            let is_bad = |it: &String| serde_json::from_str::<Value>(it).is_err();
            match lines.iter().position(is_bad) {
                Some(index) => Answer::Refused(index, why),
                None => Answer::Later(why, after.map(Duration::from_secs)),
            }
        }
        _ => Answer::Later(format!("{status}: {why}"), after.map(Duration::from_secs)),
    })
}

/// One request over plain HTTP: the answer's status, head and body. The bus is on this machine, or at the near end of a tunnel.
pub(super) fn ask(
    config: &Config,
    method: &str,
    path: &str,
    body: &str,
    patience: Duration,
) -> anyhow::Result<(u16, String, String)> {
    let host = host_of(&config.url)?;
    let address = host.to_socket_addrs()?.next().context("that host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("cannot reach {host}"))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        config.token,
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(|err| match err.kind() {
        // So says the system that the time is over.
        ErrorKind::WouldBlock => anyhow!("{host} did not answer within {} s", patience.as_secs()),
        _ => anyhow::Error::from(err).context("the answer did not come whole"),
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").context("that is no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    Ok((status.context("that is no HTTP answer")?, head.to_owned(), body.to_owned()))
}

/// Host and port of an address.
pub(crate) fn host_of(url: &str) -> anyhow::Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!(
            "{url:?} is not http://HOST:PORT; where the bus is elsewhere, a tunnel brings it here"
        );
    };
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '@', ' ', '\r', '\n']) {
        bail!("{url:?} is not http://HOST:PORT");
    }
    Ok(if host.contains(':') { host.to_owned() } else { format!("{host}:80") })
}
