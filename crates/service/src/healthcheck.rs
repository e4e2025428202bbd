//! A client for health checks, so that an image needs no curl: one GET over plain TCP, without redirects, without TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde_json::Value;

/// More of an answer is not read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Why a service did not answer well.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection, or it broke.
    #[error("cannot reach {address}")]
    Reach {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Something answered that speaks no HTTP.
    #[error("{address} does not speak HTTP")]
    NotHttp {
        /// Where.
        address: String,
    },
    /// Any status but 200.
    #[error("{address}{path} answered {status}: {body}")]
    Status {
        /// Where.
        address: String,
        /// What was asked for.
        path: String,
        /// The answer's status.
        status: u16,
        /// And its body, which says why.
        body: String,
    },
}

impl ProbeError {
    /// What keeps the service, in its own words where it said any.
    pub fn why(&self) -> String {
        let ProbeError::Status { body, status, .. } = self else {
            let cause = std::error::Error::source(self).map(|it| format!(": {it}"));
            return format!("{self}{}", cause.unwrap_or_default());
        };
        let said = serde_json::from_str::<Value>(body).ok().and_then(|it| {
            let why = it.get("why")?.as_array()?.iter().filter_map(Value::as_str);
            Some(why.collect::<Vec<_>>().join("; "))
        });
        said.filter(|it| !it.is_empty()).unwrap_or_else(|| {
            let words: Vec<&str> = body.split_whitespace().collect();
            format!("it answered {status}: {}", words.join(" "))
        })
    }
}

/// What the broker answers before anybody has named a GitHub App to it: it idles, and nothing is wrong.
pub const BROKER_IDLES: &str = "GITHUB_APP_ID is not set";

/// Gets `path` from `address` (`host:port`) and returns the body of a 200. Every other status is an error, and so is
/// silence after `patience`.
pub fn probe(address: &str, path: &str, patience: Duration) -> Result<String, ProbeError> {
    let answer = ask(address, path, patience)
        .map_err(|source| ProbeError::Reach { address: address.to_owned(), source })?;
    let not_http = || ProbeError::NotHttp { address: address.to_owned() };
    let status: u16 = answer
        .strip_prefix("HTTP/1.")
        .and_then(|it| it.split_whitespace().nth(1))
        .and_then(|it| it.parse().ok())
        .ok_or_else(not_http)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
    if status == 200 {
        return Ok(body.to_owned());
    }
    let (address, path, body) = (address.to_owned(), path.to_owned(), body.to_owned());
    Err(ProbeError::Status { address, path, status, body })
}

/// Where a service that listens on `listen` is reached from its own machine: `0.0.0.0` is everywhere, thus here.
pub fn local_address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(it) if it.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(it) if it.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        it => it,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: &str, path: &str, patience: Duration) -> io::Result<String> {
    let deadline = Instant::now() + patience;
    let mut stream = connect(address, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while (answer.len() as u64) < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for it in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&it, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(err) => last = err,
        }
    }
    Err(last)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_not_ready_is_told_in_its_own_words() {
        let said = |body: &str| {
            let (address, path) = ("broker:3000".to_owned(), "/ready".to_owned());
            ProbeError::Status { address, path, status: 503, body: body.to_owned() }.why()
        };
        assert_eq!(said("{\"ready\":false,\"why\":[\"no key\",\"frozen\"]}"), "no key; frozen");
        assert_eq!(said("<b>bad\n gateway</b>"), "it answered 503: <b>bad gateway</b>");
    }
}
