//! Folders of earlier releases go on with this one, and what a later one wrote survives it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tinyclaw_e2e::{Forum, Office, program, recorded};
use tinyclaw_queue::View;

/// Every release of which a folder is kept. The second one keeps messages as lines with a checksum each.
const RELEASES: &[&str] = &["2026.11", "2026.11-checksums"];

fn json_of(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// Everything that stands in `before` stands in `after`, at every depth; of lists, by place.
#[track_caller]
fn keeps(before: &Value, after: &Value, at: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, it) in before {
                let there = after.get(name).unwrap_or_else(|| panic!("{at}/{name} is gone"));
                keeps(it, there, &format!("{at}/{name}"));
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert!(before.len() <= after.len(), "{at} is shorter");
            before.iter().zip(after).for_each(|(a, b)| keeps(a, b, at));
        }
        _ => assert_eq!(before, after, "{at} has changed"),
    }
}

/// The deep look at an office that stands still.
#[track_caller]
fn is_whole(office: &Office) {
    let output = Command::new(program("tinyclaw"))
        .args(["doctor", "--deep", "--json"])
        .env_clear()
        .env("TINYCLAW_DIR", office.path("state"))
        .output()
        .expect("tinyclaw runs");
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{found}");
}

/// How many messages were given up, and how many did a person stop.
fn given_up(office: &Office) -> (usize, usize) {
    let depth = View::new(&office.path("state")).depth().expect("the queue");
    (depth.dead, depth.stopped)
}

/// Runs everything over a folder until what waited on either side is answered, and asks one thing more.
fn go_on(office: Office) -> Office {
    let mut office = office;
    let waiting = "cli-2".parse().expect("key");
    office.start();
    // A recorded folder has no homes, so the session of this thread stayed behind.
    let first = office.answer(&waiting).text;
    assert!(
        first.starts_with("still here\n\n*Claude's session of this thread was lost"),
        "{first}"
    );
    let mut more = office.message("3", "[demo: say it goes on] Well?");
    more.key = "cli-later".parse().expect("key");
    let more = office.publish(more);
    assert_eq!(office.answer(&more).text, "it goes on");
    let forum = Forum::over(office);
    forum.until("heard at last");
    forum.office.answer(&"tg-812345900".parse().expect("key"));
    forum.stop()
}

#[test]
fn a_folder_of_every_release_goes_on() {
    for release in RELEASES {
        let mut office = Office::over(&recorded::folder(release));
        is_whole(&office);
        let threads = office.threads();
        let lines = ["message-history.jsonl", "routing-log.jsonl", "logs/prompts.jsonl"];
        let before: Vec<Vec<Value>> = lines.iter().map(|it| office.lines(it)).collect();
        let addresses = json_of(&office.path("state/telegram.json"))["threads"].clone();
        let given_up = given_up(&office);
        assert_eq!(given_up, if *release == "2026.11" { (0, 0) } else { (1, 1) });
        office = go_on(office);
        for (id, thread) in threads {
            let now = office.threads().remove(&id).expect("it is known");
            assert_eq!((now.name, now.pin), (thread.name, thread.pin));
            // Up to 2026.11 all threads had the whole workspace.
            let own = office.path("work").join(id.as_str());
            assert_eq!(Path::new(&now.cwd), own, "{} before", thread.cwd);
            assert_eq!(now.permission_mode, thread.permission_mode);
        }
        for (file, before) in lines.iter().zip(before) {
            assert_eq!(office.lines(file)[..before.len()], before, "{file}");
        }
        keeps(&addresses, &json_of(&office.path("state/telegram.json"))["threads"], "threads");
        assert_eq!(self::given_up(&office), given_up);
        is_whole(&office);
    }
}

/// Adds to an object of a file what a later version might.
fn add(office: &Office, file: &str, more: &Value) -> Value {
    fn merge(to: &mut Value, from: &Value) {
        match (to, from) {
            (Value::Object(to), Value::Object(from)) => {
                for (name, it) in from {
                    merge(to.entry(name).or_insert(Value::Null), it);
                }
            }
            (to, from) => *to = from.clone(),
        }
    }
    let path = office.path("state").join(file);
    let mut value = json_of(&path);
    merge(&mut value, more);
    value.as_object_mut().expect("an object").remove("checksum");
    fs::write(&path, value.to_string()).expect("write");
    more.clone()
}

#[test]
fn what_a_later_version_wrote_survives_going_back() {
    RELEASES.iter().for_each(|it| goes_back_to(it));
}

fn goes_back_to(release: &str) {
    let office = Office::over(&recorded::folder(release));
    let settings = add(
        &office,
        "settings.json",
        &json!({ "writtenBy": "2099.1.0", "moon": { "phase": "full" }, "engine": { "orbit": 7 } }),
    );
    let threads = add(
        &office,
        "threads.json",
        &json!({
            "cli": { "pin": "oracle", "permissionMode": "dream", "place": { "devbox": "box" } },
            "dev:box/7": { "name": "far away", "place": { "devbox": "box" } },
        }),
    );
    let addresses = add(
        &office,
        "telegram.json",
        &json!({
            "v": 2,
            "stories": { "a": [1, { "b": 2 }] },
            "threads": {
                "dev:box/7": { "chat": -1001, "topic": 12 },
                "77": { "chat": -1001, "topic": 13, "colour": "blue" },
            },
        }),
    );
    let office = go_on(office);
    keeps(&settings, &json_of(&office.path("state/settings.json")), "settings");
    keeps(&threads, &json_of(&office.path("state/threads.json")), "threads");
    keeps(&addresses, &json_of(&office.path("state/telegram.json")), "addresses");
    assert!(!office.path("state/threads.json.bad").exists());
    assert!(!office.path("state/telegram.json.bad").exists());
}
