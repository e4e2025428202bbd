//! A gateway on a folder of its own, and whoever asks it.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tinyclaw_domain::{Scope, StateDir, Token};
use tinyclaw_gateway::{Config, Server, SessionKeep, WebhookConfig};
use tinyclaw_service::settings::{self, Store};
use tinyclaw_service::{Shutdown, Vitals};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::program::{self, save};

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) token: String,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

/// The text of a token that tests make; its number tells it from others.
pub(crate) fn token(number: u8) -> String {
    program::text(&format!("t{number}"), number)
}

pub(crate) fn entry(number: u8, name: &str, scopes: &[Scope]) -> Token {
    program::token(&format!("t{number}"), number, name, scopes)
}

impl Rig {
    /// A gateway with one token that may do everything.
    pub(crate) async fn start() -> Rig {
        Rig::with(json!({})).await
    }

    /// The same with other settings below `gateway`.
    pub(crate) async fn with(gateway: Value) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        Rig::on(dir, gateway, Some(vec![entry(1, "ada", &Scope::ALL)])).await
    }

    pub(crate) async fn on(
        dir: tempfile::TempDir,
        gateway: Value,
        tokens: Option<Vec<Token>>,
    ) -> Rig {
        let state = StateDir::new(dir.path());
        tinyclaw_ledger::create_folders(&state).unwrap();
        std::fs::write(state.settings(), json!({ "gateway": gateway }).to_string()).unwrap();
        if let Some(tokens) = tokens {
            save(&state, tokens);
        }
        let config = config(dir.path());
        Rig::serve(dir, config).await
    }

    /// A gateway that lets go of who reads nothing after so long.
    pub(crate) async fn impatient(stall: Duration) -> Rig {
        let dir = Rig::with(json!({ "ingestPerSecond": 1_000_000 })).await.stop().await;
        let config = Config { stall, ..config(dir.path()) };
        Rig::serve(dir, config).await
    }

    /// The same, where an address may show as many bad tokens as it likes.
    pub(crate) async fn forgiving(gateway: Value) -> Rig {
        let dir = Rig::with(gateway).await.stop().await;
        let mut config = config(dir.path());
        config.access.rates.failures = 1_000_000;
        Rig::serve(dir, config).await
    }

    /// A gateway that may post to these hosts, and tries again soon.
    pub(crate) async fn posting(dir: tempfile::TempDir, hosts: Vec<String>) -> Rig {
        let retries = vec![Duration::from_millis(20); 2];
        let webhooks = WebhookConfig { hosts, retries, patience: Duration::from_secs(2) };
        let config = Config { webhooks, ..config(dir.path()) };
        Rig::serve(dir, config).await
    }

    /// A gateway on a folder that one was on before, with other tokens.
    pub(crate) async fn back_with(dir: tempfile::TempDir, tokens: Vec<Token>) -> Rig {
        save(&StateDir::new(dir.path()), tokens);
        Rig::back(dir).await
    }

    /// The same, which keeps sessions so long.
    pub(crate) async fn keeping(dir: tempfile::TempDir, sessions: SessionKeep) -> Rig {
        let config = Config { sessions, ..config(dir.path()) };
        Rig::serve(dir, config).await
    }

    async fn serve(dir: tempfile::TempDir, config: Config) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (vitals, shutdown) = (Vitals::new("gateway", "1"), Shutdown::default());
        let server = Server::start(config, address.port(), vitals, shutdown.clone()).unwrap();
        let serving = tokio::spawn(async move { server.serve(listener).await.unwrap() });
        let client = Client::builder().no_proxy().build().unwrap();
        Rig { dir, address, client, token: token(1), shutdown, serving }
    }

    /// Stops the gateway, and starts another on the same folder.
    pub(crate) async fn again(self) -> Rig {
        Rig::back(self.stop().await).await
    }

    /// A gateway on a folder that one was on before.
    pub(crate) async fn back(dir: tempfile::TempDir) -> Rig {
        let config = config(dir.path());
        Rig::serve(dir, config).await
    }

    /// Writes `tokens.json` anew.
    pub(crate) fn tokens(&self, tokens: Vec<Token>) {
        save(&StateDir::new(self.dir.path()), tokens);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(&self.token)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(&self.token)
    }

    /// Tells events, and gives their ids.
    pub(crate) async fn tell(&self, events: &Value) -> Vec<String> {
        let told = json_of(self.post("/events").json(events).send().await.unwrap()).await;
        assert_eq!(told["ok"], true, "{told}");
        let id = |it: &Value| it["eventId"].as_str().unwrap().to_owned();
        told["events"].as_array().map_or_else(|| vec![id(&told)], |it| it.iter().map(id).collect())
    }

    /// Tells `count` events, numbered from `from`.
    pub(crate) async fn number(&self, from: u64, count: u64) {
        let one = |it| json!({ "type": "test.number", "metadata": { "n": it } });
        self.tell(&(from..from + count).map(one).collect()).await;
    }

    /// Stops the gateway, and gives its folder back.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.shutdown.begin();
        self.serving.await.unwrap();
        self.dir
    }

    /// Begins to stop it.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.begin();
    }
}

fn config(dir: &std::path::Path) -> Config {
    let settings = Store::<settings::Gateway>::open(dir, Default::default()).unwrap();
    Config { zone: noon(), ..Config::new(&StateDir::new(dir), &settings.current()) }
}

/// A time zone in which it is about noon: no day begins while a test counts what one has cost.
fn noon() -> TimeZone {
    let hour = jiff::Timestamp::now().to_zoned(TimeZone::UTC).hour();
    TimeZone::fixed(jiff::tz::Offset::from_hours(12 - hour).unwrap())
}

pub(crate) async fn json_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"))
}

/// Status, code, and the whole problem.
pub(crate) async fn problem(request: RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let body = json_of(response).await;
    assert_eq!(kind.unwrap(), "application/problem+json", "{body}");
    assert_eq!(body["status"], status);
    (status, body["code"].as_str().unwrap().to_owned(), body)
}
