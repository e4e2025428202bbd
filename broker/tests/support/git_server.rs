//! A smart-HTTP git server over TLS: `git http-backend` behind a small CGI bridge, which asks
//! the fake GitHub whether the token it is shown is good for that repository.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response};
use tinyclaw_broker::key::decode_base64;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::github::GitHub;
use super::openssl;

pub struct GitServer {
    pub port: u16,
    /// The certificate that clients must trust.
    pub certificate: PathBuf,
    /// Passwords it was shown.
    pub shown: Mutex<Vec<String>>,
    root: PathBuf,
    github: Arc<GitHub>,
}

impl GitServer {
    /// Serves the bare repositories below `root` as `https://localhost:PORT/owner/name`.
    pub fn start(folder: &Path, root: &Path, github: Arc<GitHub>) -> Arc<GitServer> {
        openssl(
            folder,
            "req -x509 -newkey rsa:2048 -nodes -keyout tls.pem -out tls.crt -days 2 -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost",
        );
        let certificate = folder.join("tls.crt");
        let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join("tls.pem")).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = Arc::new(GitServer {
            port: listener.local_addr().unwrap().port(),
            certificate,
            shown: Mutex::default(),
            root: root.to_owned(),
            github,
        });
        let state = server.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let tcp = TcpListener::from_std(listener).unwrap();
                let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
                axum::serve(listener, Router::new().fallback(answer).with_state(state))
                    .await
                    .unwrap();
            });
        });
        server
    }

    pub fn url(&self, repo: &str) -> String {
        format!("https://localhost:{}/{repo}", self.port)
    }
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn answer(State(server): State<Arc<GitServer>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let push = path.ends_with("git-receive-pack") || query.contains("git-receive-pack");
    let repo = path.split('/').nth(2).unwrap_or_default().trim_end_matches(".git").to_owned();
    let password = parts
        .headers
        .get("authorization")
        .and_then(|it| it.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|it| String::from_utf8(decode_base64(it.as_bytes())?.to_vec()).ok())
        .and_then(|it| it.strip_prefix("x-access-token:").map(str::to_owned));
    if let Some(password) = &password {
        server.shown.lock().unwrap().push(password.clone());
    }
    let level = if push { "write" } else { "read" };
    if !password.is_some_and(|it| server.github.allows(&it, &repo, "contents", level)) {
        let response = Response::builder().status(401);
        let response = response.header("www-authenticate", "Basic realm=\"GitHub\"");
        return response.body(Body::from("Bad credentials")).unwrap();
    }
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let header =
        |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let mut cgi = tokio::process::Command::new("git");
    cgi.arg("http-backend")
        .env("GIT_PROJECT_ROOT", &server.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &path)
        .env("QUERY_STRING", &query)
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "x-access-token")
        .env("REMOTE_ADDR", "127.0.0.1");
    let mut child = cgi.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.unwrap().stdout;
    let split =
        output.windows(4).position(|it| it == b"\r\n\r\n").expect("a CGI answer has a head");
    let head = String::from_utf8_lossy(&output[..split]).into_owned();
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line.split_once(':').unwrap();
        response = match name {
            "Status" => response.status(value.trim()[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value.trim()),
        };
    }
    response.body(Body::from(output[split + 4..].to_vec())).unwrap()
}
