//! A day in a minute: the broker inside this process, on a clock that the test moves.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tinyclaw_broker::policy::Caller;
use tinyclaw_broker::{Broker, Clock, Config, ManualClock, respond};

use crate::support::github::{APP_ID, GitHub};
use crate::support::rsa_key;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const START: i64 = 1_771_234_567;
const SITE: &str = "installation_id=12345&repositories=site";

struct Day {
    github: Arc<GitHub>,
    hand: Arc<ManualClock>,
    broker: Arc<Broker>,
    now: i64,
    folder: tempfile::TempDir,
}

impl Day {
    /// With this machine's clock so many seconds wrong.
    fn begin(wrong_by: i64) -> Day {
        Day::under(None, wrong_by)
    }

    /// The same under a policy.
    fn under(policy: Option<&str>, wrong_by: i64) -> Day {
        let folder = tempfile::tempdir().unwrap();
        let (key, public) = rsa_key(folder.path());
        let github = GitHub::start(&public);
        github.set_now(START);
        let hand = Arc::new(ManualClock::default());
        hand.set_wall(START + wrong_by);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = Config::from_env(|name| {
            Some(match name {
                "GITHUB_APP_ID" => APP_ID.to_owned(),
                "GITHUB_APP_PEM" => key.display().to_string(),
                "GITHUB_API_URL" => github.url(),
                "BROKER_FREEZE_FILE" => at(name),
                "BROKER_POLICY" => {
                    std::fs::write(at("policy.toml"), policy?).unwrap();
                    at("policy.toml")
                }
                "BROKER_AUDIT" => at("audit.jsonl"),
                _ => return None,
            })
        });
        let broker = Broker::open(config.unwrap(), Clock::manual(hand.clone())).unwrap();
        Day { github, hand, broker, now: START, folder }
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.hand.advance(seconds);
        self.github.set_now(self.now);
    }

    /// Seconds that the token handed out still has.
    async fn left(&self, query: &str) -> i64 {
        let caller = self.broker.caller(None).unwrap();
        let issued = self.broker.token(&caller, query, PEER).await.unwrap();
        let scope = self.github.scope(issued.token.expose_secret()).unwrap();
        assert!(!scope.revoked);
        scope.expires - self.now
    }

    /// The audit log.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    /// Waits until so many tokens were minted: renewing happens in the background.
    async fn minted(&self, count: u64) {
        while self.github.mints() < count {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn no_token_is_handed_out_too_old_on_a_whole_day() {
    for wrong_by in [0, 600, -600] {
        let mut day = Day::begin(wrong_by);
        let mut mints = 0;
        for minute in 0..(24 * 60) {
            let left = day.left(SITE).await;
            assert!(left >= 300, "minute {minute}: {left} s left, clock {wrong_by} s wrong");
            if left <= 600 {
                mints += 1;
                // Renewed behind the caller's back: the next one has it.
                day.minted(mints + 1).await;
                while day.left(SITE).await <= 600 {
                    tokio::task::yield_now().await;
                }
            }
            day.pass(60);
        }
        // Every fifty minutes one: 24 h hold 28 of them, and the first.
        assert_eq!(day.github.mints(), 29, "clock {wrong_by} s wrong");
    }
}

#[tokio::test]
async fn who_comes_from_the_internet_is_not_served() {
    let day = Day::begin(0);
    let ask = async |peer: &str| {
        let request = Request::get(format!("/token?{SITE}")).header("host", "broker:3000");
        let request = request.body(Body::empty()).unwrap();
        respond(&day.broker, peer.parse().unwrap(), request).await.status().as_u16()
    };
    for (peer, status) in
        [("8.8.8.8", 403), ("2001:db8::1", 403), ("172.18.0.3", 200), ("::ffff:172.18.0.3", 200)]
    {
        assert_eq!(ask(peer).await, status, "{peer}");
    }
    assert_eq!(day.github.mints(), 1);
}

#[tokio::test]
async fn a_token_revoked_again_and_again_is_not_minted_each_time() {
    let mut day = Day::begin(0);
    let caller = day.broker.caller(None).unwrap();
    for _ in 0..5 {
        let issued = day.broker.token(&caller, SITE, PEER).await.unwrap();
        day.broker.revoke(&caller, issued.token.clone(), PEER).await.unwrap();
    }
    let refusal = day.broker.token(&caller, SITE, PEER).await.unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after), ("mint_budget", Some(300)));
    day.left("installation_id=12345&repositories=docs").await;
    // Somebody else had nothing revoked.
    let other = Caller { client: "bob".into(), ..caller };
    day.broker.token(&other, SITE, PEER).await.unwrap();
    day.pass(300);
    day.left(SITE).await;
}

#[tokio::test]
async fn every_caller_of_a_token_is_on_record_once_and_then_a_number() {
    let mut day = Day::begin(0);
    let caller = day.broker.caller(None).unwrap();
    let other = Caller { client: "bob".into(), ..caller.clone() };
    let neighbour = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 3));
    for _ in 0..100 {
        day.broker.token(&caller, SITE, PEER).await.unwrap();
        day.broker.token(&caller, SITE, neighbour).await.unwrap();
        day.broker.token(&other, SITE, PEER).await.unwrap();
    }
    let counts = |day: &Day| -> Vec<Option<u64>> {
        let lines = day.lines();
        lines.iter().filter(|it| it["event"] == "token").map(|it| it["count"].as_u64()).collect()
    };
    assert_eq!(counts(&day), [None; 3]);
    day.pass(599);
    day.broker.write_repeats(false);
    assert_eq!(counts(&day), [None; 3]);
    day.pass(1);
    day.broker.write_repeats(false);
    assert_eq!(counts(&day), [None, None, None, Some(99), Some(99), Some(99)]);
    // Nobody came back: nothing more is said of it, and who comes now is a line again.
    day.pass(600);
    day.broker.write_repeats(false);
    day.left(SITE).await;
    assert_eq!(counts(&day)[6..], [None]);
    // A new token is on record for its caller, however often he had the old one.
    day.pass(2000);
    day.left(&format!("{SITE}&min_ttl=3000")).await;
    assert_eq!(day.lines().pop().unwrap()["cause"], "minted");
}

#[tokio::test]
async fn nobody_fills_the_log_for_the_others() {
    // A hundredth of what is usual.
    let policy = "mints_per_hour = 20\n[clients.'*']\nrepositories = ['*']\n\
                  permissions = { contents = 'read' }\n";
    let mut day = Day::under(Some(policy), 0);
    let caller = day.broker.caller(None).unwrap();
    // Two hundred denials are lines, the rest a number.
    for _ in 0..1000 {
        let query = "installation_id=12345&repositories=site&permissions=secrets:read";
        day.broker.token(&caller, query, PEER).await.unwrap_err();
    }
    assert_eq!(day.lines().len(), 200);
    day.pass(60);
    let query = "installation_id=12345&repositories=site&permissions=members:read";
    day.broker.token(&caller, query, PEER).await.unwrap_err();
    let last = day.lines().pop().unwrap();
    assert_eq!((&last["event"], &last["count"]), (&json!("denied"), &json!(800)));

    // Long lines: five hundred repositories with long names, always other ones.
    let names: Vec<String> = (0..1000).map(|it| format!("{it:0>50}")).collect();
    day.github.install(100, "bob", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut refusal = None;
    for first in 0..20 {
        let query =
            format!("installation_id=100&repositories={}", names[first..first + 500].join(","));
        refusal = day.broker.token(&caller, &query, PEER).await.err();
        if refusal.is_some() {
            break;
        }
    }
    assert_eq!(refusal.unwrap().code, "audit_budget");
    let log = std::fs::metadata(day.folder.path().join("audit.jsonl")).unwrap().len();
    assert!(log < 400 * 1024, "{log}");
    let other = Caller { client: "bob".into(), ..caller.clone() };
    day.broker.token(&other, SITE, PEER).await.unwrap();
    day.pass(24 * 3600);
    day.left(SITE).await;
}

#[tokio::test]
async fn a_name_looked_up_costs_as_much_as_a_mint() {
    let mut day = Day::begin(0);
    let caller = day.broker.caller(None).unwrap();
    let ask = async |name: u32| {
        let query = format!("repo=acme/none{name}&permissions=contents:read");
        day.broker.token(&caller, &query, PEER).await.unwrap_err().code
    };
    for name in 0..2000 {
        assert_eq!(ask(name).await, "installation_not_found");
    }
    assert_eq!(ask(2000).await, "mint_budget");
    assert_eq!(ask(7).await, "installation_not_found", "what is remembered costs nothing");
    assert_eq!(day.github.requests("/installation"), 2000);
    day.pass(3600);
    day.left("repo=acme/site").await;
}

#[tokio::test]
async fn min_ttl_is_kept() {
    let mut day = Day::begin(0);
    for step in 0..200_i64 {
        let min_ttl = (step * 37) % 3001;
        let left = day.left(&format!("{SITE}&min_ttl={min_ttl}")).await;
        assert!(left >= min_ttl, "asked for {min_ttl}, got {left}");
        day.pass(97);
    }
}

#[tokio::test]
async fn what_is_wanted_is_renewed_unasked_and_what_is_not_is_not() {
    let mut day = Day::begin(0);
    day.left(SITE).await;
    day.pass(2900);
    day.left(SITE).await;
    day.pass(200);
    day.broker.refresh_due();
    day.minted(2).await;
    day.pass(7200);
    day.broker.refresh_due();
    tokio::task::yield_now().await;
    assert_eq!(day.github.requests("access_tokens"), 2, "nobody asked for two hours");
}

#[tokio::test]
async fn a_short_lived_token_is_used_for_what_it_is_worth() {
    let mut day = Day::begin(0);
    day.github.world().lifetime = 120;
    assert_eq!(day.left(SITE).await, 120);
    day.pass(50);
    assert_eq!(day.left(SITE).await, 70);
    let caller = day.broker.caller(None).unwrap();
    let query = format!("{SITE}&min_ttl=600");
    let refusal = day.broker.token(&caller, &query, PEER).await.unwrap_err();
    assert_eq!(refusal.code, "short_lived");
}

#[tokio::test]
async fn a_jwt_is_signed_once_in_eight_minutes() {
    let mut day = Day::begin(0);
    day.github.install(7, "bob", &["notes"]);
    let names =
        ["contents:read", "contents:write", "issues:read", "issues:write", "pull_requests:read"];
    for name in names {
        day.left(&format!("{SITE}&permissions={name}")).await;
        day.pass(60);
    }
    assert_eq!(day.github.world().jwts.len(), 1);
    day.pass(300);
    day.left("installation_id=7&repositories=notes").await;
    assert_eq!(day.github.world().jwts.len(), 2);
}

#[tokio::test]
async fn a_suspended_laptop_hands_out_nothing_that_expired_in_its_sleep() {
    let mut day = Day::begin(0);
    day.left(SITE).await;
    // Asleep: only the wall clock goes on.
    day.now += 4000;
    day.github.set_now(day.now);
    day.hand.set_wall(day.now);
    assert_eq!(day.left(SITE).await, 3600);
}
