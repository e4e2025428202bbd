//! GitHub's failures: each passed on as what it is, the passing ones tried again.

use serde_json::json;

use crate::start;
use crate::support::github::Fault;
use crate::support::process::Office;

const SITE: &str = "installation_id=12345&repositories=site";

#[test]
fn each_refusal_of_githubs_has_its_own_code() {
    let office = Office::new();
    office.github.install(2, "bob", &["notes"]);
    office.github.world().installations.get_mut(&2).unwrap().suspended = true;
    office.github.install(3, "poor", &["notes"]);
    office.github.world().installations.get_mut(&3).unwrap().permissions.remove("issues");
    let broker = start(&office);
    for (query, status, code) in [
        ("installation_id=2&repositories=notes", 403, "installation_suspended"),
        ("installation_id=404&repositories=notes", 404, "installation_not_found"),
        ("installation_id=3&repositories=notes", 422, "permission_not_granted"),
        ("installation_id=12345&repositories=misspelt", 422, "repository_not_accessible"),
    ] {
        assert_eq!(broker.refused(query), (status, code.to_owned()), "{query}");
        // The second time, too: a refusal is not an outage.
        assert_eq!(broker.refused(query), (status, code.to_owned()), "{query}");
    }
    assert!(broker.audit().contains(r#""code":"permission_not_granted""#));
}

#[test]
fn a_wrong_app_id_is_502_because_401_is_about_our_own_callers() {
    let mut office = Office::new();
    office.set("GITHUB_APP_ID", "4712");
    let broker = start(&office);
    assert_eq!(broker.refused(SITE), (502, "github_unauthorized".into()));
    let (status, body) = broker.get("/ready");
    assert_eq!(status, 503);
    assert!(body["why"][0].as_str().unwrap().contains("public key"), "{body}");
    assert_eq!(broker.get("/health").0, 200);
}

#[test]
fn passing_trouble_is_tried_again() {
    let office = Office::new();
    let broker = start(&office);
    for (place, fault) in
        [Fault::Status(502, "Bad Gateway"), Fault::Html, Fault::HalfBody, Fault::Status(500, "")]
            .into_iter()
            .enumerate()
    {
        office.github.fail(fault.clone());
        office.github.install(1000 + place as u64, "acme2", &["site"]);
        let query = format!("installation_id={}&repositories=site", 1000 + place);
        assert!(broker.token(&query).starts_with("ghs_"), "{fault:?}");
    }
}

#[test]
fn lasting_trouble_is_502_and_nobodys_token() {
    let office = Office::new();
    let broker = start(&office);
    for _ in 0..3 {
        office.github.fail(Fault::Status(503, "Unicorn"));
    }
    let (status, body) = broker.get(&format!("/token?{SITE}"));
    assert_eq!((status, &body["code"]), (502, &json!("github_unavailable")));
    assert_eq!(body["retry_after"], 5);
    // And over as soon as GitHub is back.
    broker.token(SITE);
}

#[test]
fn a_rate_limit_is_kept_to_without_asking_again() {
    for fault in
        [Fault::SecondaryLimit(30), Fault::PrimaryLimit(40), Fault::Status(429, "slow down")]
    {
        let office = Office::new();
        let broker = start(&office);
        office.github.fail(fault.clone());
        for _ in 0..3 {
            let (status, body) = broker.get(&format!("/token?{SITE}"));
            assert_eq!((status, &body["code"]), (429, &json!("github_rate_limit")), "{fault:?}");
            let seconds = body["retry_after"].as_u64().unwrap();
            assert!((20..=60).contains(&seconds), "{fault:?}: {seconds}");
        }
        assert_eq!(office.github.requests("access_tokens"), 1, "{fault:?}");
        // Another installation is not punished for it.
        office.github.install(5, "bob", &["notes"]);
        broker.token("installation_id=5&repositories=notes");
    }
}

#[test]
fn a_redirect_gets_no_jwt() {
    let office = Office::new();
    let broker = start(&office);
    office.github.fail(Fault::Redirect);
    assert_eq!(broker.refused(SITE).0, 502);
    office.github.fail(Fault::Redirect);
    office.github.fail(Fault::Redirect);
    assert_eq!(
        broker.refused("owner=acme&repositories=site"),
        (404, "installation_not_found".into())
    );
}

#[test]
fn a_wrong_clock_costs_one_request_and_only_once() {
    for offset in [-600, -300, -120, 120, 600, 1200] {
        let office = Office::new();
        office.github.set_offset(offset);
        let broker = start(&office);
        broker.token(SITE);
        let first = office.github.requests("access_tokens");
        assert!((1..=2).contains(&first), "{offset}: {first} requests for the first token");
        broker.token("installation_id=12345&repositories=docs");
        assert_eq!(office.github.requests("access_tokens"), first + 1, "{offset}");
    }
}

#[test]
fn an_uninstalled_app_is_looked_up_anew_when_it_is_back() {
    let office = Office::new();
    let broker = start(&office);
    broker.token("owner=acme&repositories=site");
    let old = office.github.world().installations.remove(&12345).unwrap();
    office.github.world().installations.insert(54321, old);
    let docs = "owner=acme&repositories=docs";
    assert_eq!(broker.refused(docs), (404, "installation_not_found".into()));
    let token = broker.token(docs);
    assert_eq!(office.github.scope(&token).unwrap().installation, 54321);
}

#[test]
fn a_hanging_github_does_not_hold_up_warm_tokens() {
    let office = Office::new();
    let broker = start(&office);
    broker.token(SITE);
    office.github.fail(Fault::Hang);
    std::thread::scope(|scope| {
        // It gives up after its own five seconds; what matters is everybody else.
        let hanging = scope.spawn(|| {
            let address = tinyclaw_broker::errand::Address::new("127.0.0.1", broker.port);
            let path = "/token?installation_id=12345&repositories=docs";
            tinyclaw_broker::errand::ask(&address, "GET", path, None, None)
        });
        broker.until("the hanging mint", |_| office.github.requests("access_tokens") == 2);
        broker.token(SITE);
        let error = hanging.join().unwrap().map(|it| it.0).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error:#}");
    });
}
