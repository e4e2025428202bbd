//! GitHub's API, as much of it as a broker needs: look up, mint, revoke.
//!
//! Every answer is one of three things: an outcome, a [`Refusal`] that says whose fault it is, or
//! a passing trouble that is tried again (5xx, a broken connection, half a body). A clock that is
//! wrong is corrected from GitHub's `Date` and the request repeated once. Redirects are not
//! followed: the JWT goes to the configured host and nowhere else.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::app::App;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::date;
use crate::names::{Owner, RepoName};
use crate::permission::{Level, Permission, Permissions};
use crate::redact::scrub;
use crate::refusal::Refusal;
use crate::vault::Key;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// One try; GitHub mints in a quarter of a second.
const TRY_TIMEOUT: Duration = Duration::from_secs(6);
/// All tries together. Whoever waits for a token has given up by then.
const CALL_TIMEOUT: Duration = Duration::from_secs(14);
const TRIES: u32 = 3;
/// 500 repositories are echoed at about 6 KB each.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A secondary rate limit without a time is lifted after a minute, says GitHub.
const PAUSE_SECONDS: u64 = 60;
const PAGES_MAX: u32 = 100;
/// GitHub's secondary limits begin at a hundred requests at once, and every one is an open file.
/// To revoke has lines of its own: a rush of mints must not keep a freeze waiting.
const AT_ONCE_MAX: usize = 64;

/// A connection to GitHub, as this App.
#[derive(Debug)]
pub struct GitHub {
    http: reqwest::Client,
    base: String,
    app: Arc<App>,
    clock: Arc<Clock>,
    counters: Arc<Counters>,
    /// Lines to GitHub, for everything but revoking and for that.
    asking: Semaphore,
    revoking: Semaphore,
}

/// A new token and what it is really good for.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: SecretString,
    /// Its end as GitHub wrote it.
    pub expires_at: String,
    /// The same in seconds since 1970.
    pub expires: i64,
    /// In which way it is good for more than was asked.
    pub wider: Option<String>,
}

/// An installation of the App.
#[derive(Debug, Clone, Deserialize)]
pub struct Installation {
    /// Its number.
    pub id: u64,
    /// Whose it is.
    pub account: Option<Account>,
    /// What it was granted, which may be less than the App asks for.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
    /// `all` or `selected`.
    pub repository_selection: Option<String>,
    /// Since when it is suspended.
    pub suspended_at: Option<String>,
}

/// A user or an organisation.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// Its name.
    pub login: Option<String>,
}

/// The App itself.
#[derive(Debug, Clone, Deserialize)]
pub struct AppInfo {
    /// Its number.
    pub id: u64,
    /// Its name in URLs.
    pub slug: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    token: SecretString,
    expires_at: String,
    permissions: Option<BTreeMap<String, String>>,
    repository_selection: Option<String>,
    repositories: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize, Default)]
struct Message {
    #[serde(default)]
    message: String,
}

enum Bearer<'a> {
    Jwt,
    Token(&'a SecretString),
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Why a try did not give a whole answer, without the URL and whatever else a library adds.
type Trouble = String;

impl GitHub {
    /// A connection that is made when it is first needed.
    pub fn new(
        base: &str,
        app: Arc<App>,
        clock: Arc<Clock>,
        counters: Arc<Counters>,
    ) -> anyhow::Result<GitHub> {
        let local = base.starts_with("http://");
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("tinyclaw-broker/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TRY_TIMEOUT)
            .pool_max_idle_per_host(8)
            .tcp_nodelay(true);
        if local {
            // Plain HTTP is for tests on this machine: no proxy is to see it.
            http = http.no_proxy();
        }
        let base = base.trim_end_matches('/').to_owned();
        let (asking, revoking) = (Semaphore::new(AT_ONCE_MAX), Semaphore::new(AT_ONCE_MAX));
        Ok(GitHub { http: http.build()?, base, app, clock, counters, asking, revoking })
    }

    /// Mints a token for exactly this key.
    pub async fn mint(&self, key: &Key) -> Result<Minted, Refusal> {
        let mut body = json!({ "permissions": key.permissions });
        if let Some(names) = &key.repositories {
            body["repositories"] = json!(names);
        }
        let path = format!("/app/installations/{}/access_tokens", key.installation);
        let reply = self.call(Method::POST, &path, &Bearer::Jwt, Some(&body)).await?;
        if reply.status != StatusCode::CREATED {
            return Err(self.refusal(&reply));
        }
        let bad = || {
            let error = "GitHub's answer is not a token";
            Refusal::new(502, "github_bad_answer", error, "try again; look at githubstatus.com")
        };
        let token: Token = serde_json::from_slice(&reply.body).map_err(|_| bad())?;
        let expires = date::parse_rfc3339(&token.expires_at).ok_or_else(bad)?;
        let wider = wider(key, &token);
        Ok(Minted { token: token.token, expires_at: token.expires_at, expires, wider })
    }

    /// Revokes a token. One that is gone already is revoked.
    pub async fn revoke(&self, token: &SecretString) -> Result<(), Refusal> {
        let bearer = Bearer::Token(token);
        let reply = self.call(Method::DELETE, "/installation/token", &bearer, None).await?;
        match reply.status.as_u16() {
            204 | 401 | 404 => Ok(()),
            _ => Err(self.refusal(&reply)),
        }
    }

    /// The installation that sees a repository, or none.
    pub async fn installation_of_repo(
        &self,
        owner: &Owner,
        repo: &RepoName,
    ) -> Result<Option<Installation>, Refusal> {
        self.find(&format!("/repos/{owner}/{repo}/installation")).await
    }

    /// The installation of a user or an organisation, or none.
    pub async fn installation_of_owner(
        &self,
        owner: &Owner,
    ) -> Result<Option<Installation>, Refusal> {
        // The users' address answers for organisations too, but not on every GHES.
        match self.find(&format!("/users/{owner}/installation")).await? {
            Some(it) => Ok(Some(it)),
            None => self.find(&format!("/orgs/{owner}/installation")).await,
        }
    }

    /// The installation of this number, or none.
    pub async fn installation(&self, id: u64) -> Result<Option<Installation>, Refusal> {
        self.find(&format!("/app/installations/{id}")).await
    }

    /// The App that the key belongs to. This is how one learns that the key works.
    pub async fn app(&self) -> Result<AppInfo, Refusal> {
        let reply = self.call(Method::GET, "/app", &Bearer::Jwt, None).await?;
        self.parse(&reply)
    }

    /// Every installation of the App.
    pub async fn installations(&self) -> Result<Vec<Installation>, Refusal> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let path = format!("/app/installations?per_page=100&page={page}");
            let reply = self.call(Method::GET, &path, &Bearer::Jwt, None).await?;
            let mut some: Vec<Installation> = self.parse(&reply)?;
            all.append(&mut some);
            let link = reply.headers.get("link").and_then(|it| it.to_str().ok());
            if !link.is_some_and(|it| it.contains("rel=\"next\"")) {
                break;
            }
        }
        Ok(all)
    }

    async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Refusal> {
        let reply = self.call(Method::GET, path, &Bearer::Jwt, None).await?;
        // A moved repository answers 301: under this name there is none.
        match reply.status.as_u16() {
            404 | 301 | 302 | 307 | 308 => Ok(None),
            _ => self.parse(&reply).map(Some),
        }
    }

    fn parse<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, Refusal> {
        if reply.status != StatusCode::OK {
            return Err(self.refusal(reply));
        }
        serde_json::from_slice(&reply.body).map_err(|_| {
            let error = "GitHub's answer is not what its documents say";
            Refusal::new(502, "github_bad_answer", error, "try again; look at githubstatus.com")
        })
    }

    /// One request with everything that may be tried again tried again.
    async fn call(
        &self,
        method: Method,
        path: &str,
        bearer: &Bearer<'_>,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, Refusal> {
        let end = Instant::now() + CALL_TIMEOUT;
        let mut corrected = false;
        let mut tried = 0;
        loop {
            tried += 1;
            let one = timeout_at(end, self.once(method.clone(), path, bearer, body)).await;
            let trouble = match one {
                Ok(Ok(reply)) => {
                    let jwt = matches!(bearer, Bearer::Jwt);
                    if jwt && reply.status == StatusCode::UNAUTHORIZED {
                        if !corrected && self.correct_clock(&reply) {
                            corrected = true;
                            tried -= 1;
                            continue;
                        }
                        return Err(self.unauthorized(&reply));
                    }
                    if reply.status.is_server_error() {
                        format!("GitHub answered {}", reply.status.as_u16())
                    } else {
                        if let Some(date) = date_of(&reply.headers) {
                            self.learn(date);
                        }
                        return Ok(reply);
                    }
                }
                Ok(Err(Failure::Trouble(trouble))) => trouble,
                Ok(Err(Failure::Refusal(refusal))) => return Err(refusal),
                Err(_) => "GitHub did not answer in time".to_owned(),
            };
            self.counters.github_errors.up();
            // 200 ms, then 800 ms, each up to doubled, so that many brokers do not come back at once.
            let pause = Duration::from_millis(200 << (2 * (tried - 1))).mul_f64(1.0 + jitter());
            if tried >= TRIES || Instant::now() + pause >= end {
                tracing::warn!(tried, %trouble, "GitHub is not to be had");
                let hint = "it was tried several times; look at githubstatus.com and the way out";
                return Err(Refusal::new(502, "github_unavailable", trouble, hint).after(5));
            }
            sleep(pause).await;
        }
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        bearer: &Bearer<'_>,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, Failure> {
        let lines = match bearer {
            Bearer::Jwt => &self.asking,
            Bearer::Token(_) => &self.revoking,
        };
        let _line = lines.acquire().await;
        let bearer = match bearer {
            Bearer::Jwt => self.app.jwt(self.clock.now()).map_err(|trouble| {
                let hint = "see GET /ready, or run tinyclaw-broker check";
                Failure::Refusal(Refusal::new(503, "not_configured", trouble, hint))
            })?,
            Bearer::Token(token) => (*token).clone(),
        };
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", bearer.expose_secret()))
            .map_err(|_| {
                let error = "this is not a token";
                Failure::Refusal(Refusal::malformed("bad_token", error, "send it as it was given"))
            })?;
        authorization.set_sensitive(true);
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", "2022-11-28");
        if let Some(body) = body {
            request = request.json(body);
        }
        self.counters.github_requests.up();
        let mut response = request.send().await.map_err(|it| Failure::Trouble(said(&it)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|it| Failure::Trouble(said(&it)))? {
            if body.len() + part.len() > BODY_BYTES_MAX {
                return Err(Failure::Trouble("GitHub's answer has no end".to_owned()));
            }
            body.extend_from_slice(&part);
        }
        let json = || serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        if status.is_success() && status != StatusCode::NO_CONTENT && !json() {
            // A proxy's page in GitHub's place, or half a body.
            return Err(Failure::Trouble("GitHub's answer is not JSON".to_owned()));
        }
        Ok(Reply { status, headers, body })
    }

    /// Whether a 401 was about the time, and the time is better known now.
    fn correct_clock(&self, reply: &Reply) -> bool {
        let message = message(reply);
        let about_time = ["'exp'", "'iat'", "Expiration time", "Issued at"];
        let Some(date) = date_of(&reply.headers) else { return false };
        about_time.iter().any(|it| message.contains(it)) && self.learn(date)
    }

    fn learn(&self, date: i64) -> bool {
        let learned = self.clock.learn(date);
        if learned {
            self.counters.skews.up();
            self.app.forget_jwt();
            let offset_s = self.clock.offset();
            tracing::warn!(offset_s, "this machine's clock is wrong; GitHub's is used");
        }
        learned
    }

    fn unauthorized(&self, reply: &Reply) -> Refusal {
        self.counters.github_errors.up();
        self.app.forget_jwt();
        let message = message(reply);
        let hint = if message.contains("'exp'") || message.contains("'iat'") {
            "the clock of this machine is wrong, and GitHub's Date did not help: set it"
        } else {
            "GITHUB_APP_ID and the key do not belong together, or the key was deleted at GitHub: \
             run tinyclaw-broker check"
        };
        let error = format!("GitHub does not accept this App's key: {message}");
        // Not 401: that is what the broker says about its own callers.
        Refusal::new(502, "github_unauthorized", error, hint)
    }

    /// GitHub's own refusals, each with its way out.
    fn refusal(&self, reply: &Reply) -> Refusal {
        self.counters.github_errors.up();
        let message = message(reply);
        let lower = message.to_lowercase();
        if let Some(seconds) = self.rate_limited(reply, &lower) {
            let error = format!("GitHub's rate limit is reached: {message}");
            let hint = format!("wait {seconds} s; fewer different scopes mean fewer tokens");
            return Refusal::new(429, "github_rate_limit", error, hint).after(seconds);
        }
        match reply.status.as_u16() {
            403 if lower.contains("suspended") => Refusal::new(
                403,
                "installation_suspended",
                format!("GitHub: {message}"),
                "an owner must unsuspend the App in the settings of the account it is installed on",
            ),
            403 => Refusal::new(
                403,
                "github_forbidden",
                format!("GitHub forbids it: {message}"),
                "look at the App's settings and at the organisation's rules for Apps",
            ),
            404 => Refusal::new(
                404,
                "installation_not_found",
                format!("GitHub knows no such installation of this App: {message}"),
                "the App was uninstalled or never installed there, or the id is another App's",
            ),
            422 if lower.contains("permissions") => Refusal::new(
                422,
                "permission_not_granted",
                format!("GitHub: {message}"),
                "ask for less, or grant it to the App and have an owner approve the change; \
                 tinyclaw-broker check shows what each installation has",
            ),
            422 if lower.contains("repositor") => Refusal::new(
                422,
                "repository_not_accessible",
                format!("GitHub: {message}"),
                "a repository is misspelt, or the App is not installed on it",
            ),
            422 => Refusal::new(
                422,
                "github_unprocessable",
                format!("GitHub does not accept the request: {message}"),
                "look at the names and permissions asked for",
            ),
            status => Refusal::new(
                502,
                "github_bad_answer",
                format!("GitHub answered {status}: {message}"),
                "try again; look at githubstatus.com and at GITHUB_API_URL",
            ),
        }
    }

    /// A rate limit hides behind 403 as well as 429, and in three different headers.
    fn rate_limited(&self, reply: &Reply, message: &str) -> Option<u64> {
        if !matches!(reply.status.as_u16(), 403 | 429) {
            return None;
        }
        let number =
            |name: &str| -> Option<i64> { reply.headers.get(name)?.to_str().ok()?.parse().ok() };
        if let Some(seconds) = number("retry-after") {
            return Some(seconds.clamp(1, 3600) as u64);
        }
        if number("x-ratelimit-remaining") == Some(0) {
            let reset = number("x-ratelimit-reset").map(|it| it - self.clock.now());
            return Some(reset.unwrap_or(PAUSE_SECONDS as i64).clamp(1, 3600) as u64);
        }
        (reply.status == StatusCode::TOO_MANY_REQUESTS || message.contains("rate limit"))
            .then_some(PAUSE_SECONDS)
    }
}

enum Failure {
    Trouble(Trouble),
    Refusal(Refusal),
}

/// In which way a token is good for more than was asked, if it is.
fn wider(key: &Key, token: &Token) -> Option<String> {
    let Some(permissions) = &token.permissions else {
        return Some("GitHub does not say its permissions".to_owned());
    };
    for (name, level) in permissions {
        let known = name.parse::<Permission>().ok().zip(level.parse::<Level>().ok());
        let within = known.is_some_and(|(permission, level)| {
            let implied = permission.is_metadata().then_some(Level::Read);
            key.permissions.get(permission).max(implied).is_some_and(|asked| level <= asked)
        });
        if !within {
            return Some(scrub(&format!("{name}:{level}")).into_owned());
        }
    }
    let asked = key.repositories.as_ref()?;
    if token.repository_selection.as_deref() != Some("selected") {
        return Some("every repository".to_owned());
    }
    let Some(repositories) = &token.repositories else {
        return Some("GitHub does not say its repositories".to_owned());
    };
    let other = repositories.iter().find(|it| {
        it.name.parse::<RepoName>().map_or(true, |name| asked.binary_search(&name).is_err())
    });
    other.map(|it| scrub(&format!("repository {}", it.name)).into_owned())
}

/// What the permissions of an installation lack of a set.
pub fn lacking(wanted: &Permissions, has: &BTreeMap<String, String>) -> Vec<String> {
    let lacks = |(permission, level): &(Permission, Level)| {
        let has = has.get(permission.name()).and_then(|it| it.parse::<Level>().ok());
        has.is_none_or(|it| it < *level)
    };
    wanted.iter().filter(lacks).map(|(permission, level)| format!("{permission}:{level}")).collect()
}

fn message(reply: &Reply) -> String {
    let message: Message = serde_json::from_slice(&reply.body).unwrap_or_default();
    let message = message.message.chars().filter(|it| !it.is_control()).take(200);
    scrub(&message.collect::<String>()).into_owned()
}

fn date_of(headers: &HeaderMap) -> Option<i64> {
    date::parse_http_date(headers.get("date")?.to_str().ok()?)
}

/// A library's error as a few words: its own text may hold the URL and more.
fn said(error: &reqwest::Error) -> Trouble {
    if error.is_timeout() {
        "GitHub did not answer in time".to_owned()
    } else if error.is_connect() {
        "cannot connect to GitHub".to_owned()
    } else {
        "the connection to GitHub broke".to_owned()
    }
}

/// Between 0 and 1.
fn jitter() -> f64 {
    // A fresh random state is seeded by the system; no more randomness is needed here.
    (RandomState::new().hash_one(0_u8) % 1024) as f64 / 1024.0
}
