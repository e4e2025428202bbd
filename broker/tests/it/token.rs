//! `GET /token`: what is asked for is what one gets, once, and nothing more.

use std::io::Write;
use std::process::Command;

use serde_json::json;

use crate::start;
use crate::support::github::Wider;
use crate::support::process::Office;

const SEED: &str =
    "installation_id=12345&repositories=my-repo&permissions=contents:write,pull_requests:write";

#[test]
fn the_seeds_curl_answers_as_in_the_seed() {
    let office = Office::new();
    let broker = start(&office);
    let url = format!("{}/token?{SEED}", broker.url());
    let body = match Command::new("curl").args(["-sS", &url]).output() {
        Ok(output) => String::from_utf8(output.stdout).unwrap(),
        // Where there is no curl, the same request without it.
        Err(_) => broker.get(&format!("/token?{SEED}")).1.to_string(),
    };
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["token", "expires_at"]);
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("ghs_"));
    assert!(answer["expires_at"].as_str().unwrap().ends_with('Z'));
    let scope = office.github.scope(token).unwrap();
    assert_eq!(scope.repositories.unwrap().into_iter().collect::<Vec<_>>(), ["my-repo"]);
    let permissions = json!(scope.permissions);
    assert_eq!(permissions, json!({"contents":"write","metadata":"read","pull_requests":"write"}));
}

#[test]
fn one_scope_is_one_mint_however_it_is_spelt() {
    let office = Office::new();
    let broker = start(&office);
    let one = broker.token(
        "installation_id=12345&repositories=site,docs&permissions=contents:read,issues:write",
    );
    for query in [
        "installation_id=12345&repositories=docs,SITE&permissions=issues:write,contents:read",
        "repositories=docs%2Csite,docs&permissions=issues:write,contents:read&installation_id=12345",
        "owner=acme&repositories=site,docs&permissions=contents:read,issues:write",
        "owner=ACME&repositories=site,docs&permissions=contents:read,issues:write",
    ] {
        assert_eq!(broker.token(query), one, "{query}");
    }
    assert_eq!(office.github.mints(), 1);
    // Less is another token, never the wider one at hand.
    let less = broker.token("installation_id=12345&repositories=site&permissions=contents:read");
    assert_eq!(office.github.scope(&less).unwrap().permissions["contents"], "read");
    assert_ne!(less, one);
}

#[test]
fn both_shapes_of_a_token_are_passed_on_whole() {
    let office = Office::new();
    let broker = start(&office);
    let short = broker.token("repo=acme/site");
    let long = broker.token("repo=acme/docs");
    assert_eq!(short.len(), 40);
    assert!(long.len() > 380 && long.contains('.'), "{}", long.len());
    assert!(office.github.scope(&short).is_some() && office.github.scope(&long).is_some());
}

#[test]
fn a_repository_or_an_owner_finds_its_installation() {
    let office = Office::new();
    office.github.install(777, "ada", &["notes"]);
    let broker = start(&office);
    let token = broker.token("repo=Ada/notes&permissions=contents:read");
    let scope = office.github.scope(&token).unwrap();
    assert_eq!((scope.installation, scope.repositories.unwrap().len()), (777, 1));
    broker.token("owner=ada&repositories=notes");
    broker.token("owner=ada&repositories=notes&permissions=issues:read");
    assert_eq!(office.github.requests("/users/ada/installation"), 1, "an owner is looked up once");
    for _ in 0..3 {
        assert_eq!(broker.refused("repo=ada/other"), (404, "installation_not_found".into()));
    }
    assert_eq!(office.github.requests("/repos/ada/other/installation"), 1, "so is one without");
}

#[test]
fn a_herd_on_a_cold_key_is_one_mint() {
    let office = Office::new();
    office.github.set_mint_ms(300);
    let broker = start(&office);
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..200)
            .map(|_| scope.spawn(|| broker.token("installation_id=12345&repositories=site")))
            .collect();
        callers.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(office.github.mints(), 1);
    assert!(tokens.iter().all(|it| *it == tokens[0]));
}

#[test]
fn many_keys_are_as_many_mints() {
    let office = Office::new();
    let names: Vec<String> = (0..20).map(|it| format!("r{it}")).collect();
    office.github.install(7, "bob", &names.iter().map(String::as_str).collect::<Vec<_>>());
    office.github.set_mint_ms(200);
    let broker = start(&office);
    std::thread::scope(|scope| {
        for place in 0..200 {
            let query = format!("installation_id=7&repositories={}", names[place % 20]);
            let broker = &broker;
            scope.spawn(move || broker.token(&query));
        }
    });
    assert_eq!(office.github.mints(), 20);
}

#[test]
fn the_first_caller_may_hang_up_during_the_mint() {
    let office = Office::new();
    office.github.set_mint_ms(500);
    let broker = start(&office);
    let mut first = std::net::TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    write!(first, "GET /token?{SEED} HTTP/1.1\r\nHost: broker\r\n\r\n").unwrap();
    broker.until("the mint", |_| office.github.requests("access_tokens") == 1);
    drop(first);
    broker.token(SEED);
    assert_eq!(office.github.mints(), 1, "the errand went on without its first caller");
}

#[test]
fn an_enterprise_servers_path_is_kept() {
    let office = Office::below("/api/v3");
    let broker = start(&office);
    broker.token(SEED);
    assert_eq!(office.github.requests("POST /api/v3/app/installations/12345/access_tokens"), 1);
}

#[test]
fn a_token_wider_than_asked_is_revoked_and_refused() {
    let office = Office::new();
    let broker = start(&office);
    for wider in [Wider::Permission, Wider::Level, Wider::Repositories, Wider::OtherRepository] {
        office.github.world().wider = wider;
        assert_eq!(broker.refused(SEED), (502, "wider_than_asked".into()), "{wider:?}");
        let world = office.github.world();
        assert!(world.tokens.values().all(|it| it.revoked), "{wider:?}");
    }
    office.github.world().wider = Wider::No;
    broker.token(SEED);
    assert_eq!(broker.audit().matches(r#""event":"wider""#).count(), 4);
}

#[test]
fn whatever_is_not_understood_is_400_and_never_reaches_github() {
    let office = Office::new();
    let broker = start(&office);
    let many = (0..501).map(|it| format!("r{it}")).collect::<Vec<_>>().join(",");
    let many = format!("installation_id=1&repositories={many}");
    for (query, code) in [
        ("", "installation_required"),
        ("repositories=a", "installation_required"),
        ("installation_id=1", "repositories_required"),
        ("installation_id=1&permissions=contents", "bad_permissions"),
        ("installation_id=1&repositories=&permissions=", "bad_repositories"),
        ("installation_id=1&repositories=a&permissions=", "bad_permissions"),
        ("installation_id=1&repositories=a&permissions=contents:owner", "bad_permissions"),
        ("installation_id=1&repositories=a&permissions=everything:write", "bad_permissions"),
        ("installation_id=0x4d&repositories=a", "bad_installation_id"),
        ("installation_id=77.0&repositories=a", "bad_installation_id"),
        ("installation_id=1&installation_id=2&repositories=a", "duplicate_key"),
        ("installation_id=1&repositories=acme/a", "bad_repositories"),
        ("installation_id=1&repositories=a%00", "bad_repositories"),
        ("installation_id=1&repositories=a,,b", "bad_repositories"),
        ("installation_id=1&repositories=..", "bad_repositories"),
        ("installation_id=1&repositories=%C3%A9", "bad_repositories"),
        ("installation_id=1&repository=a", "unknown_key"),
        (&many, "too_many_repositories"),
    ] {
        assert_eq!(broker.refused(query), (400, code.to_owned()), "{query:.80}");
    }
    assert_eq!(office.github.world().requests, Vec::<String>::new());
    let (_, body) = broker.get("/token");
    assert_eq!(body["error"], "installation_id is required");
}

#[test]
fn other_methods_and_paths_mint_nothing() {
    let office = Office::new();
    let broker = start(&office);
    let path = format!("/token?{SEED}");
    for method in ["POST", "PUT", "PATCH", "OPTIONS", "TRACE"] {
        let (status, body) = broker.ask(method, &path, None, None);
        assert_eq!((status, &body["code"]), (405, &json!("method_not_allowed")), "{method}");
    }
    assert_eq!(broker.ask("HEAD", &path, None, None).0, 405);
    for path in ["/", "/token/", "/TOKEN", "//token", "/token%00", "/health/x"] {
        assert_eq!(broker.get(&format!("{path}?{SEED}")).0, 404, "{path}");
    }
    assert_eq!(office.github.mints(), 0);
}

#[test]
fn metrics_and_health_say_how_it_is() {
    let office = Office::new();
    let broker = start(&office);
    broker.token(SEED);
    broker.token(SEED);
    let (status, body) = broker.get("/health");
    assert_eq!((status, &body["alive"], &body["ready"]), (200, &json!(true), &json!(true)));
    let (status, body) = broker.get("/ready");
    assert_eq!((status, &body["why"]), (200, &json!([])), "{body}");
    assert!(body["numbers"]["warnings"].to_string().contains("no clients"));
    let (_, text) = broker.get("/metrics");
    let text = text.as_str().unwrap();
    for line in
        ["granted_total 2", "cached_total 1", "mints_total 1", "living_tokens 1", "frozen 0"]
    {
        assert!(text.contains(&format!("\ntinyclaw_broker_{line}\n")), "{line}: {text}");
    }
}
