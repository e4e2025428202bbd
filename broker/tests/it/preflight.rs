//! `tinyclaw-broker check`: what setup and doctor show.

use serde_json::{Value, json};

use crate::BROKER;
use crate::support::process::Office;

fn check(office: &Office) -> (bool, Value) {
    let mut command = office.command(BROKER);
    let output = command.args(["check", "--json"]).output().unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn it_shows_what_each_installation_may_do() {
    let office = Office::new();
    office.github.install(2, "bob", &["notes"]);
    {
        let mut world = office.github.world();
        // Two to a page: the second page must be asked for.
        world.page = 1;
        let bob = world.installations.get_mut(&2).unwrap();
        bob.permissions.insert("administration".to_owned(), "write".to_owned());
        bob.permissions.insert("pull_requests".to_owned(), "read".to_owned());
    }
    let (ok, report) = check(&office);
    assert!(ok, "{report}");
    assert_eq!((&report["app_id"], &report["app"]), (&json!("4711"), &json!("tinyclaw-test")));
    assert_eq!((&report["key"]["ok"], &report["key"]["bits"]), (&json!(true), &json!(2048)));
    let installations = report["installations"].as_array().unwrap();
    assert_eq!(installations.len(), 2);
    let bob = installations.iter().find(|it| it["account"] == "bob").unwrap();
    assert_eq!(bob["missing"], json!(["pull_requests:write"]));
    assert_eq!(bob["dangerous"], json!(["administration"]));
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("has administration") && warnings.contains("lacks pull_requests:write")
    );
}

#[test]
fn it_names_what_is_missing_and_the_way_out() {
    let mut office = Office::new();
    office.set("GITHUB_APP_ID", "").set("GITHUB_APP_PEM", "/nowhere.pem");
    let (ok, report) = check(&office);
    assert!(!ok);
    let codes: Vec<&str> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["app_id_missing", "key_unusable"]);
    assert!(report["errors"][1]["error"].as_str().unwrap().contains("/nowhere.pem is missing"));
}

#[test]
fn a_key_of_another_app_is_found_out() {
    let mut office = Office::new();
    office.set("GITHUB_APP_ID", "4712");
    let (ok, report) = check(&office);
    assert!(!ok);
    assert_eq!(report["errors"][0]["code"], "github_unauthorized");
}

#[test]
fn it_leaves_a_running_brokers_log_alone() {
    let office = Office::new();
    let broker = crate::start(&office);
    let before = broker.audit();
    assert!(check(&office).0);
    assert_eq!(broker.audit(), before);
    broker.token("repo=acme/site");
}

#[test]
fn for_a_person_it_is_text() {
    let office = Office::new();
    let output = office.command(BROKER).arg("check").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Installed on acme as 12345"), "{text}");
    assert!(text.ends_with("Tokens can be minted.\n"), "{text}");
}
