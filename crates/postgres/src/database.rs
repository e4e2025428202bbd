//! Which database, and how far it is trusted. Refuses a password over a network without TLS.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect;

/// How long another machine may be out of reach before what it holds is freed for others.
pub const AWAY_AFTER: Duration = Duration::from_secs(30);

/// How a server proves who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// By a certificate for its name, which the web's roots vouch for.
    #[default]
    Verified,
    /// By a certificate for its name, which one of the certificates in this PEM file vouches for.
    VerifiedBy(PathBuf),
    /// Not at all: for a socket or loopback only.
    Off,
}

/// The database cannot be used as it is given. No message holds the URL, which has a password in it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum BadDatabase {
    #[error(
        "DATABASE_URL is no URL of a PostgreSQL database (postgres://USER:PASSWORD@HOST/DATABASE): {why}"
    )]
    Url { why: String },
    #[error("DATABASE_URL names no host")]
    NoHost,
    #[error(
        "DATABASE_TLS is off, and {host} is not on this machine: the password would travel in the clear"
    )]
    InTheClear { host: String },
    #[error("cannot read the certificates in DATABASE_CA, {}: {why}", path.display())]
    Ca { path: PathBuf, why: String },
    #[error("the office's name {name:?} is empty or longer than 100 bytes")]
    Office { name: String },
}

/// A database, the office that lives in it, and which machine this is.
#[derive(Clone)]
pub struct Database {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
    pub(crate) office: String,
    pub(crate) node: String,
    pub(crate) service: String,
    pub(crate) away_after: Duration,
}

impl Database {
    /// The database at a URL. With several hosts the one that takes writes is used.
    ///
    /// `node` names this machine and `service` what runs on it: at most one process of the two lives at a time, which is
    /// the caller's to see to. A successor frees what its predecessor held at once.
    pub fn new(
        url: &SecretString,
        tls: &Tls,
        office: &str,
        node: &str,
        service: &str,
    ) -> Result<Database, BadDatabase> {
        let parsed = url.expose_secret().parse::<Config>();
        // Only the cause is told, never the text itself.
        let mut config = parsed.map_err(|err| BadDatabase::Url { why: cause(&err) })?;
        if office.is_empty() || office.len() > 100 {
            return Err(BadDatabase::Office { name: office.to_owned() });
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BadDatabase::NoHost);
        }
        let far = config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(name) if !is_loopback(name) => Some(name.clone()),
            _ => None,
        });
        let far = far.or_else(|| {
            config.get_hostaddrs().iter().find(|it| !it.is_loopback()).map(IpAddr::to_string)
        });
        let is_socket = config.get_hosts().iter().all(|it| matches!(it, Host::Unix(_)))
            && config.get_hostaddrs().is_empty();
        let tls = match (tls, far) {
            (Tls::Off, Some(host)) => return Err(BadDatabase::InTheClear { host }),
            (Tls::Off, None) => None,
            // A socket is this machine's own, and has no name to be certified.
            _ if is_socket => None,
            (Tls::Verified, _) => Some(connect::web_roots()),
            (Tls::VerifiedBy(path), _) => Some(
                connect::roots_in(path)
                    .map_err(|why| BadDatabase::Ca { path: path.clone(), why })?,
            ),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        connect::prepare(&mut config);
        Ok(Database {
            config,
            tls,
            office: office.to_owned(),
            node: node.to_owned(),
            service: service.to_owned(),
            away_after: AWAY_AFTER,
        })
    }

    /// The same, with other patience for machines that are out of reach.
    pub fn away_after(mut self, patience: Duration) -> Database {
        self.away_after = patience;
        self
    }

    /// The same database, for another office in it.
    pub fn as_office(mut self, office: &str) -> Database {
        self.office = office.to_owned();
        self
    }

    /// The same, as another service of this machine.
    pub fn as_service(mut self, service: &str) -> Database {
        self.service = service.to_owned();
        self
    }

    /// A connection and what drives it.
    pub(crate) async fn connect(
        &self,
    ) -> Result<(tokio_postgres::Client, connect::Driver), tokio_postgres::Error> {
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, connect::Driver::Tls(Box::new(connection)))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, connect::Driver::Plain(Box::new(connection)))
            }
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database(office {}, {} on {})", self.office, self.service, self.node)
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// The innermost cause of an error.
fn cause(err: &dyn std::error::Error) -> String {
    let mut cause = err;
    while let Some(it) = cause.source() {
        cause = it;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str, tls: &Tls) -> Result<Database, BadDatabase> {
        Database::new(&SecretString::from(url), tls, "home", "ada", "processor")
    }

    #[test]
    fn a_password_never_travels_in_the_clear_to_another_machine() {
        for far in ["postgres://u:secret@db.example.com/x", "postgres://u:secret@10.0.0.7/x"] {
            let refused = database(far, &Tls::Off).unwrap_err().to_string();
            assert!(refused.contains("in the clear") && !refused.contains("secret"), "{refused}");
            assert!(database(far, &Tls::Verified).unwrap().tls.is_some());
        }
        for near in ["postgres://u@localhost/x", "postgres://u@127.0.0.1:5433/x"] {
            assert!(database(near, &Tls::Off).unwrap().tls.is_none());
            assert!(database(near, &Tls::Verified).unwrap().tls.is_some(), "unless it is off");
        }
        // One far host among near ones is enough.
        assert!(database("postgres://u@localhost,db.example.com/x", &Tls::Off).is_err());
        assert!(database("host=/run/postgresql user=u", &Tls::Verified).unwrap().tls.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_url_is_not() {
        let url = "postgres://u:secret@[bad/x";
        let told = database(url, &Tls::Verified).unwrap_err().to_string();
        assert!(told.starts_with("DATABASE_URL is no URL"), "{told}");
        assert!(!told.contains("secret"), "{told}");
        let told = database("user=u", &Tls::Verified).unwrap_err().to_string();
        assert_eq!(told, "DATABASE_URL names no host");
        let ca = Tls::VerifiedBy("/nowhere/ca.pem".into());
        let told = database("postgres://u@db.example.com/x", &ca).unwrap_err().to_string();
        assert!(told.contains("DATABASE_CA, /nowhere/ca.pem"), "{told}");
        let shown = format!("{:?}", database("postgres://u:secret@h/x", &Tls::Verified).unwrap());
        assert_eq!(shown, "Database(office home, processor on ada)");
    }
}
