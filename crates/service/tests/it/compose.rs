//! `docker-compose.yml` against the table: what an operator writes into `.env` reaches the container that reads it, and no
//! other container's secret comes along.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tinyclaw_service::settings::{Row, groups, rows};

/// What the bot's image and the compose file decide, because of how the container is laid out. `docs/SETTINGS.md` says so.
const DECIDED: [&str; 6] = [
    "CREDENTIAL_BROKER_URL",
    "TINYCLAW_ENGINE_CLAUDE",
    "TINYCLAW_ENGINE_HOME",
    "TINYCLAW_HEALTH_LISTEN",
    "TINYCLAW_TELEGRAM_HEALTH_LISTEN",
    "WORKSPACE_ROOT",
];
/// The same for the dashboard's.
const DECIDED_FOR_DASHBOARD: [&str; 2] = ["DASHBOARD_LISTEN", "DASHBOARD_PROC"];
/// The same for the gateway's. A container has its port to itself.
const DECIDED_FOR_GATEWAY: [&str; 2] = ["GATEWAY_LISTEN", "PORT"];
/// What the bot and the broker both have to know.
const SHARED: [&str; 2] = ["BROKER_CAPABILITY_SECRET", "GITHUB_APP_ID"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// A service's `environment:`. A name without a value is passed on from `.env`.
fn environment_of(service: &str) -> BTreeMap<String, Option<String>> {
    let text = read("docker-compose.yml");
    let begin = text.find(&format!("\n  {service}:\n")).expect("the service") + 1;
    let lines = text[begin..]
        .lines()
        .skip(1)
        .take_while(|it| !it.starts_with("  ") || it.starts_with("   "));
    let after = lines.skip_while(|it| it.trim_end() != "    environment:").skip(1);
    let own = after.take_while(|it| it.starts_with("      "));
    let pairs = own.map(str::trim).filter(|it| !it.starts_with('#')).map(|it| {
        let (name, value) = it.split_once(':').expect("NAME: value");
        (name.to_owned(), Some(value.trim().to_owned()).filter(|it| !it.is_empty()))
    });
    pairs.collect()
}

fn is_dashboards(row: &Row) -> bool {
    row.key.starts_with("dashboard.")
}

fn is_porters(row: &Row) -> bool {
    row.key.starts_with("porter.")
}

fn is_gateways(row: &Row) -> bool {
    row.key.starts_with("gateway.")
}

#[test]
fn every_setting_reaches_the_container_that_reads_it() {
    let (bot, dashboard) = (environment_of("bot"), environment_of("dashboard"));
    let gateway = environment_of("gateway");
    let settings = read("docs/SETTINGS.md");
    let prose = settings.split("<!-- printed").next().unwrap();
    for row in groups().iter().flat_map(|it| &it.rows) {
        let (has, decided) = if is_dashboards(row) {
            (&dashboard, &DECIDED_FOR_DASHBOARD[..])
        } else if is_gateways(row) {
            (&gateway, &DECIDED_FOR_GATEWAY[..])
        } else {
            (&bot, &DECIDED[..])
        };
        for name in row.variables() {
            if is_porters(row) {
                // Both ask it, each for its own.
                assert_eq!(gateway.get(&name), Some(&None), "the gateway must be told {name}, too");
            }
            if decided.contains(&&*name) {
                assert_ne!(has.get(&name), Some(&None), "{name} is decided, and passed on too");
                assert!(prose.contains(&format!("`{name}`")), "{name}: SETTINGS.md must say so");
            } else {
                assert_eq!(has.get(&name), Some(&None), "docker-compose.yml must pass {name} on");
            }
        }
    }
    // They read how much is logged, too.
    assert_eq!(dashboard.get("TINYCLAW_LOG"), Some(&None));
    assert_eq!(gateway.get("TINYCLAW_LOG"), Some(&None));
}

#[test]
fn no_container_is_told_what_is_anothers() {
    let text = read("docker-compose.yml");
    assert!(
        !text.lines().any(|it| it.trim().starts_with("env_file")),
        "all of .env, to one of them"
    );
    let (bot, broker) = (environment_of("bot"), environment_of("broker"));
    let (dashboard, gateway) = (environment_of("dashboard"), environment_of("gateway"));
    assert!(broker.contains_key("GITHUB_APP_ID") && bot.len() > 40 && dashboard.len() > 2);
    let both: Vec<&String> = bot.keys().filter(|it| broker.contains_key(*it)).collect();
    assert_eq!(both, SHARED);
    for row in rows() {
        for name in row.variables() {
            assert!(!row.is_secret || !dashboard.contains_key(&name), "{name}: the dashboard");
            assert!(is_dashboards(row) || name == "TINYCLAW_LOG" || !dashboard.contains_key(&name));
            // The forum's number is no secret: what the gateway tells a thread is answered in its topic.
            let is_open = ["TINYCLAW_LOG", "TELEGRAM_CHAT_ID"].contains(&name.as_str());
            let is_open = is_open || is_porters(row);
            assert!(is_gateways(row) || is_open || !gateway.contains_key(&name), "{name}");
            assert!(!is_gateways(row) || !bot.contains_key(&name), "{name}: the bot");
        }
    }
    let known: Vec<String> = rows().iter().flat_map(Row::variables).collect();
    // Where the folders of desks are, and where the office's home is, because the warden is root.
    let places = ["TINYCLAW_DESKS", "HOME"];
    let is_strange = |it: &&String| !known.contains(it) && !places.contains(&it.as_str());
    let strange: Vec<&String> = bot.keys().filter(is_strange).collect();
    assert!(strange.is_empty(), "{strange:?} are no settings: nobody in the bot reads them");
}
