//! A small HTTP client for tests: one question a connection, and streams of events read as they come.
#![allow(dead_code, reason = "each user of this file needs another part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing here waits longer than this for a byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|it| panic!("{it}: {}", self.body))
    }
}

/// Asks with GET, under the server's own name.
pub(crate) fn get(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path, &[("Host", &format!("127.0.0.1:{}", server.port()))])
}

/// Asks with any method and headers.
pub(crate) fn ask(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut reader = send(server, method, path, headers);
    let (status, headers) = read_head(&mut reader);
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|it| it == "chunked") {
        while let Some(chunk) = read_chunk(&mut reader) {
            body.extend(chunk);
        }
    } else {
        reader.read_to_end(&mut body).unwrap();
    }
    Answer { status, headers, body: String::from_utf8(body).unwrap() }
}

fn send(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let question = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).unwrap();
    BufReader::new(stream)
}

fn read_head(reader: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}"));
    let status = status.parse().unwrap();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    (status, headers)
}

fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim(), 16).ok()?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    (length > 0).then_some(chunk)
}

/// A stream of events.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
    text: String,
    /// What to come back with after a broken connection.
    pub(crate) last_id: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    /// The data as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|it| panic!("{it}: {}", self.data))
    }
}

impl Events {
    /// Opens a stream, after `last_id` if there is one.
    pub(crate) fn open(server: SocketAddr, path: &str, last_id: &str) -> Events {
        let host = format!("127.0.0.1:{}", server.port());
        let headers = [("Host", host.as_str()), ("Last-Event-ID", last_id)];
        let mut reader = send(server, "GET", path, &headers);
        let (status, headers) = read_head(&mut reader);
        assert_eq!(status, 200, "{path}");
        assert!(headers["content-type"].starts_with("text/event-stream"), "{headers:?}");
        Events { reader, text: String::new(), last_id: last_id.to_owned() }
    }

    /// The next event, or `None` when the stream ended.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((text, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in text.lines() {
                    match line.split_once(": ") {
                        Some(("id", it)) => event.id = it.to_owned(),
                        Some(("event", it)) => event.name = it.to_owned(),
                        Some(("data", it)) => event.data = it.to_owned(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !event.id.is_empty() {
                    self.last_id.clone_from(&event.id);
                }
                if !event.data.is_empty() {
                    return Some(event);
                }
            } else {
                let chunk = read_chunk(&mut self.reader)?;
                self.text.push_str(std::str::from_utf8(&chunk).expect("only whole letters"));
            }
        }
    }

    /// The next event of this name.
    pub(crate) fn next_named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().expect("the stream goes on");
            if event.name == name {
                return event;
            }
        }
    }

    /// Waits until the server has begun to answer.
    pub(crate) fn greeted(mut self) -> Events {
        let chunk = read_chunk(&mut self.reader).expect("a greeting");
        self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        self
    }
}
