//! One GET over HTTP or HTTPS, for the keys of Cloudflare Access: no redirects, no compression, no more than a megabyte.
//!
//! The dashboard talks to nobody else, so it carries no HTTP client.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// More of an answer is not read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The body of a 200.
pub(crate) async fn get(url: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").context("that is no URL")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if scheme == "https" { 443 } else { 80 };
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let stream =
        TcpStream::connect(&address).await.with_context(|| format!("cannot reach {address}"))?;
    let question =
        format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    match scheme {
        "http" => ask(stream, &question).await,
        "https" => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = host.split(':').next().unwrap_or(host).to_owned();
            let name = ServerName::try_from(name).context("that is no host name")?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            ask(stream, &question).await
        }
        _ => bail!("{scheme} is neither http nor https"),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    question: &str,
) -> anyhow::Result<String> {
    let mut stream = stream;
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer).context("the answer is no text")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("that is no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split_whitespace().nth(1) != Some("200") {
        bail!("the answer is {status:?}");
    }
    Ok(body.to_owned())
}
