//! Live streams on connections that carry nothing else.
//!
//! An HTTP server keeps buffers for the next request of a connection; a stream has no next request, and a thousand idle
//! streams would keep thirty megabytes of them. So a connection whose first request asks for a stream is answered here,
//! by the same router behind the same door, and keeps a place in each log and little else. Every other connection, and
//! whatever this module does not understand, goes to the server proper.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::serve::Listener;
use futures_util::StreamExt;
use tinyclaw_service::http::Patient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tower::ServiceExt;

/// Who says nothing for so long after connecting is let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who does not take a byte of a stream for so long is let go, and comes back where it was.
const STALL: Duration = Duration::from_secs(30);
/// So many streams are open at once.
const STREAMS_MAX: usize = 2_000;
/// More of a request's head is not read.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Enough of a request to see what it asks for.
const START_BYTES: usize = 48;
/// So many connections may wait for the server proper.
const WAITING_MAX: usize = 64;

/// The connections that are for the server proper.
#[derive(Debug)]
pub(crate) struct Others {
    connections: mpsc::Receiver<(TcpStream, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Others {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        match self.connections.recv().await {
            Some(it) => it,
            // Nobody accepts any more: the server is about to end.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Accepts connections until the task that runs it is dropped; answers streams and passes on the others.
pub(crate) fn divide(
    listener: TcpListener,
    router: Router,
) -> io::Result<(impl Future<Output = ()> + Send, Others)> {
    let address = listener.local_addr()?;
    let (sender, connections) = mpsc::channel(WAITING_MAX);
    let accepting = async move {
        loop {
            match listener.accept().await {
                Ok((connection, from)) => {
                    let (router, sender) = (router.clone(), sender.clone());
                    tokio::spawn(async move { receive(connection, from, router, sender).await });
                }
                Err(source) => {
                    // Out of descriptors, most likely: that passes.
                    tracing::warn!(%source, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    Ok((accepting, Others { connections, address }))
}

async fn receive(
    connection: TcpStream,
    from: SocketAddr,
    router: Router,
    others: mpsc::Sender<(TcpStream, SocketAddr)>,
) {
    static PLACES: Semaphore = Semaphore::const_new(STREAMS_MAX);
    let asks_for_stream = tokio::time::timeout(PATIENCE, Box::pin(asks_for_stream(&connection)));
    match asks_for_stream.await {
        Ok(Ok(true)) => {
            drop(others);
            let Ok(_place) = PLACES.try_acquire() else {
                tracing::warn!("{STREAMS_MAX} streams are open: another one is refused");
                return refuse(connection).await;
            };
            // Boxed, so that what beginning needs is given back before the stream.
            match Box::pin(begin(connection, router)).await {
                Ok((connection, body)) => stream(connection, body).await,
                Err(err) => tracing::debug!("a stream did not begin: {err:#}"),
            }
        }
        Ok(Ok(false)) => drop(others.send((connection, from)).await),
        _ => {}
    }
}

/// Says that there is no room. Who asks for a stream asks again by itself.
async fn refuse(mut connection: TcpStream) {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    // Whether it is read or not, it is over.
    let _ = tokio::time::timeout(PATIENCE, connection.write_all(answer.as_bytes())).await;
}

/// Looks at the request's beginning without taking it.
async fn asks_for_stream(connection: &TcpStream) -> io::Result<bool> {
    let mut start = [0; START_BYTES];
    let mut pause = Duration::from_millis(1);
    loop {
        let known = connection.peek(&mut start).await?;
        let line = start[..known].split(|it| *it == b'\r').next().unwrap_or_default();
        if known == 0 || known == START_BYTES || line.len() < known {
            return Ok(is_stream(line));
        }
        // A request that comes in pieces: looking does not wait for the next one.
        pause = (pause * 2).min(Duration::from_millis(100));
        tokio::time::sleep(pause).await;
    }
}

fn is_stream(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"GET ") else { return false };
    let path = rest.split(|it| matches!(it, b' ' | b'?')).next().unwrap_or_default();
    let is_log = path.strip_prefix(b"/api/logs/").is_some_and(|it| !it.contains(&b'/'));
    path == b"/api/live" || is_log || (path.starts_with(b"/api/") && path.ends_with(b"/feed"))
}

/// Reads the request, asks the router, and sends the answer's head.
async fn begin(mut connection: TcpStream, router: Router) -> anyhow::Result<(TcpStream, Body)> {
    connection.set_nodelay(true)?;
    let head = tokio::time::timeout(PATIENCE, read_head(&mut connection)).await??;
    let request = parse(&head)?;
    let (parts, body) = router.oneshot(request).await?.into_parts();
    let mut head = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    connection.write_all(&head).await?;
    Ok((connection, body))
}

async fn read_head(connection: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || connection.read_buf(&mut head).await? == 0 {
            bail!("the request has no end");
        }
    }
    Ok(head)
}

fn parse(head: &[u8]) -> anyhow::Result<Request> {
    let head = std::str::from_utf8(head).context("the request is no text")?;
    let mut lines = head.split("\r\n").take_while(|it| !it.is_empty());
    let mut words = lines.next().unwrap_or_default().split(' ');
    let uri = words.nth(1).context("the request names no address")?;
    let mut request = Request::builder().uri(uri);
    for line in lines {
        let (name, value) = line.split_once(':').context("a header without a name")?;
        let name = HeaderName::from_bytes(name.as_bytes())?;
        if matches!(name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
            bail!("a stream is asked for without a body");
        }
        request = request.header(name, HeaderValue::from_str(value.trim())?);
    }
    Ok(request.body(Body::empty())?)
}

/// Passes the body on, chunk by chunk, until it ends or the client goes away.
async fn stream(mut connection: TcpStream, body: Body) {
    let mut chunks = body.into_data_stream();
    let (mut reader, writer) = connection.split();
    let mut writer = Patient::new(writer, STALL);
    let mut nothing = [0; 16];
    loop {
        tokio::select! {
            chunk = chunks.next() => {
                let Some(Ok(chunk)) = chunk else { break };
                if chunk.is_empty() {
                    continue;
                }
                let size = format!("{:x}\r\n", chunk.len());
                let text = [size.as_bytes(), &chunk, b"\r\n"].concat();
                if writer.write_all(&text).await.is_err() {
                    return;
                }
            }
            said = reader.read(&mut nothing) => {
                if said.map_or(true, |it| it == 0) {
                    return;
                }
            }
        }
    }
    // The client may be gone already; there is nobody to tell.
    let _ = writer.write_all(b"0\r\n\r\n").await;
    let _ = writer.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_address() {
        for line in [
            "GET /api/live HTTP/1.1",
            "GET /api/live?after=x",
            "GET /api/messages/feed",
            "GET /api/logs/queue ",
        ] {
            assert!(is_stream(line.as_bytes()), "{line}");
        }
        for line in [
            "GET / HTTP/1.1",
            "POST /api/live",
            "GET /api/logs/queue/recent",
            "GET /feed",
            "",
            "GET /api/liver",
        ] {
            assert!(!is_stream(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_request_with_a_body_or_without_sense_is_refused() {
        assert!(parse(b"GET /api/live HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
        for bad in [
            "GET /api/live HTTP/1.1\r\nContent-Length: 4\r\n\r\n",
            "GET\r\n\r\n",
            "GET /x y\r\nno colon\r\n\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
