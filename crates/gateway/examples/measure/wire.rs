//! HTTP as little as a load generator needs: requests on one connection, and streams whose events are read by a mark in
//! them. A client that parsed JSON would measure itself.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::token;

/// One connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, address, read: Vec::new() })
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.ask(&self.head("GET", path, ""), "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, String)> {
        let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        self.ask(&self.head("POST", path, &more), body).await
    }

    /// Begins a job, under a key when there is one.
    pub(crate) async fn execute(
        &mut self,
        body: &str,
        key: Option<&str>,
    ) -> io::Result<(u16, String)> {
        let key = key.map(|it| format!("Idempotency-Key: {it}\r\n")).unwrap_or_default();
        let length = body.len();
        let more = format!(
            "Content-Type: application/json\r\nPrefer: respond-async\r\n{key}Content-Length: {length}\r\n"
        );
        self.ask(&self.head("POST", "/api/execute", &more), body).await
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let (address, token) = (self.address, token());
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        )
    }

    async fn ask(&mut self, head: &str, body: &str) -> io::Result<(u16, String)> {
        self.stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        self.read.clear();
        let mut whole = None;
        loop {
            if whole.is_none()
                && let Some(at) = find(&self.read, b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&self.read[..at]).to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1);
                let length = length.and_then(|it| it.lines().next()?.trim().parse::<usize>().ok());
                whole = Some((at + 4, at + 4 + length.unwrap_or(0)));
            }
            if let Some((start, end)) = whole
                && self.read.len() >= end
            {
                let status = std::str::from_utf8(&self.read[9..12]).ok();
                let status = status.and_then(|it| it.parse().ok()).unwrap_or(0);
                return Ok((status, String::from_utf8_lossy(&self.read[start..end]).into_owned()));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Makes the connection a stream of events.
    pub(crate) async fn listen(self, kind: Way, query: &str) -> io::Result<Listener> {
        let path = match kind {
            Way::Sse => format!("/events?{query}"),
            Way::WebSocket => format!("/ws?{query}"),
        };
        self.listen_at(kind, &path).await
    }

    /// The same at another path.
    pub(crate) async fn listen_at(mut self, kind: Way, path: &str) -> io::Result<Listener> {
        let more = match kind {
            Way::Sse => "Accept: text/event-stream\r\n",
            Way::WebSocket => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
        };
        let head = self.head("GET", path, more);
        self.stream.write_all(head.as_bytes()).await?;
        let expected: &[u8] = match kind {
            Way::Sse => b"HTTP/1.1 200",
            Way::WebSocket => b"HTTP/1.1 101",
        };
        let mut read = Vec::new();
        while find(&read, b"\r\n\r\n").is_none() {
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !read.starts_with(expected) {
            let said = String::from_utf8_lossy(&read).into_owned();
            return Err(io::Error::other(said));
        }
        Ok(Listener { stream: self.stream, rest: read })
    }
}

/// How events are listened to.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Sse,
    WebSocket,
}

/// How the mark of an event begins; `[` is followed by its number and the time it was sent.
const MARK: &[u8] = b"~\":[";

/// Who listens, and sees each event's mark: `"~":[number,time]`.
pub(crate) struct Listener {
    stream: TcpStream,
    rest: Vec<u8>,
}

/// An event as a listener sees it.
pub(crate) struct Seen {
    pub(crate) number: u64,
    /// When it was sent, in us since the clock's start.
    pub(crate) sent_us: u64,
}

impl Listener {
    /// On a connection that is a stream already.
    pub(crate) fn of(stream: TcpStream) -> Listener {
        Listener { stream, rest: Vec::new() }
    }

    /// Reads what there is, and calls `see` with each event. False at the end of the stream.
    pub(crate) async fn read(&mut self, mut see: impl FnMut(Seen)) -> io::Result<bool> {
        let mut buffer = [0; 32 << 10];
        let count = self.stream.read(&mut buffer).await?;
        self.rest.extend_from_slice(&buffer[..count]);
        let mut from = 0;
        while let Some(at) = self.rest[from..].iter().position(|it| *it == b'~') {
            let begin = from + at;
            // The same byte stands in the head of a WebSocket's frames.
            let is_mark = self.rest[begin..].iter().zip(MARK).all(|(here, it)| here == it);
            if !is_mark {
                from = begin + 1;
                continue;
            }
            let Some(end) = self.rest[begin..].iter().position(|it| *it == b']') else {
                // The rest of the mark comes with the next bytes.
                self.rest.drain(..begin);
                return Ok(count > 0);
            };
            let numbers = self.rest.get(begin + MARK.len()..begin + end).unwrap_or_default();
            let numbers = std::str::from_utf8(numbers).ok().and_then(|it| it.split_once(','));
            if let Some((number, sent)) = numbers
                && let (Ok(number), Ok(sent_us)) = (number.parse(), sent.parse())
            {
                see(Seen { number, sent_us });
            }
            from = begin + end;
        }
        self.rest.clear();
        Ok(count > 0)
    }
}

/// An event of about `bytes`, with its mark.
pub(crate) fn event(number: u64, clock: Instant, bytes: usize) -> String {
    let (sent, filler) = (clock.elapsed().as_micros(), filler(bytes));
    format!(
        r#"{{"type":"measure.tick","id":"m-{number}","session":"s{}","metadata":{{"~":[{number},{sent}],"x":"{filler}"}}}}"#,
        number % 50
    )
}

/// What makes an event about so large.
pub(crate) fn filler(bytes: usize) -> String {
    "x".repeat(bytes.saturating_sub(200))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|it| it == wanted)
}
