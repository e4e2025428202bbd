//! Who is let in, from where, and for how long.

use serde_json::{Value, json};
use tinyclaw_domain::{Scope, TokenBefore, token_sum};

use crate::rig::{Rig, entry, json_of, problem, token};

const ROUTES: [(&str, &str); 9] = [
    ("GET", "/api/messages/tg-1/timeline"),
    ("GET", "/events"),
    ("POST", "/events"),
    ("POST", "/hooks/claude"),
    ("GET", "/ws"),
    ("POST", "/tickets"),
    ("GET", "/metrics"),
    ("GET", "/version"),
    ("GET", "/stats"),
];

#[tokio::test]
async fn without_a_token_nobody_is_let_in_and_ready_says_why() {
    let rig = Rig::on(tempfile::tempdir().unwrap(), json!({}), None).await;
    for (method, path) in ROUTES {
        let request = rig.client.request(method.parse().unwrap(), rig.url(path));
        let (status, code, _) = problem(request.bearer_auth(token(1))).await;
        assert_eq!((status, &*code), (401, "no_token"), "{method} {path}");
    }
    let ready = rig.client.get(rig.url("/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let ready = json_of(ready).await;
    assert!(ready["why"][0].as_str().unwrap().contains("tinyclaw token new"), "{ready}");
    assert_eq!(rig.client.get(rig.url("/health")).send().await.unwrap().status(), 200);
    // The first token opens it, without a restart.
    rig.tokens(vec![entry(1, "ada", &Scope::ALL)]);
    while rig.client.get(rig.url("/ready")).send().await.unwrap().status() != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(rig.get("/events").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_route_asks_for_a_token_and_for_its_scope() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = vec![entry(1, "ada", &Scope::ALL), entry(2, "nobody", &[])];
    let rig = Rig::on(dir, json!({}), Some(tokens)).await;
    for (method, path) in ROUTES {
        let request = || rig.client.request(method.parse().unwrap(), rig.url(path));
        assert_eq!(problem(request()).await.1, "no_token", "{method} {path}");
        // A ticket is for whoever has any token.
        if path != "/tickets" {
            let (status, code, body) = problem(request().bearer_auth(token(2))).await;
            assert_eq!((status, &*code), (403, "scope"), "{method} {path}: {body}");
        }
    }
    let (status, code, _) =
        problem(rig.client.get(rig.url("/events")).bearer_auth("tc_t1_x")).await;
    assert_eq!((status, &*code), (401, "bad_token"));
    // The right id with another's secret, and the sum itself.
    for wrong in [token(2).replace("tc_t2", "tc_t1"), token_sum(&token(1))] {
        assert_eq!(problem(rig.client.get(rig.url("/events")).bearer_auth(wrong)).await.0, 401);
    }
}

#[tokio::test]
async fn who_guesses_is_told_to_wait_and_who_has_a_token_is_not() {
    let rig = Rig::start().await;
    let guess = || rig.client.get(rig.url("/events")).bearer_auth("tc_t1_guess");
    for _ in 0..5 {
        assert_eq!(problem(guess()).await.0, 401);
    }
    let response = guess().send().await.unwrap();
    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    assert_eq!(rig.get("/events").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_how_long_to_wait() {
    let rig = Rig::with(json!({ "readPerSecond": 1 })).await;
    let response = rig.get("/events").send().await.unwrap();
    assert_eq!(response.headers()["ratelimit-policy"], "\"read\";q=1;w=1");
    assert!(response.headers()["ratelimit"].to_str().unwrap().starts_with("\"read\";r=0;"));
    let mut refused = rig.get("/version").send().await.unwrap();
    while refused.status() == 200 {
        refused = rig.get("/version").send().await.unwrap();
    }
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait >= 1);
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    assert_eq!(
        rig.get("/version").send().await.unwrap().status(),
        200,
        "waiting so long is enough"
    );
    // A batch that is larger than what is left waits, and is not half kept.
    let many = |n: usize| Value::Array(vec![json!({ "type": "a" }); n]);
    assert_eq!(rig.post("/events").json(&many(900)).send().await.unwrap().status(), 200);
    assert_eq!(problem(rig.post("/events").json(&many(900))).await.1, "rate_limited");
}

#[tokio::test]
async fn a_rotated_token_lives_beside_the_new_one_until_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let now = tinyclaw_service::now_ms();
    let mut rotated = entry(1, "ada", &Scope::ALL);
    rotated.sum = token_sum(&token(9).replace("tc_t9", "tc_t1"));
    rotated.before = Some(TokenBefore { sum: token_sum(&token(1)), until: now + 3_600_000 });
    let mut over = entry(2, "bob", &Scope::ALL);
    over.before =
        Some(TokenBefore { sum: token_sum(&token(8).replace("tc_t8", "tc_t2")), until: now });
    let mut expired = entry(3, "eve", &Scope::ALL);
    expired.expires_at = Some(now);
    let rig = Rig::on(dir, json!({}), Some(vec![rotated, over, expired])).await;
    let status = async |text: String| {
        rig.client
            .get(rig.url("/version"))
            .bearer_auth(text)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(status(token(1)).await, 200);
    assert_eq!(status(token(9).replace("tc_t9", "tc_t1")).await, 200);
    assert_eq!(status(token(8).replace("tc_t8", "tc_t2")).await, 401);
    assert_eq!(status(token(2)).await, 200);
    assert_eq!(status(token(3)).await, 401);
}

#[tokio::test]
async fn the_token_of_the_settings_may_all_but_administer_and_a_short_one_is_refused() {
    let secret = "0123456789abcdef0123456789abcdef";
    let rig = Rig::on(tempfile::tempdir().unwrap(), json!({ "apiToken": secret }), None).await;
    let request = rig.client.post(rig.url("/events")).bearer_auth(secret);
    let told = json_of(request.json(&json!({ "type": "a" })).send().await.unwrap()).await;
    assert_eq!(told["ok"], true);
    let dir = tempfile::tempdir().unwrap();
    let text = json!({ "gateway": { "apiToken": "short" } }).to_string();
    std::fs::write(dir.path().join("settings.json"), text).unwrap();
    use tinyclaw_service::settings::{Gateway, Store};
    let refused = Store::<Gateway>::open(dir.path(), Default::default()).unwrap_err();
    assert!(refused.to_string().contains("32 characters"), "{refused}");
}

#[tokio::test]
async fn pages_and_names_that_are_not_known_are_refused_and_get_no_header() {
    let rig =
        Rig::with(json!({ "origins": ["https://app.example.org"], "hosts": ["bus.example.org"] }))
            .await;
    let from = |origin: &str| rig.get("/events").header("origin", origin);
    let good = from("https://app.example.org").send().await.unwrap();
    assert_eq!(good.headers()["access-control-allow-origin"], "https://app.example.org");
    assert_eq!(good.headers()["vary"], "Origin");
    for foreign in [
        "https://evil.example.org",
        "null",
        "https://app.example.org.evil.org",
        "http://app.example.org",
    ] {
        let response = from(foreign).send().await.unwrap();
        assert_eq!(response.status(), 403, "{foreign}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{foreign}");
        assert_eq!(json_of(response).await["code"], "origin");
        let preflight = rig.client.request("OPTIONS".parse().unwrap(), rig.url("/events"));
        let preflight =
            preflight.header("origin", foreign).header("access-control-request-method", "POST");
        let response = preflight.send().await.unwrap();
        assert_eq!(response.status(), 403);
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
    // Nor does a page of elsewhere read what everybody is answered, or a refusal of another kind.
    for (path, host) in [("/ready", "bus.example.org"), ("/health", "x"), ("/events", "x")] {
        let asked = rig.get(path).header("host", host).header("origin", "https://evil.example.org");
        let response = asked.send().await.unwrap();
        let header = response.headers().get("access-control-allow-origin");
        assert_eq!(header, None, "{path} as {host}");
    }
    let preflight = rig.client.request("OPTIONS".parse().unwrap(), rig.url("/events"));
    let preflight = preflight.header("origin", "https://app.example.org");
    let response = preflight.header("access-control-request-method", "POST").send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(
        response.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .contains("authorization")
    );
    for (host, status) in [("bus.example.org", 200), ("evil.example.org", 421), ("", 421)] {
        let response = rig.get("/events").header("host", host).send().await.unwrap();
        assert_eq!(response.status(), status, "{host}");
    }
    let probe =
        rig.client.get(rig.url("/health")).header("host", "10.0.0.7:3200").send().await.unwrap();
    assert_eq!(probe.status(), 200, "who watches over containers asks by address");
}

#[tokio::test]
async fn a_token_for_one_page_is_good_on_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut pages = entry(1, "page", &[Scope::Read]);
    pages.origins = vec!["https://one.example.org".to_owned()];
    let rig =
        Rig::on(dir, json!({ "origins": ["https://two.example.org"] }), Some(vec![pages])).await;
    let status = async |origin: &str| {
        rig.get("/events").header("origin", origin).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("https://one.example.org").await, 200);
    assert_eq!(status("https://two.example.org").await, 403);
}
