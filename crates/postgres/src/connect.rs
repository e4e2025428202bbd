//! How a connection is made: what the server is asked for, whom it has to prove itself to, and what drives it.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a server may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// What every session asks of the server: everything in one schema; nothing that waits for ever; plans that are made once, because
/// the tables grow from nothing; and to find out about a client that is gone in 13 seconds.
const OPTIONS: &str = "-c search_path=tinyclaw -c statement_timeout=10s -c lock_timeout=3s \
    -c idle_in_transaction_session_timeout=5s -c plan_cache_mode=force_generic_plan -c enable_seqscan=off \
    -c jit=off -c client_min_messages=error -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 \
    -c tcp_keepalives_count=4 -c tcp_user_timeout=13000";

pub(crate) fn prepare(config: &mut Config) {
    let options = match config.get_options() {
        Some(theirs) => format!("{theirs} {OPTIONS}"),
        None => OPTIONS.to_owned(),
    };
    config
        .options(options)
        .application_name("tinyclaw")
        .connect_timeout(CONNECT_WITHIN)
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(4)
        .tcp_user_timeout(Duration::from_secs(13));
}

pub(crate) fn web_roots() -> MakeRustlsConnect {
    verifying(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// The certificates of a PEM file, of which at least one is needed.
pub(crate) fn roots_in(path: &Path) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|err| err.to_string())? {
        let certificate = certificate.map_err(|err| err.to_string())?;
        roots.add(certificate).map_err(|err| err.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(verifying(roots))
}

/// Verifies the chain and the name. The library's own modes would leave out the name.
fn verifying(roots: RootCertStore) -> MakeRustlsConnect {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

type TlsStream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// What moves bytes between a client and its server. Dropped, it closes the connection and cancels nothing.
pub(crate) enum Driver {
    Plain(Box<Connection<Socket, NoTlsStream>>),
    Tls(Box<Connection<Socket, TlsStream>>),
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<AsyncMessage, Error>>> {
        match self {
            Driver::Plain(it) => it.poll_message(cx),
            Driver::Tls(it) => it.poll_message(cx),
        }
    }

    /// Runs until the connection ends. `hear` gets what others said.
    pub(crate) async fn run(mut self, hear: impl Fn(&str)) {
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Some(Ok(AsyncMessage::Notification(it))) => hear(it.payload()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }
}
