//! Who may do what: tokens, JSON Web Tokens, tickets for browsers, and how often each may ask.
//!
//! Closed by default: where no token is known, nobody is let in, and `/ready` says why. A token's text is compared by its
//! sum and kept nowhere. Whoever was let in for long, to a stream, is asked about again whenever something changed.

mod book;
mod jwt;
mod rates;
mod tickets;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tinyclaw_domain::{EnvName, Scope, TICKET_PREFIX, token_sum};
use tinyclaw_service::{Shutdown, Vitals, now_ms};
use tokio::sync::watch;

pub use self::book::Book;
use self::jwt::Jwt;
pub use self::jwt::{JwtConfig, KeySource};
pub use self::rates::{Allowance, FAILURES_A_MINUTE, Kind, RateConfig, Rates};
pub use self::tickets::{Held, Refused as TicketRefused, TICKET_TIME, Tickets, Use as TicketUse};

/// `tokens.json` is looked at so often: a revoked token ends its streams soon after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who asks, and what for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// What it is known by: in limits, and as the source of events that name none.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Where it may have Claude work; empty: anywhere.
    pub envs: Vec<String>,
    /// Pages of these origins may use it; empty: those of the settings.
    pub origins: Vec<String>,
    /// What its jobs may cost in a day, in US dollars.
    pub budget_per_day: Option<f64>,
    /// From then on it is not let in any more, in ms since 1970.
    pub until: Option<u64>,
    /// What it was known by, to be asked about again.
    proof: Proof,
}

impl Caller {
    /// Whose requests these are: what somebody asks once and again is known by it. Two with the same name who are let in by
    /// different means are two.
    pub fn account(&self) -> String {
        match &self.proof {
            Proof::Token(id, _) => id.clone(),
            Proof::Setting(_) => "setting".to_owned(),
            Proof::Signed => format!("signed.{}", self.name),
        }
    }

    /// Whether it may have Claude work in this environment; none is a thread of a chat or a terminal.
    pub fn may_use(&self, env: Option<&EnvName>) -> bool {
        self.envs.is_empty() || env.is_some_and(|env| self.envs.iter().any(|it| it == env.as_str()))
    }
}

/// How a caller showed who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    /// A token of the file: its id and its sum.
    Token(String, String),
    /// The token of the settings.
    Setting(String),
    /// A signed token: good until it expires.
    Signed,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It shows nothing.
    NoToken,
    /// What it shows is not good.
    BadToken,
    /// Nobody is let in: no token was ever made.
    NoneConfigured,
}

/// What the settings say of all this.
#[derive(Debug, Default)]
pub struct AccessConfig {
    /// Where `tokens.json` is.
    pub tokens: PathBuf,
    /// The token of the settings.
    pub api_token: Option<SecretString>,
    /// Whose signed tokens are good.
    pub jwt: Option<JwtConfig>,
    /// How often a caller may ask.
    pub rates: RateConfig,
}

/// The door's book.
#[derive(Debug)]
pub struct Access {
    tokens: PathBuf,
    book: watch::Sender<Arc<Book>>,
    /// The sum of the token of the settings.
    api_sum: Option<String>,
    jwt: Option<Jwt>,
    /// How often each may ask.
    pub rates: Rates,
    /// Passes for browsers.
    pub tickets: Tickets,
    /// Sums of tickets that somebody logged in with, until they are over anyway.
    used_tickets: Mutex<HashMap<String, u64>>,
    vitals: Vitals,
}

impl Access {
    /// Reads `tokens.json`, if there is one.
    pub fn new(config: AccessConfig, vitals: Vitals) -> Arc<Access> {
        let access = Access {
            book: watch::Sender::new(Arc::default()),
            tokens: config.tokens,
            api_sum: config.api_token.map(|it| token_sum(it.expose_secret())),
            jwt: config.jwt.map(Jwt::new),
            rates: Rates::new(config.rates),
            tickets: Tickets::default(),
            used_tickets: Mutex::default(),
            vitals,
        };
        access.look();
        Arc::new(access)
    }

    /// Follows `tokens.json` until the shutdown.
    pub async fn follow(self: Arc<Access>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.begun() => return,
            }
            self.look();
            self.rates.forget_idle();
        }
    }

    /// Looks whether `tokens.json` changed. One that cannot be read lets nobody in whom the last good one did not, and
    /// is named in `/ready`.
    pub fn look(&self) {
        // Not borrowed any more when it is replaced.
        let before = Arc::clone(&self.book.borrow());
        match Book::read(&self.tokens, &before) {
            Ok(None) => {}
            Ok(Some(book)) => {
                self.vitals.concern("tokens", None);
                self.book.send_replace(Arc::new(book));
            }
            Err(why) => {
                self.vitals.concern("tokens", Some(format!("the last good tokens count: {why}")));
            }
        }
        match self.is_configured() {
            true => self.vitals.unblock("access"),
            false => self.vitals.block(
                "access",
                "no token is configured, so nobody is let in; do: tinyclaw token new NAME --scope ingest,read",
            ),
        }
    }

    fn is_configured(&self) -> bool {
        self.api_sum.is_some() || self.jwt.is_some() || !self.book.borrow().is_empty()
    }

    /// Changes whenever `tokens.json` did.
    pub fn changes(&self) -> watch::Receiver<Arc<Book>> {
        self.book.subscribe()
    }

    /// Who has this token.
    pub async fn caller(&self, bearer: Option<&str>) -> Result<Caller, Denied> {
        if !self.is_configured() {
            return Err(Denied::NoneConfigured);
        }
        let text = bearer.ok_or(Denied::NoToken)?;
        let sum = token_sum(text);
        if let Some(ours) = &self.api_sum
            && is_same(ours, &sum)
        {
            let scopes = Scope::ALL.into_iter().filter(|it| *it != Scope::Admin).collect();
            let (envs, origins, until) = (Vec::new(), Vec::new(), None);
            let (name, proof) = ("api".to_owned(), Proof::Setting(sum));
            let budget_per_day = None;
            return Ok(Caller { name, scopes, envs, origins, budget_per_day, until, proof });
        }
        if let Some(caller) = self.book.borrow().caller(text, &sum, now_ms()) {
            return Ok(caller);
        }
        match &self.jwt {
            Some(jwt) => jwt.caller(text).await,
            None => Err(Denied::BadToken),
        }
    }

    /// The token that this ticket is for, and until when that is good. A ticket serves once; who restarts the gateway within its
    /// minutes gives it a second time.
    pub fn log_in(&self, ticket: &str) -> Option<(String, Option<u64>)> {
        if !ticket.starts_with(TICKET_PREFIX) {
            return None;
        }
        // It may have been made a moment ago.
        self.look();
        let now = now_ms();
        let (sum, book) = (token_sum(ticket), Arc::clone(&self.book.borrow()));
        let (token, until, ticket_until) = book.login(ticket, &sum, now)?;
        let mut used = self.used_tickets.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| now < *until);
        used.insert(sum, ticket_until).is_none().then_some((token, until))
    }

    /// Whether a caller who was let in would be let in now.
    pub fn is_still_good(&self, caller: &Caller) -> bool {
        let is_in_time = caller.until.is_none_or(|it| now_ms() < it);
        is_in_time
            && match &caller.proof {
                Proof::Token(id, sum) => self.book.borrow().is_good(id, sum, now_ms()),
                Proof::Setting(sum) => self.api_sum.as_ref() == Some(sum),
                Proof::Signed => true,
            }
    }

    /// Waits until a caller is let in no more.
    pub async fn ended(&self, caller: &Caller) {
        let mut changes = self.changes();
        while self.is_still_good(caller) {
            let left = caller.until.map(|it| Duration::from_millis(it.saturating_sub(now_ms())));
            // Without an end only the file can end it; a long look now and then costs nothing.
            let sleep = tokio::time::sleep(left.unwrap_or(Duration::from_secs(3600)));
            tokio::select! {
                () = sleep => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Whether some token is for pages of this origin. Which one a page has is known when it shows it.
    pub fn knows_origin(&self, origin: &str) -> bool {
        self.book.borrow().origins().any(|it| it == origin)
    }

    /// Whether an address may go on showing tokens that are not good.
    pub fn may_fail(&self, from: IpAddr) -> Allowance {
        self.vitals.count("authFailedTotal", 1);
        self.rates.fail(from)
    }
}

/// Whether two sums are the same, told in a time that does not depend on where they differ.
fn is_same(a: &str, b: &str) -> bool {
    subtle::ConstantTimeEq::ct_eq(a.as_bytes(), b.as_bytes()).into()
}
