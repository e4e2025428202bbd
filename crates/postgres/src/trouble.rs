//! Why a call or an opening failed, in words that name neither the database's address nor its password.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

/// The database could not be used at all.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum OpenError {
    #[error("cannot reach the database")]
    Reach { source: Trouble },
    #[error("cannot bring the schema up to date")]
    Migrate { source: Trouble },
    #[error("cannot make the tables")]
    Steps { source: refinery::Error },
    #[error(
        "the database was made by a newer program (schema {found}, this one knows {known}); update this machine"
    )]
    Newer { found: i32, known: i32 },
    #[error(
        "two connections to the database share one session: connect to PostgreSQL itself, or to a pooler in session mode"
    )]
    Pooler,
    #[error("cannot begin to work on calls")]
    Begin { source: std::io::Error },
}

/// A call failed, and changed nothing that the caller may count on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct Trouble {
    why: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The same may succeed in a moment, on another connection.
    Passing,
    /// It fails however often it is tried.
    Lasting,
    NoSpace,
    Closed,
}

/// What a function raises when the office is closed.
const CLOSED: &str = "TC001";

impl Trouble {
    pub(crate) fn passing(why: impl Into<String>) -> Trouble {
        Trouble { why: why.into(), kind: Kind::Passing }
    }

    pub(crate) fn lasting(why: impl Into<String>) -> Trouble {
        Trouble { why: why.into(), kind: Kind::Lasting }
    }

    pub(crate) fn of(err: &tokio_postgres::Error) -> Trouble {
        let Some(db) = err.as_db_error() else {
            return Trouble { why: chain(err), kind: Kind::Passing };
        };
        let code = db.code();
        let said = db.message();
        let kind = if code.code() == CLOSED {
            Kind::Closed
        } else if *code == SqlState::DISK_FULL {
            Kind::NoSpace
        } else if is_passing(code) {
            Kind::Passing
        } else {
            Kind::Lasting
        };
        let why = if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(code)
        {
            format!("the database lets us not in; check user and password of DATABASE_URL: {said}")
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            format!("DATABASE_URL names a database that is not there: {said}")
        } else if *code == SqlState::TOO_MANY_CONNECTIONS {
            format!(
                "the database has no connection left; raise its max_connections by 4 for each process: {said}"
            )
        } else if kind == Kind::Closed {
            format!("the office is closed in this database: {said}")
        } else {
            format!("the database says: {said} ({})", code.code())
        };
        Trouble { why, kind }
    }

    /// Whether the database is full.
    pub fn is_no_space(&self) -> bool {
        self.kind == Kind::NoSpace
    }

    /// Whether the office takes in and hands out nothing any more.
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// Whether the same may succeed on another try.
    pub fn is_passing(&self) -> bool {
        self.kind == Kind::Passing
    }
}

/// Whether the server is on its way down or up, has become a standby, or was only busy.
fn is_passing(code: &SqlState) -> bool {
    const PASSING: [SqlState; 9] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::QUERY_CANCELED,
    ];
    PASSING.contains(code) || code.code().starts_with("08")
}

fn chain(err: &tokio_postgres::Error) -> String {
    let mut told = err.to_string();
    let mut cause = err.source();
    while let Some(it) = cause {
        let more = it.to_string();
        // Some put their cause into their own words already.
        if !told.ends_with(&more) {
            told.push_str(&format!(": {more}"));
        }
        cause = it.source();
    }
    if told.contains("TLS handshake") {
        told.push_str(
            "; check DATABASE_CA, and that the host in DATABASE_URL is the certificate's",
        );
    }
    told
}
