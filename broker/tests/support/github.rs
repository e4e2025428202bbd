//! A fake GitHub: it checks the JWT's signature and claims with the public key, knows
//! installations, mints tokens of both shapes, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tinyclaw_broker::date;

pub const APP_ID: &str = "4711";

/// What goes wrong with the next requests.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with a message.
    Status(u16, &'static str),
    /// A page of a proxy's in place of JSON, with status 200 or 201.
    Html,
    /// A body that ends before its length says.
    HalfBody,
    /// No answer at all.
    Hang,
    /// 403 with `retry-after`, as the secondary rate limit answers.
    SecondaryLimit(u64),
    /// 403 with `x-ratelimit-remaining: 0`.
    PrimaryLimit(i64),
    /// A redirect to another host.
    Redirect,
}

/// How a minted token differs from what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wider {
    #[default]
    No,
    Permission,
    Level,
    Repositories,
    OtherRepository,
}

#[derive(Debug, Clone)]
pub struct Installation {
    pub login: String,
    pub repositories: BTreeSet<String>,
    pub permissions: BTreeMap<String, String>,
    pub suspended: bool,
}

#[derive(Debug, Clone)]
pub struct Scope {
    pub installation: u64,
    pub repositories: Option<BTreeSet<String>>,
    pub permissions: BTreeMap<String, String>,
    pub expires: i64,
    pub revoked: bool,
}

#[derive(Default)]
pub struct World {
    pub installations: BTreeMap<u64, Installation>,
    pub tokens: HashMap<String, Scope>,
    pub jwts: BTreeSet<String>,
    pub faults: VecDeque<Fault>,
    pub wider: Wider,
    pub requests: Vec<String>,
    pub lifetime: i64,
    pub page: usize,
}

pub struct GitHub {
    pub address: SocketAddr,
    world: Mutex<World>,
    key: Mutex<DecodingKey>,
    prefix: &'static str,
    /// Added to the system's clock, or the time itself when `manual` is set.
    clock: AtomicI64,
    manual: std::sync::atomic::AtomicBool,
    mint_ms: AtomicU64,
    mints: AtomicU64,
}

impl GitHub {
    /// Starts one on a port of its own, in a thread of its own.
    pub fn start(public_key: &str) -> Arc<GitHub> {
        GitHub::start_at(public_key, "")
    }

    /// The same below a path, as an enterprise server is.
    pub fn start_at(public_key: &str, prefix: &'static str) -> Arc<GitHub> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let github = Arc::new(GitHub {
            address: listener.local_addr().unwrap(),
            world: Mutex::new(World { lifetime: 3600, page: 100, ..World::default() }),
            key: Mutex::new(DecodingKey::from_rsa_pem(public_key.as_bytes()).unwrap()),
            prefix,
            clock: AtomicI64::new(0),
            manual: false.into(),
            mint_ms: AtomicU64::new(0),
            mints: AtomicU64::new(0),
        });
        github.install(12345, "acme", &["my-repo", "site", "docs"]);
        let state = github.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let app = Router::new().fallback(answer).with_state(state);
                axum::serve(listener, app).await.unwrap();
            });
        });
        github
    }

    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.prefix)
    }

    /// Installs the App with the usual permissions.
    pub fn install(&self, id: u64, login: &str, repositories: &[&str]) {
        let usual = [
            ("contents", "write"),
            ("issues", "write"),
            ("metadata", "read"),
            ("pull_requests", "write"),
        ];
        let installation = Installation {
            login: login.to_owned(),
            repositories: repositories.iter().map(|it| (*it).to_owned()).collect(),
            permissions: usual.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            suspended: false,
        };
        self.world().installations.insert(id, installation);
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn fail(&self, fault: Fault) {
        self.world().faults.push_back(fault);
    }

    pub fn set_key(&self, public_key: &str) {
        *self.key.lock().unwrap() = DecodingKey::from_rsa_pem(public_key.as_bytes()).unwrap();
    }

    /// Lets GitHub's clock differ from this machine's.
    pub fn set_offset(&self, seconds: i64) {
        self.clock.store(seconds, Ordering::SeqCst);
    }

    /// Stops following this machine's clock.
    pub fn set_now(&self, seconds: i64) {
        self.manual.store(true, Ordering::SeqCst);
        self.clock.store(seconds, Ordering::SeqCst);
    }

    pub fn set_mint_ms(&self, ms: u64) {
        self.mint_ms.store(ms, Ordering::SeqCst);
    }

    pub fn mints(&self) -> u64 {
        self.mints.load(Ordering::SeqCst)
    }

    pub fn requests(&self, part: &str) -> usize {
        self.world().requests.iter().filter(|it| it.contains(part)).count()
    }

    pub fn scope(&self, token: &str) -> Option<Scope> {
        self.world().tokens.get(token).cloned()
    }

    /// Whether a token may do this to a repository now.
    pub fn allows(&self, token: &str, repo: &str, permission: &str, level: &str) -> bool {
        let now = self.now();
        self.scope(token).is_some_and(|it| {
            !it.revoked
                && it.expires > now
                && it.repositories.is_none_or(|all| all.contains(repo))
                && it.permissions.get(permission).is_some_and(|has| has == level || has == "write")
        })
    }

    pub fn now(&self) -> i64 {
        let clock = self.clock.load(Ordering::SeqCst);
        if self.manual.load(Ordering::SeqCst) {
            return clock;
        }
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + clock
    }

    /// GitHub's own words about a JWT, or nothing when it is good.
    fn refuse_jwt(&self, headers: &HeaderMap) -> Option<&'static str> {
        let undecodable = Some("A JSON web token could not be decoded");
        let Some(jwt) = bearer(headers) else { return undecodable };
        self.world().jwts.insert(jwt.clone());
        let mut validation = Validation::new(Algorithm::RS256);
        // The claims are compared by hand, with GitHub's clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Value>(&jwt, &self.key.lock().unwrap(), &validation);
        let Ok(decoded) = decoded else { return undecodable };
        if decoded.header.typ.as_deref() != Some("JWT") {
            return undecodable;
        }
        let claims = decoded.claims;
        if claims["iss"].as_str() != Some(APP_ID) {
            return Some("Integration must generate a public key");
        }
        let now = self.now();
        let Some(iat) = claims["iat"].as_i64() else {
            return Some(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            );
        };
        let expired = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires";
        let Some(exp) = claims["exp"].as_i64() else { return Some(expired) };
        if iat > now {
            return Some(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            );
        }
        if exp <= now {
            return Some(expired);
        }
        if exp > now + 600 {
            return Some("'Expiration time' claim ('exp') is too far in the future");
        }
        None
    }

    fn mint(&self, id: u64, body: &[u8]) -> Response<Body> {
        let asked: Value =
            if body.is_empty() { json!({}) } else { serde_json::from_slice(body).unwrap() };
        let mut world = self.world();
        let Some(installation) = world.installations.get(&id).cloned() else {
            return said(404, "Not Found");
        };
        if installation.suspended {
            return said(403, "This installation has been suspended");
        }
        let mut permissions = match asked.get("permissions").and_then(Value::as_object) {
            // Exactly what the API does with nothing: everything.
            None => installation.permissions.clone(),
            Some(map) if map.is_empty() => installation.permissions.clone(),
            Some(map) => {
                map.iter().map(|(a, b)| (a.clone(), b.as_str().unwrap().to_owned())).collect()
            }
        };
        for (name, level) in &permissions {
            let has = installation.permissions.get(name);
            if !has.is_some_and(|has| has == level || has == "write") {
                return said(
                    422,
                    "The permissions requested are not granted to this installation.",
                );
            }
        }
        permissions.insert("metadata".to_owned(), "read".to_owned());
        let repositories: Option<BTreeSet<String>> = asked
            .get("repositories")
            .and_then(Value::as_array)
            .filter(|it| !it.is_empty())
            .map(|it| it.iter().map(|it| it.as_str().unwrap().to_lowercase()).collect());
        if let Some(names) = &repositories
            && !names.iter().all(|it| installation.repositories.contains(it))
        {
            return said(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        }
        let count = self.mints.fetch_add(1, Ordering::SeqCst) + 1;
        // Both shapes that GitHub hands out, in turn.
        let token = if count % 2 == 1 {
            format!("ghs_{count:0>36}")
        } else {
            format!("ghs_{APP_ID}_eyJ{count:0>60}.{}.{}", "b".repeat(280), "c-_".repeat(50))
        };
        let expires = self.now() + world.lifetime;
        let mut answer = json!({
            "token": token,
            "expires_at": date::format_rfc3339(expires),
            "permissions": permissions,
            "repository_selection": if repositories.is_some() { "selected" } else { "all" },
        });
        let named = |name: &String| json!({ "name": name, "full_name": format!("{}/{name}", installation.login) });
        if let Some(names) = &repositories {
            answer["repositories"] = names.iter().map(named).collect();
        }
        match world.wider {
            Wider::No => {}
            Wider::Permission => answer["permissions"]["administration"] = json!("write"),
            Wider::Level => answer["permissions"]["contents"] = json!("admin"),
            Wider::Repositories => answer["repository_selection"] = json!("all"),
            Wider::OtherRepository => {
                answer["repositories"].as_array_mut().unwrap().push(named(&"other".to_owned()));
            }
        }
        let scope = Scope { installation: id, repositories, permissions, expires, revoked: false };
        world.tokens.insert(token, scope);
        drop(world);
        reply(201, &answer)
    }

    fn described(&self, id: u64, it: &Installation) -> Value {
        json!({
            "id": id,
            "account": { "login": it.login },
            "permissions": it.permissions,
            "repository_selection": "selected",
            "suspended_at": it.suspended.then_some("2026-01-01T00:00:00Z"),
        })
    }

    fn list(&self, query: &str) -> Response<Body> {
        let world = self.world();
        let page =
            query.split('&').find_map(|it| it.strip_prefix("page=")?.parse().ok()).unwrap_or(1);
        let start = (page - 1) * world.page;
        let all: Vec<Value> =
            world.installations.iter().map(|(id, it)| self.described(*id, it)).collect();
        let some: Vec<&Value> = all.iter().skip(start).take(world.page).collect();
        let mut response = reply(200, &json!(some));
        if start + some.len() < all.len() {
            let link =
                format!("<{}/app/installations?page={}>; rel=\"next\"", self.url(), page + 1);
            response.headers_mut().insert("link", link.parse().unwrap());
        }
        response
    }
}

async fn answer(State(github): State<Arc<GitHub>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    github.world().requests.push(format!("{} {path}", parts.method));
    let fault = github.world().faults.pop_front();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let mut response = match fault {
        Some(fault) => misbehave(&github, fault).await,
        None => match path.strip_prefix(github.prefix) {
            Some(path) => behave(&github, &parts.method, path, &query, &parts.headers, &body).await,
            None => said(404, "Not Found"),
        },
    };
    let date = date::format_http_date(github.now());
    response.headers_mut().insert("date", date.parse().unwrap());
    response
}

async fn behave(
    github: &GitHub,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response<Body> {
    if (method, path) == (&Method::DELETE, "/installation/token") {
        let now = github.now();
        let mut world = github.world();
        let token = bearer(headers).and_then(|it| world.tokens.get_mut(&it));
        return match token {
            Some(scope) if !scope.revoked && scope.expires > now => {
                scope.revoked = true;
                Response::builder().status(204).body(Body::empty()).unwrap()
            }
            _ => said(401, "Bad credentials"),
        };
    }
    for (name, value) in
        [("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")]
    {
        if headers.get(name).is_none_or(|it| it != value) {
            return said(415, "this fake wants the documented headers");
        }
    }
    if headers.get("user-agent").is_none() {
        return said(403, "Request forbidden by administrative rules.");
    }
    if let Some(message) = github.refuse_jwt(headers) {
        return said(401, message);
    }
    let found = |found: Option<(u64, Installation)>| match found {
        Some((id, it)) => reply(200, &github.described(id, &it)),
        None => said(404, "Not Found"),
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let find = |test: &dyn Fn(&Installation) -> bool| {
        let world = github.world();
        world.installations.iter().find(|(_, it)| test(it)).map(|(id, it)| (*id, it.clone()))
    };
    match (method.as_str(), &parts[..]) {
        ("GET", ["app"]) => {
            reply(200, &json!({ "id": 4711, "slug": "tinyclaw-test", "name": "TinyClaw Test" }))
        }
        ("GET", ["app", "installations"]) => github.list(query),
        ("GET", ["app", "installations", id]) => {
            let id = id.parse().unwrap();
            let it = github.world().installations.get(&id).cloned();
            found(it.map(|it| (id, it)))
        }
        ("POST", ["app", "installations", id, "access_tokens"]) => {
            let ms = github.mint_ms.load(Ordering::SeqCst);
            if ms > 0 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            github.mint(id.parse().unwrap(), body)
        }
        ("GET", ["repos", owner, repo, "installation"]) => {
            found(find(&|it| it.login == *owner && it.repositories.contains(*repo)))
        }
        ("GET", ["users" | "orgs", owner, "installation"]) => found(find(&|it| it.login == *owner)),
        _ => said(404, "Not Found"),
    }
}

async fn misbehave(github: &GitHub, fault: Fault) -> Response<Body> {
    match fault {
        Fault::Status(status, message) => said(status, message),
        Fault::Html => {
            Response::builder().status(201).body(Body::from("<html>login first</html>")).unwrap()
        }
        Fault::HalfBody => {
            let half = broken_off(b"{\"token\":\"ghs_half".to_vec());
            Response::builder().status(201).header("content-length", "500").body(half).unwrap()
        }
        Fault::Hang => std::future::pending().await,
        Fault::SecondaryLimit(seconds) => {
            let mut response = said(403, "You have exceeded a secondary rate limit.");
            response.headers_mut().insert("retry-after", seconds.into());
            response
        }
        Fault::PrimaryLimit(seconds) => {
            let mut response = said(403, "API rate limit exceeded for installation ID 12345.");
            response.headers_mut().insert("x-ratelimit-remaining", 0.into());
            let reset = github.now() + seconds;
            response.headers_mut().insert("x-ratelimit-reset", reset.into());
            response
        }
        Fault::Redirect => {
            let elsewhere = "http://127.0.0.1:9/stolen";
            Response::builder()
                .status(302)
                .header("location", elsewhere)
                .body(Body::empty())
                .unwrap()
        }
    }
}

/// A body that breaks off after these bytes.
fn broken_off(bytes: Vec<u8>) -> Body {
    let parts: [Result<Vec<u8>, std::io::Error>; 2] =
        [Ok(bytes), Err(std::io::ErrorKind::ConnectionReset.into())];
    Body::from_stream(futures_util::stream::iter(parts))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let header = headers.get("authorization")?.to_str().ok()?;
    let (scheme, bearer) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| bearer.to_owned())
}

fn said(status: u16, message: &str) -> Response<Body> {
    reply(
        status,
        &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }),
    )
}

fn reply(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8");
    response.body(Body::from(body.to_string())).unwrap()
}
