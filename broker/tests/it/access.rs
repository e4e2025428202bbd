//! Who may ask, and for what: bearers, capabilities, the policy and its reloading.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use serde_json::{Value, json};
use tinyclaw_broker::Capability;

use crate::start;
use crate::support::process::{CAPABILITY_SECRET, CLIENT_SECRET, Office, Running};

const SITE: &str = "/token?installation_id=12345&repositories=site&permissions=contents:read";

/// A capability for a thread, written where the secrets are searched for.
fn capability(
    office: &Office,
    thread: &str,
    repositories: &[&str],
    permissions: &str,
    seconds: i64,
) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let permissions: BTreeMap<String, String> = permissions
        .split(',')
        .map(|it| it.split_once(':').unwrap())
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect();
    let text = Capability {
        thread: thread.to_owned(),
        repositories: repositories.iter().map(|it| it.parse().unwrap()).collect(),
        permissions,
        expires: now + seconds,
        run: Some("tg-812345678".to_owned()),
    }
    .sign(&SecretString::from(CAPABILITY_SECRET));
    office.write(&format!("{thread}-{}.capability", text.len()), &text);
    text
}

fn code(broker: &Running<'_>, path: &str, bearer: Option<&str>) -> (u16, String) {
    let (status, body) = broker.ask("GET", path, bearer, None);
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn without_clients_the_private_network_is_served_and_that_is_said() {
    let office = Office::new();
    let broker = start(&office);
    assert_eq!(broker.ask("GET", SITE, None, None).0, 200);
    assert!(broker.said().contains("whoever reaches this port from a private network is served"));
}

/// Status and code of the answer to a request with these further lines in its head.
fn with_head(broker: &Running<'_>, request: &str, head: &str) -> (u16, String) {
    let answer = broker.say(&format!("{request} HTTP/1.1\r\nConnection: close\r\n{head}\r\n"));
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_page_in_a_browser_gets_nothing() {
    let mut office = Office::new();
    let site = format!("GET {SITE}");
    {
        let broker = start(&office);
        let get = |head: &str| with_head(&broker, &site, head);
        for host in ["broker:3000", "localhost:3000", "127.0.0.1:3000", "[::1]:3000", "BROKER"] {
            assert_eq!(get(&format!("Host: {host}\r\n")).0, 200, "{host}");
        }
        // The page's own name, made to mean this address.
        for head in ["Host: rebound.example:3000\r\n", "Host: broker\r\nHost: localhost\r\n"] {
            assert_eq!(get(head), (403, "host_refused".into()), "{head}");
        }
        let absolute = format!("GET http://rebound.example{SITE}");
        let refused = with_head(&broker, &absolute, "Host: broker\r\n");
        assert_eq!(refused, (403, "host_refused".into()));
        let head = "Host: localhost:3000\r\nOrigin: http://rebound.example\r\n";
        for request in [&site, "GET /health", "POST /freeze", "POST /thaw"] {
            assert_eq!(with_head(&broker, request, head), (403, "browser_refused".into()));
        }
        assert_eq!(broker.get("/health").1["numbers"]["frozen"], false);
    }
    // Guarded, the name is anybody's to choose, but not at the switch that takes no bearer.
    office.set("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET);
    let broker = start(&office);
    let head = "Host: rebound.example\r\n";
    assert_eq!(with_head(&broker, &site, head), (401, "bearer_required".into()));
    assert_eq!(with_head(&broker, "POST /freeze", head), (403, "host_refused".into()));
}

#[test]
fn a_bearer_is_compared_whole() {
    let mut office = Office::new();
    let file = office.write("bot.secret", &format!("{CLIENT_SECRET}\n"));
    office.set("BROKER_SECRET_FILE", &file.display().to_string());
    let broker = start(&office);
    assert_eq!(code(&broker, SITE, None), (401, "bearer_required".into()));
    for bearer in ["x", &CLIENT_SECRET[1..], &format!("{CLIENT_SECRET}x"), "tcap1.00.00"] {
        assert_eq!(code(&broker, SITE, Some(bearer)), (401, "bearer_unknown".into()), "{bearer}");
    }
    assert_eq!(code(&broker, SITE, Some(CLIENT_SECRET)).0, 200);
    assert_eq!(code(&broker, "/explain", None).0, 401);
    assert_eq!(broker.ask("POST", "/freeze", None, None).0, 401);
    assert_eq!(broker.get("/health").0, 200);
    assert!(broker.audit().contains(
        r#""event":"denied","decision":"denied","peer":"127.0.0.1","code":"bearer_unknown""#
    ));
}

/// The line for the clients file, as the command prints it.
fn hash_secret(office: &Office, secret: &str) -> String {
    let mut command = office.command(crate::BROKER);
    let command = command.arg("hash-secret").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{secret}").unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn clients_have_names_and_rules_of_their_own() {
    let office = Office::new();
    let line = hash_secret(&office, CLIENT_SECRET);
    let other = office.write("other.secret", CAPABILITY_SECRET);
    office.write(
        "clients.toml",
        &format!("[clients.bot]\n{line}\n[clients.other]\nsecret_file='{}'\n", other.display()),
    );
    office.write(
        "policy.toml",
        "[clients.bot]\nrepositories=['acme/site']\npermissions={contents='read'}\n",
    );
    let broker = start(&office);
    assert_eq!(code(&broker, SITE, Some(CLIENT_SECRET)).0, 200);
    let docs = "/token?installation_id=12345&repositories=docs&permissions=contents:read";
    assert_eq!(code(&broker, docs, Some(CLIENT_SECRET)), (403, "policy_denied".into()));
    assert_eq!(code(&broker, SITE, Some(CAPABILITY_SECRET)), (403, "policy_denied".into()));
    assert!(broker.audit().contains(r#""client":"bot""#));
}

#[test]
fn a_clients_secret_is_rotated_in_its_file() {
    let office = Office::new();
    let (old, new) = (CLIENT_SECRET, "the bot's next secret for these tests");
    let secret = office.write("bot.secret", old);
    office.write("clients.toml", &format!("[clients.bot]\nsecret_file='{}'\n", secret.display()));
    let broker = start(&office);
    assert_eq!(code(&broker, SITE, Some(old)).0, 200);
    office.write("bot.secret", new);
    broker.until("the new secret", |it| code(it, SITE, Some(new)).0 == 200);
    assert_eq!(code(&broker, SITE, Some(old)), (401, "bearer_unknown".into()));
    // Gone for a moment, it does not let everybody in, nor nobody.
    std::fs::remove_file(&secret).unwrap();
    broker.until("a warning", |it| it.get("/ready").1.to_string().contains("stays in force"));
    assert_eq!((code(&broker, SITE, None).0, code(&broker, SITE, Some(new)).0), (401, 200));
    office.write("bot.secret", old);
    broker.until("the old secret", |it| code(it, SITE, Some(old)).0 == 200);
}

#[test]
fn the_policy_is_reloaded_and_a_bad_one_is_not() {
    let office = Office::new();
    let rule = |permissions: &str| {
        format!("[clients.'*']\nrepositories=['*']\npermissions={{{permissions}}}\n")
    };
    office.write("policy.toml", &rule("contents='read'"));
    let broker = start(&office);
    let write = "/token?installation_id=12345&repositories=site&permissions=contents:write";
    assert_eq!(code(&broker, write, None).0, 403);
    office.write("policy.toml", &rule("contents='write'"));
    broker.until("the new policy", |it| code(it, write, None).0 == 200);
    office.write("policy.toml", "[clients.'*'");
    broker.until("a warning", |it| it.get("/ready").1.to_string().contains("stays in force"));
    assert_eq!(code(&broker, write, None).0, 200);
    // Taken back: a token at hand is not handed out any more either.
    office.write("policy.toml", &rule("contents='read'"));
    broker.until("the policy taken back", |it| code(it, write, None).0 == 403);
}

#[test]
fn a_bad_file_at_the_start_hands_out_nothing_until_it_is_mended() {
    let rule =
        |name: &str| format!("[clients.'*']\nrepositories=['*']\npermissions={{{name}='read'}}\n");
    let office = Office::new();
    office.write("policy.toml", &rule("contnets"));
    let broker = start(&office);
    assert_eq!(code(&broker, SITE, None), (503, "not_configured".into()));
    let (status, body) = broker.get("/ready");
    assert_eq!(status, 503);
    let why = body["why"].to_string();
    assert!(why.contains("policy.toml") && why.contains("contnets"), "{why}");
    office.write("policy.toml", &rule("contents"));
    broker.until("the mended policy", |it| code(it, SITE, None).0 == 200);

    // One that cannot be reached, or was asked for and is not there, is not "no policy".
    for looped in [true, false] {
        let mut office = Office::new();
        let path = office.path("elsewhere.toml");
        if looped {
            std::os::unix::fs::symlink(&path, &path).unwrap();
        }
        office.set("BROKER_POLICY", &path.display().to_string());
        let broker = start(&office);
        assert_eq!(code(&broker, SITE, None), (503, "not_configured".into()));
        office.write("new.toml", &rule("contents"));
        std::fs::rename(office.path("new.toml"), &path).unwrap();
        broker.until("the policy", |it| code(it, SITE, None).0 == 200);
    }

    // A list of clients that is not understood is not "no clients".
    let office = Office::new();
    office.write("clients.toml", "[clients.bot]\nsha256='not one'\n");
    let broker = start(&office);
    assert_eq!(code(&broker, SITE, None), (503, "not_configured".into()));
    assert_eq!(broker.ask("POST", "/thaw", None, None).0, 503);
    assert_eq!(broker.get("/health").0, 200);
}

#[test]
fn a_capability_is_good_for_its_thread_and_no_more() {
    let mut office = Office::new();
    office.set("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET);
    let broker = start(&office);
    assert_eq!(code(&broker, SITE, None), (401, "bearer_required".into()));
    let ours = capability(&office, "42", &["acme/site"], "contents:write", 3600);
    let get = |query: &str| code(&broker, &format!("/token?{query}"), Some(&ours));
    assert_eq!(get("repo=acme/site&permissions=contents:write").0, 200);
    assert_eq!(get("repo=acme/site").0, 200, "the default shrinks to what it may");
    let denied = (403, "capability_denied".to_owned());
    assert_eq!(get("repo=acme/docs&permissions=contents:read"), denied);
    assert_eq!(get("repo=acme/site&permissions=issues:read"), denied);
    assert_eq!(
        get("installation_id=12345&repositories=site,docs&permissions=contents:read"),
        denied
    );
    // Another owner's repository of the same name.
    office.github.install(9, "bob", &["site"]);
    assert_eq!(get("installation_id=9&repositories=site&permissions=contents:read"), denied);
    assert_eq!(get("installation_id=12345&permissions=contents:read").0, 400);

    let wide = capability(&office, "42", &["*"], "administration:write,contents:write", 3600);
    let query = "/token?repo=acme/site&permissions=administration:write";
    assert_eq!(code(&broker, query, Some(&wide)), (403, "policy_denied".into()));
    let old = capability(&office, "42", &["acme/*"], "contents:write", -1);
    assert_eq!(code(&broker, SITE, Some(&old)), (401, "capability_expired".into()));
    for path in ["/freeze", "/thaw"] {
        assert_eq!(broker.ask("POST", path, Some(&wide), None).0, 403, "{path}");
    }
    let audit = broker.audit();
    assert!(audit.contains(r#""client":"thread","thread":"42","run":"tg-812345678""#), "{audit}");
}

#[test]
fn a_grants_installation_is_a_limit() {
    let office = Office::new();
    office.github.install(777, "bob", &["site"]);
    office.write(
        "policy.toml",
        "[clients.'*']\nrepositories=['*']\ngrants=['numbered','owned']\n\
         [grants.numbered]\npermissions={contents='read'}\ninstallation=12345\n\
         [grants.owned]\npermissions={contents='read'}\nowner='acme'\n",
    );
    let broker = start(&office);
    for grant in ["numbered", "owned"] {
        let get = |query: &str| code(&broker, &format!("/token?grant={grant}&{query}"), None);
        assert_eq!(get("repositories=site").0, 200);
        assert_eq!(get("installation_id=12345&repositories=site").0, 200);
        assert_eq!(get("repo=acme/site").0, 200);
        for other in [
            "installation_id=777&repositories=site",
            "owner=bob&repositories=site",
            "repo=bob/site",
        ] {
            assert_eq!(get(other), (403, "policy_denied".into()), "{grant} {other}");
        }
    }
    let scopes: Vec<u64> =
        office.github.world().tokens.values().map(|it| it.installation).collect();
    assert!(scopes.iter().all(|it| *it == 12345), "{scopes:?}");
}

#[test]
fn explain_says_why_and_mints_nothing() {
    let office = Office::new();
    let broker = start(&office);
    let explain = |query: &str| -> Value { broker.get(&format!("/explain?{query}")).1 };
    let yes = explain("repo=acme/site&permissions=contents:read");
    assert_eq!(yes["allowed"], true);
    assert_eq!(
        (&yes["rule"], &yes["installation_id"], &yes["repositories"], &yes["cached"]),
        (&json!("built-in"), &json!(12345), &json!(["site"]), &json!(false))
    );
    let no = explain("repo=acme/site&permissions=administration:write");
    assert_eq!((&no["allowed"], &no["refusal"]["code"]), (&json!(false), &json!("policy_denied")));
    assert!(no["refusal"]["hint"].as_str().unwrap().contains("dangerous"));
    assert_eq!(broker.get("/explain?x=1").0, 400);
    assert_eq!(office.github.mints(), 0);
}

#[test]
fn one_client_cannot_use_up_githubs_patience() {
    let office = Office::new();
    office.write(
        "policy.toml",
        "mints_per_hour=2\n[clients.'*']\nrepositories=['*']\npermissions={contents='read',issues='read'}\n",
    );
    let broker = start(&office);
    let get = |repo: &str, name: &str| {
        code(
            &broker,
            &format!("/token?installation_id=12345&repositories={repo}&permissions={name}:read"),
            None,
        )
    };
    assert_eq!(get("site", "contents").0, 200);
    assert_eq!(get("docs", "contents").0, 200);
    assert_eq!(get("site", "issues"), (429, "mint_budget".into()));
    assert_eq!(get("site", "contents").0, 200, "what is at hand costs nothing");
}

#[test]
fn one_thread_cannot_use_up_the_others_mints() {
    let mut office = Office::new();
    office.set("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET);
    office.write(
        "policy.toml",
        "mints_per_hour=3\n[clients.'*']\nrepositories=['*']\npermissions={contents='read',issues='read'}\n",
    );
    let broker = start(&office);
    let ada = capability(&office, "42", &["*"], "contents:read,issues:read", 3600);
    let bob = capability(&office, "4711", &["*"], "contents:read,issues:read", 3600);
    let get = |repo: &str, name: &str, who: &str| {
        let query = format!("installation_id=12345&repositories={repo}&permissions={name}:read");
        code(&broker, &format!("/token?{query}"), Some(who))
    };
    for (repo, name) in [("site", "contents"), ("docs", "contents"), ("site", "issues")] {
        assert_eq!(get(repo, name, &ada).0, 200);
    }
    assert_eq!(get("docs", "issues", &ada), (429, "mint_budget".into()));
    assert_eq!(get("docs", "issues", &bob).0, 200);
}

#[test]
fn unconfigured_it_idles_and_says_why() {
    for (name, value, reason) in [
        ("GITHUB_APP_ID", "", "GITHUB_APP_ID is not set"),
        ("GITHUB_APP_PEM", "/nowhere/github-app.pem", "/nowhere/github-app.pem is missing"),
        ("BROKER_CAPABILITY_SECRET", "short", "BROKER_CAPABILITY_SECRET has fewer than 32"),
        ("BROKER_SECRET_FILE", "/nowhere/secret", "cannot read /nowhere/secret"),
    ] {
        let mut office = Office::new();
        office.set(name, value);
        let broker = start(&office);
        assert_eq!(broker.get("/health").0, 200);
        for path in [SITE, "/token"] {
            let (status, body) = broker.get(path);
            assert_eq!((status, &body["code"]), (503, &json!("not_configured")), "{path}");
            assert!(body["error"].as_str().unwrap().contains(reason), "{body}");
        }
        let (status, body) = broker.get("/ready");
        assert_eq!(status, 503);
        assert!(body["why"].to_string().contains(reason), "{body}");
        let served = broker.said().contains("private network is served");
        assert_eq!(served, !name.starts_with("BROKER_"), "{name}");
    }
}
