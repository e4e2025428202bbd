//! One HTTP request to the broker, for programs that do nothing else.
//!
//! The git credential helper and the `gh` shim start many times an hour and wait for one answer;
//! they need no runtime and no TLS. Everything, the look-up of the name included, is over within
//! five seconds, because git waits for it.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

const PATIENCE: Duration = Duration::from_secs(5);
/// A token is half a kilobyte, a refusal less.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// A token as the broker gives it.
#[derive(Debug, Deserialize)]
pub struct Token {
    /// The token.
    pub token: SecretString,
    /// Until when.
    pub expires_at: String,
}

/// What the broker says instead of a token.
#[derive(Debug, Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    hint: String,
}

/// What a helper is told by its environment.
#[derive(Debug)]
pub struct Broker {
    address: Address,
    bearer: Option<SecretString>,
}

impl Address {
    /// From its parts.
    pub fn new(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    /// From `http://broker:3000`.
    pub fn parse(url: &str) -> anyhow::Result<Address> {
        let bad = || format!("CREDENTIAL_BROKER_URL={url:?} is not http://host:port");
        let rest = url.trim().strip_prefix("http://").with_context(bad)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        ensure!(!rest.contains(['/', '@', '?', '#', ' ']), bad());
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().with_context(bad)?),
            _ => (rest, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ensure!(!host.is_empty(), bad());
        Ok(Address::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') {
            write!(out, "[{host}]:{port}")
        } else {
            write!(out, "{host}:{port}")
        }
    }
}

impl Broker {
    /// From `CREDENTIAL_BROKER_URL` and the secret: a thread's capability when there is one.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Broker> {
        let url = var("CREDENTIAL_BROKER_URL").unwrap_or_else(|| "http://broker:3000".to_owned());
        let read = |name: &str| -> anyhow::Result<Option<SecretString>> {
            let Some(path) = var(name).filter(|it| !it.is_empty()) else { return Ok(None) };
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{name}: cannot read {path}"))?;
            Ok(Some(text.trim().into()).filter(|it: &SecretString| !it.expose_secret().is_empty()))
        };
        let bearer = match read("TINYCLAW_CAPABILITY_FILE")? {
            Some(capability) => Some(capability),
            None => read("BROKER_SECRET_FILE")?,
        };
        Ok(Broker { address: Address::parse(&url)?, bearer })
    }

    /// A token for one repository; the first of these permissions that is allowed, or the
    /// policy's default without any.
    pub fn token(&self, owner: &str, repo: &str, permissions: &[&str]) -> anyhow::Result<Token> {
        let mut last = None;
        let with = permissions.iter().map(|it| format!("&permissions={it}"));
        for more in with.chain(permissions.is_empty().then(String::new)) {
            let path = format!("/token?repo={owner}/{repo}{more}");
            let (status, body) = ask(&self.address, "GET", &path, self.bearer.as_ref(), None)?;
            if status == 200 {
                return serde_json::from_str(&body).context("the broker's answer is no token");
            }
            let refused: Refused = serde_json::from_str(&body).unwrap_or_default();
            let denied = matches!(
                refused.code.as_str(),
                "policy_denied" | "capability_denied" | "permission_not_granted"
            );
            let Refused { error, hint, .. } = refused;
            let error = if error.is_empty() { format!("it answered {status}") } else { error };
            last = Some(anyhow::anyhow!(
                "the broker gives no token for {owner}/{repo}: {error}\n{hint}"
            ));
            if !denied {
                break;
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("nothing was asked for")))
    }

    /// Has a token dropped and revoked.
    pub fn revoke(&self, token: &SecretString) -> anyhow::Result<()> {
        let body = serde_json::json!({ "token": token.expose_secret() }).to_string();
        let (status, body) =
            ask(&self.address, "DELETE", "/token", self.bearer.as_ref(), Some(&body))?;
        ensure!(status == 200, "the broker could not revoke the token: {body}");
        Ok(())
    }
}

/// Sends one request and returns status and body, or says who could not be reached.
pub fn ask(
    address: &Address,
    method: &str,
    path: &str,
    bearer: Option<&SecretString>,
    body: Option<&str>,
) -> anyhow::Result<(u16, String)> {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(bearer) = bearer {
        let bearer = bearer.expose_secret();
        let plain = bearer.bytes().all(|it| it.is_ascii_graphic() || it == b' ');
        ensure!(plain, "the secret for the broker has a line end or another odd byte in it");
        request.push_str(&format!("Authorization: Bearer {bearer}\r\n"));
    }
    if let Some(body) = body {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body.unwrap_or_default());

    // In a thread of its own: looking up a name knows no time limit.
    let (sender, receiver) = mpsc::channel();
    let target = address.clone();
    std::thread::spawn(move || {
        let _ = sender.send(exchange(&target, request.as_bytes()));
    });
    let away = || {
        format!(
            "the credential broker at {address} does not answer (CREDENTIAL_BROKER_URL; is it up?)"
        )
    };
    let answer = receiver.recv_timeout(PATIENCE).with_context(away)?.with_context(away)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the broker's answer is cut off")?;
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.context("the broker's answer is not HTTP")?;
    Ok((status, body.to_owned()))
}

fn exchange(address: &Address, request: &[u8]) -> anyhow::Result<String> {
    let end = Instant::now() + PATIENCE;
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut error = None;
    for target in (address.host.as_str(), address.port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&target, left()) {
            Ok(stream) => stream,
            Err(it) => {
                error = Some(it);
                continue;
            }
        };
        stream.set_write_timeout(Some(left()))?;
        stream.set_read_timeout(Some(left()))?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        return Ok(answer);
    }
    match error {
        Some(error) => Err(error.into()),
        None => bail!("the name has no address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_a_url() {
        for (url, text) in [
            ("http://broker:3000", "broker:3000"),
            ("http://127.0.0.1:3000/", "127.0.0.1:3000"),
            ("http://broker", "broker:80"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert_eq!(Address::parse(url).unwrap().to_string(), text);
        }
        for url in ["", "broker:3000", "https://broker:3000", "http://", "http://a/b", "http://u@a"]
        {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_broker_that_is_away_is_named() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error =
            ask(&Address::new("127.0.0.1", port), "GET", "/health", None, None).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error:#}");
    }
}
