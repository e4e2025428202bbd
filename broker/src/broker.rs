//! The broker: from a question to a token, with every check on the way.
//!
//! The order is fixed: configured and not frozen; understood; allowed; known to GitHub; minted no
//! wider than asked; written down; answered. Whatever fails on the way fails closed.

mod housekeeping;
mod minting;
mod rate_limit;
mod recording;
mod repeats;
mod revoking;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;

use crate::app::App;
use crate::ask::{Ask, Target};
use crate::audit::{Audit, Event};
use crate::capability::{self, BadCapability, Capability};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Counters;
use crate::flight::Flights;
use crate::github::GitHub;
use crate::lookup::Lookups;
use crate::names::Owner;
use crate::policy::{ANYBODY, Caller, Plan, Policy};
use crate::refusal::{Refusal, chain};
use crate::vault::{Found, Issued, Key, Vault};

pub use housekeeping::Readiness;
pub use revoking::Frozen;

use housekeeping::Stamps;
use rate_limit::RateLimits;
use repeats::Repeats;
use revoking::BreakGlass;

/// One broker.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    pub(crate) clock: Arc<Clock>,
    pub(crate) app: Arc<App>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) vault: Vault,
    audit: Audit,
    github: Arc<GitHub>,
    lookups: Lookups,
    mints: Flights<Key, Result<(Arc<Issued>, bool), Refusal>>,
    probes: Flights<(), Result<(), Refusal>>,
    probed: Mutex<Option<(i64, Result<(), Refusal>)>>,
    policy: RwLock<Arc<Policy>>,
    clients: RwLock<Arc<Clients>>,
    stamps: Mutex<Stamps>,
    frozen: AtomicBool,
    /// A [`BreakGlass`].
    break_glass: AtomicU8,
    /// Until when GitHub asked us to leave an installation alone.
    paused: Mutex<HashMap<u64, i64>>,
    limits: RateLimits<Arc<str>>,
    revoked: RateLimits<(Arc<str>, Key)>,
    /// Bytes of the audit log, by who pays.
    written: RateLimits<Arc<str>>,
    denials: RateLimits<Arc<str>>,
    /// Denials since the last line about one.
    denials_unwritten: AtomicU64,
    repeats: Repeats,
    anybody: Arc<str>,
    threads: Arc<str>,
    started_at_ms: i64,
}

/// What would be granted, and why.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Whether the policy allows it.
    pub allowed: bool,
    /// Who asks.
    pub client: String,
    /// In which thread.
    pub thread: Option<String>,
    /// Which rule decided.
    pub rule: Option<String>,
    /// Whose installation.
    pub installation_id: Option<u64>,
    /// Which repositories; none means all.
    pub repositories: Option<Vec<String>>,
    /// What for.
    pub permissions: Option<crate::permission::Permissions>,
    /// Whether a token is at hand.
    pub cached: Option<bool>,
    /// Whether nothing is minted at the moment, whatever the policy says.
    pub frozen: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl Broker {
    /// A broker as it is configured, with its audit log. One that lacks its id or key idles.
    pub fn open(config: Config, clock: Clock) -> anyhow::Result<Arc<Broker>> {
        let broker = Broker::without_audit(config, clock)?;
        match broker.audit.open(broker.clock.wall_ms()) {
            Ok(_) => {}
            Err(error) => {
                let error = chain(&error);
                tracing::error!(%error, "nothing will be handed out");
            }
        }
        Ok(Arc::new(broker))
    }

    /// The same without opening the audit log, which may belong to a broker that runs.
    pub fn without_audit(config: Config, clock: Clock) -> anyhow::Result<Broker> {
        let clock = Arc::new(clock);
        let counters = Arc::new(Counters::default());
        let app = Arc::new(App::new(config.app_id.clone(), &config.pem));
        let github = GitHub::new(&config.api_url, app.clone(), clock.clone(), counters.clone())?;
        let github = Arc::new(github);
        let mut clients = Clients::default();
        add_secret(&mut clients, &config)?;
        let broker = Broker {
            audit: Audit::at(&config.audit),
            lookups: Lookups::new(github.clone(), clock.clone()),
            github,
            app,
            counters,
            vault: Vault::default(),
            mints: Flights::default(),
            probes: Flights::default(),
            probed: Mutex::default(),
            policy: RwLock::new(Arc::new(Policy::built_in())),
            clients: RwLock::new(Arc::new(clients)),
            stamps: Mutex::default(),
            frozen: AtomicBool::new(false),
            break_glass: AtomicU8::new(BreakGlass::Missing as u8),
            paused: Mutex::default(),
            limits: RateLimits::default(),
            revoked: RateLimits::default(),
            written: RateLimits::default(),
            denials: RateLimits::default(),
            denials_unwritten: AtomicU64::new(0),
            repeats: Repeats::default(),
            started_at_ms: clock.wall_ms(),
            anybody: ANYBODY.into(),
            threads: "thread".into(),
            clock,
            config,
        };
        broker.reload();
        // The first look of the housekeeping writes it down.
        let break_glass = BreakGlass::at(&broker.config.freeze_file);
        broker.frozen.store(break_glass == BreakGlass::There, Ordering::SeqCst);
        if break_glass == BreakGlass::Hidden {
            broker.break_glass.store(BreakGlass::Hidden as u8, Ordering::SeqCst);
        }
        Ok(broker)
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its connection to GitHub.
    pub fn github(&self) -> &GitHub {
        &self.github
    }

    /// When it was opened, in ms since 1970.
    pub fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// Why it cannot mint, as far as it knows without asking GitHub.
    pub fn unready(&self) -> Option<String> {
        self.open_for_business().err().map(|it| it.to_string())
    }

    /// Whether a bearer is asked for.
    pub fn is_guarded(&self) -> bool {
        // Who gave a secret that cannot be used wanted one to be asked for.
        let wanted = self.config.capability_secret.is_some() || self.config.trouble.is_some();
        wanted || !self.clients().is_empty()
    }

    /// Whether nothing is minted.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
            || self.break_glass.load(Ordering::SeqCst) != BreakGlass::Missing as u8
            || self.audit.is_frozen()
    }

    /// Who works the kill switch beside the broker, without a bearer. When only capabilities are
    /// taken nobody else could: they cannot freeze, and there is no client's secret to show.
    pub fn caller_beside(&self) -> Result<Caller, Refusal> {
        self.check_files()?;
        if self.clients().is_empty() {
            return Ok(Caller { client: self.anybody.clone(), capability: None, admin: false });
        }
        self.caller(None)
    }

    /// Who is speaking. `bearer` is what stood after `Bearer` in the request.
    pub fn caller(&self, bearer: Option<&str>) -> Result<Caller, Refusal> {
        self.check_files()?;
        if !self.is_guarded() {
            return Ok(Caller { client: self.anybody.clone(), capability: None, admin: false });
        }
        let refused =
            |code, error: String, hint: &'static str| Refusal::new(401, code, error, hint);
        let bearer = bearer.ok_or_else(|| {
            let hint = "send Authorization: Bearer with this client's secret or a capability";
            refused("bearer_required", "a bearer is required".to_owned(), hint)
        })?;
        if capability::is_capability(bearer) {
            let Some(secret) = &self.config.capability_secret else {
                let hint = "set BROKER_CAPABILITY_SECRET_FILE to the secret that it is signed with";
                let error = "this broker takes no capabilities".to_owned();
                return Err(refused("bearer_unknown", error, hint));
            };
            // By this machine's own clock, right or wrong: it was signed by the same one.
            let now = self.clock.wall_ms() / 1000;
            let verified = Capability::verify(bearer, secret, now).map_err(|bad| {
                let code = match bad {
                    BadCapability::Expired => "capability_expired",
                    _ => "bearer_unknown",
                };
                refused(code, bad.to_string(), "a new one is written for each session")
            })?;
            let capability = Some(Arc::new(verified));
            return Ok(Caller { client: self.threads.clone(), capability, admin: false });
        }
        let clients = self.clients();
        let client = clients.find(bearer).ok_or_else(|| {
            let hint = "the secret is compared with those in BROKER_CLIENTS_FILE and BROKER_SECRET";
            refused("bearer_unknown", "this bearer is nobody's".to_owned(), hint)
        })?;
        Ok(Caller { client: client.name.as_str().into(), capability: None, admin: client.admin })
    }

    /// A token for what the query asks, or why not.
    pub async fn token(
        self: &Arc<Self>,
        caller: &Caller,
        query: &str,
        peer: IpAddr,
    ) -> Result<Arc<Issued>, Refusal> {
        let answer = self.token_unrecorded(caller, query, peer).await;
        match &answer {
            Ok(_) => self.counters.granted.up(),
            Err(refusal) => self.record_denial(Some(caller), Some(query), peer, refusal),
        }
        answer
    }

    async fn token_unrecorded(
        self: &Arc<Self>,
        caller: &Caller,
        query: &str,
        peer: IpAddr,
    ) -> Result<Arc<Issued>, Refusal> {
        self.open_for_business()?;
        let ask = Ask::parse(query)?;
        let plan = self.policy().plan(caller, &ask)?;
        plan.check_target()?;
        let key = self.settle(&plan, caller).await?;
        let (issued, minted) = self.obtain(key, ask.min_ttl, caller).await?;
        if self.is_counted(&issued.digest, caller, &plan.rule, peer) {
            self.open_for_business()?;
            return Ok(issued);
        }
        let capability = caller.capability.as_deref();
        let event = Event {
            event: "token",
            decision: Some("granted"),
            client: Some(&caller.client),
            thread: capability.map(|it| it.thread.as_str()),
            run: capability.and_then(|it| it.run.as_deref()),
            peer: Some(peer),
            installation: Some(issued.key.installation),
            repositories: issued.key.repositories.as_deref(),
            permissions: Some(&issued.key.permissions),
            rule: Some(&plan.rule),
            cause: Some(if minted { "minted" } else { "cache" }),
            token_sha256: Some(&issued.digest),
            expires_at: Some(&issued.expires_at),
            ..Event::default()
        };
        self.record_at_cost(&event, &caller.payer(), minted)?;
        self.count_from_here(&issued.digest, caller, &plan.rule, peer);
        // Frozen while we waited, or so says the log that was opened just now: the token is
        // being revoked.
        self.open_for_business()?;
        Ok(issued)
    }

    /// What would be granted for the query, without granting it.
    pub async fn explain(
        self: &Arc<Self>,
        caller: &Caller,
        query: &str,
    ) -> Result<Explanation, Refusal> {
        let ask = Ask::parse(query)?;
        let mut explanation = Explanation {
            allowed: false,
            client: caller.client.to_string(),
            thread: caller.capability.as_ref().map(|it| it.thread.clone()),
            rule: None,
            installation_id: None,
            repositories: None,
            permissions: None,
            cached: None,
            frozen: self.is_frozen(),
            refusal: None,
        };
        let plan = match self.policy().plan(caller, &ask) {
            Ok(plan) => plan,
            Err(refusal) => {
                explanation.refusal = Some(refusal);
                return Ok(explanation);
            }
        };
        explanation.rule = Some(plan.rule.clone());
        explanation.permissions = Some(plan.permissions.clone());
        let names = plan.repositories.as_ref();
        explanation.repositories = names.map(|it| it.iter().map(ToString::to_string).collect());
        let settled = match plan.check_target() {
            Ok(()) => self.settle(&plan, caller).await,
            Err(refusal) => Err(refusal),
        };
        match settled {
            Ok(key) => {
                explanation.allowed = true;
                explanation.installation_id = Some(key.installation);
                let found = self.vault.find(&key, ask.min_ttl, self.clock.now());
                explanation.cached = Some(!matches!(found, Found::Nothing));
            }
            Err(refusal) => explanation.refusal = Some(refusal),
        }
        Ok(explanation)
    }

    fn open_for_business(&self) -> Result<(), Refusal> {
        self.check_files()?;
        if let Some(reason) = self.app.unready() {
            let hint = "set GITHUB_APP_ID and put the App's key where GITHUB_APP_PEM says";
            return Err(Refusal::new(503, "not_configured", reason, hint));
        }
        if self.is_frozen() {
            let hint = "somebody froze the broker; when all is well: tinyclaw-broker thaw";
            return Err(Refusal::new(503, "frozen", "the broker is frozen", hint));
        }
        Ok(())
    }

    /// Which installation a plan is about, and the policy's last word on it.
    async fn settle(self: &Arc<Self>, plan: &Plan, caller: &Caller) -> Result<Key, Refusal> {
        let (broker, payer) = (self.clone(), caller.payer());
        let pay = move |take| broker.spend(&payer, take);
        let (id, owner) = match &plan.target {
            Target::Installation(id) if plan.needs_owner() => {
                (*id, self.lookups.owner_of(*id, pay).await?)
            }
            Target::Installation(id) => (*id, None),
            other => {
                let (id, owner) = self.lookups.installation_of(other, pay).await?;
                let asked = match other {
                    Target::Owner(asked) | Target::Repo(asked, _) => Some(asked),
                    Target::Installation(_) => None,
                };
                (id, owner.or_else(|| asked.cloned()))
            }
        };
        plan.settle(id, owner.as_ref().map(|it| it as &Owner))
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn clients(&self) -> Arc<Clients> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn add_secret(clients: &mut Clients, config: &Config) -> anyhow::Result<()> {
    use secrecy::ExposeSecret;
    if let Some(secret) = &config.secret {
        clients.add("bot", secret.expose_secret(), false)?;
    }
    Ok(())
}

fn lost() -> Refusal {
    let error = "the broker lost its way";
    Refusal::new(500, "internal", error, "try again; its log says what happened")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
