//! The original's folder, laid out as its last version left it, becomes an office in which a real processor goes on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Office;

const SESSION: &str = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";
const TOKEN: &str = "123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The original beside an office.
struct Original {
    office: Office,
    dir: PathBuf,
}

impl Original {
    fn new() -> Original {
        let office = Office::closed();
        let dir = office.place.path("clone/.borg");
        for it in ["queue/incoming", "queue/processing", "logs", "sessions"] {
            fs::create_dir_all(dir.join(it)).expect("folder");
        }
        let it = Original { office, dir };
        let work = it.office.place.work().display().to_string();
        it.lay(
            "threads.json",
            &json!({
                "1": {"name": "Master", "cwd": work, "model": "opus", "isMaster": true, "lastActive": 1771234567890.5},
                "42": {"name": "calendar", "cwd": "/nowhere/calendar", "sessionId": SESSION, "model": "sonnet",
                       "isMaster": false, "lastActive": 5, "permissionMode": "bypass", "team": "dates"},
                "../7": {"name": "x", "cwd": "/", "model": "haiku", "isMaster": false, "lastActive": 0},
            })
            .to_string(),
        );
        it.lay(
            "settings.json",
            &json!({
                "timezone": "Europe/Berlin", "telegram_bot_token": TOKEN, "telegram_chat_id": "-1001234567890",
                "heartbeat_interval": 5, "max_concurrent_sessions": 2, "session_idle_timeout_minutes": 30,
                "tts_voice": "alice", "engine": {"permission": "bypass"},
            })
            .to_string(),
        );
        it.lay("message-history.1.jsonl", &line(1_771_000_000_000, 1, "in", "the kettle is green"));
        let newer = [
            line(1_771_000_001_000, 1, "out", "noted, green"),
            "{\"ts\":1771000002000,\"threadId\":1,\"chan".to_owned(),
        ];
        it.lay("message-history.jsonl", &newer.join("\n"));
        it.lay(
            "queue/incoming/telegram_1771000003000_abc123.json",
            &message("1771000003000_abc123", 1),
        );
        it.lay(
            "queue/incoming/heartbeat_1_1_1.json",
            &json!({"channel": "heartbeat", "message": "beat", "threadId": 1}).to_string(),
        );
        it.lay("queue/incoming/half.json", "{");
        it.lay("queue/processing/telegram_1.json", &message("1", 1));
        it.lay("logs/routing.jsonl", "{}\n");
        it
    }

    fn lay(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).expect("file");
    }

    fn import(&self) -> Value {
        self.office.run(&["import", self.dir.to_str().expect("path"), "--json"]).json()
    }

    /// Everything in it, with when it was changed.
    fn contents(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let mut found = BTreeMap::new();
        let mut todo = vec![self.dir.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).expect("folder").flatten() {
                let meta = entry.metadata().expect("metadata");
                let bytes =
                    if meta.is_file() { fs::read(entry.path()).expect("file") } else { Vec::new() };
                if meta.is_dir() {
                    todo.push(entry.path());
                }
                found.insert(entry.path(), (bytes, meta.modified().expect("time")));
            }
        }
        found
    }
}

fn line(ts: u64, thread: u32, direction: &str, text: &str) -> String {
    json!({"ts": ts, "threadId": thread, "channel": "telegram", "sender": "Ada", "direction": direction, "message": text,
           "source": "user"})
    .to_string()
        + "\n"
}

fn message(id: &str, thread: u32) -> String {
    json!({"channel": "telegram", "threadId": thread, "sender": "Ada", "senderId": "101",
           "message": "[demo: say picked up]", "timestamp": 1_771_000_003_000_u64, "messageId": id})
    .to_string()
}

#[track_caller]
fn part<'a>(report: &'a Value, name: &str) -> &'a Value {
    let parts = report["parts"].as_array().expect("parts");
    parts.iter().find(|it| it["part"] == name).expect("the part")
}

#[track_caller]
fn counts(report: &Value, name: &str) -> [u64; 4] {
    let it = part(report, name);
    [&it["taken"], &it["here"], &it["kept"]["count"], &it["left"]["count"]]
        .map(|it| it.as_u64().expect("a number"))
}

#[test]
fn a_processor_goes_on_where_the_original_stopped() {
    let original = Original::new();
    let before = original.contents();
    let report = original.import();
    assert_eq!(counts(&report, "threads"), [2, 0, 0, 2], "{report:#}");
    assert_eq!(counts(&report, "history"), [2, 0, 0, 1], "{report:#}");
    assert_eq!(counts(&report, "settings"), [4, 0, 0, 4], "{report:#}");
    assert_eq!(counts(&report, "queue"), [1, 0, 0, 3], "{report:#}");
    assert_eq!(
        part(&report, "history")["left"]["named"][0]["what"],
        "message-history.jsonl line 3"
    );
    assert!(original.contents() == before, "the original is as it was");

    let threads = original.office.run(&["threads", "--json"]).json();
    let named =
        |name: &str| threads.as_array().and_then(|it| it.iter().find(|it| it["name"] == name));
    let calendar = named("calendar").expect("the thread");
    assert_eq!(calendar["threadId"], 42);
    assert_eq!(calendar["sessionId"], SESSION);
    assert_eq!(calendar["permissionMode"], "ask", "a stranger's word does not lift this office's");
    assert_eq!(named("Master").map(|it| &it["isMaster"]), Some(&Value::Bool(true)));
    let settings: Value = serde_json::from_str(
        &fs::read_to_string(original.office.place.path("state/settings.json")).expect("settings"),
    )
    .expect("JSON");
    assert_eq!(settings["telegram"]["botToken"], TOKEN);
    assert_eq!(settings["engine"], json!({"parallelMax": 2}), "and nothing the original never had");

    let office = original.office.staffed();
    let done = office.wait_for("the answer", || {
        let all = office.run(&["queue", "show", "file-1771000003000_abc123", "--json"]).json();
        (all["message"]["reply"]["text"] == "picked up").then_some(all)
    });
    assert_eq!(done["message"]["sender"], "Ada");
    let prompts =
        fs::read_to_string(office.place.path("state/logs/prompts.jsonl")).expect("prompts");
    assert!(prompts.contains("the kettle is green"), "a new session hears what was said before");
}

#[test]
fn a_second_import_doubles_nothing_even_when_the_queue_has_forgotten() {
    let original = Original::new();
    original.import();
    let again = original.import();
    for (name, expected) in [
        ("threads", [0, 2, 0, 2]),
        ("history", [0, 2, 0, 1]),
        ("settings", [0, 4, 0, 4]),
        ("queue", [0, 1, 0, 3]),
    ] {
        assert_eq!(counts(&again, name), expected, "{again:#}");
    }
    let Original { office, dir } = original;
    let mut office = office.staffed();
    office.wait_for("the answer", || {
        let history = fs::read_to_string(office.place.path("state/message-history.jsonl")).ok()?;
        history.contains("picked up").then_some(())
    });
    let mut processor = office.processor.take().expect("a processor");
    processor.kill().expect("kill");
    processor.wait().expect("wait");
    for place in ["outgoing", "done", "processing", "sending"] {
        fs::remove_dir_all(office.place.path("state/queue").join(place)).expect("remove");
    }
    let original = Original { office, dir };
    original.lay("message-history.1.jsonl", &line(1_770_000_000_000, 1, "in", "older still"));
    let third = original.import();
    assert_eq!(counts(&third, "queue"), [0, 1, 0, 3], "{third:#}");
    assert_eq!(counts(&third, "history"), [1, 1, 0, 1], "{third:#}");
    let before = fs::read_to_string(original.office.place.path("state/message-history.0.jsonl"))
        .expect("history");
    let texts: Vec<&str> = before
        .lines()
        .filter_map(|it| it.split("\"message\":\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(
        texts,
        ["older still", "the kettle is green", "noted, green"],
        "in the order of their times"
    );
}

#[test]
fn what_is_here_wins_and_is_told() {
    let original = Original::new();
    original
        .office
        .settings(r#"{"timezone": "Asia/Tokyo", "telegram": {"chatId": -1001234567890}}"#);
    let here = r#"{"42": {"name": "dates", "cwd": "/tmp", "isMaster": false, "lastActive": 1}}"#;
    fs::write(original.office.place.path("state/threads.json"), here).expect("threads");
    let report = original.import();
    assert_eq!(counts(&report, "threads"), [1, 0, 1, 2], "{report:#}");
    assert_eq!(counts(&report, "settings"), [2, 1, 1, 4], "{report:#}");
    let settings =
        fs::read_to_string(original.office.place.path("state/settings.json")).expect("settings");
    assert!(settings.contains("Asia/Tokyo") && !settings.contains("Berlin"), "{settings}");
    let threads =
        fs::read_to_string(original.office.place.path("state/threads.json")).expect("threads");
    assert!(threads.contains("\"dates\"") && !threads.contains("calendar"), "{threads}");
    let told = original.office.run(&["import", original.dir.to_str().expect("path")]).ok();
    assert!(told.contains("dates in /tmp stays") && !told.contains(TOKEN), "{told}");
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let original = Original::new();
    let dir = original.dir.parent().expect("the clone").to_str().expect("path").to_owned();
    let dry = original.office.run(&["import", "--dry-run", "--json", &dir]).json();
    assert_eq!(original.office.place.files(), [""; 0]);
    let wet = original.import();
    for name in ["threads", "history", "settings", "queue", "other"] {
        assert_eq!(part(&dry, name), part(&wet, name));
    }
}

#[test]
fn nothing_is_imported_under_a_running_processor_or_from_no_original() {
    let mut original = Original::new();
    original.office = original.office.staffed();
    let dir = original.dir.to_str().expect("path").to_owned();
    let refused = |office: &Office, dir: &str, why: &str| {
        let said = office.run(&["import", dir]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(why), "{}", said.err);
    };
    refused(&original.office, &dir, "stop it first");
    let own = original.office.place.state().display().to_string();
    refused(&original.office, &own, "this office's own folder");
    let empty = original.office.place.home().display().to_string();
    refused(&original.office, &empty, "nothing of the original");
    refused(&original.office, "/nowhere/at/all", "cannot find");
    let other = Office::open();
    refused(&original.office, &other.place.state().display().to_string(), "of this TinyClaw");
}

#[test]
fn a_symlink_is_not_followed_wherever_it_leads() {
    let original = Original::new();
    let secret = original.office.place.path("home/secret.json");
    fs::write(&secret, message("secret", 1)).expect("file");
    let incoming = original.dir.join("queue/incoming");
    symlink(&secret, incoming.join("a.json")).expect("symlink");
    fs::remove_file(original.dir.join("message-history.jsonl")).expect("remove");
    symlink(&secret, original.dir.join("message-history.jsonl")).expect("symlink");
    let report = original.import();
    assert_eq!(counts(&report, "queue"), [1, 0, 0, 4], "{report:#}");
    assert_eq!(counts(&report, "history"), [1, 0, 0, 1], "{report:#}");
    fs::remove_dir_all(&incoming).expect("remove");
    symlink(original.office.place.home(), &incoming).expect("symlink");
    let report = original.import();
    assert_eq!(counts(&report, "queue"), [0, 0, 0, 2], "{report:#}");
    let all = original.office.run(&["queue", "ls", "--json"]).ok();
    assert!(!all.contains("secret"), "{all}");
}

#[test]
fn a_session_that_is_not_here_comes_with_the_command_that_brings_it() {
    let original = Original::new();
    let copy = format!("sessions/{SESSION}.jsonl");
    original.lay(&copy, "{}\n");
    let told = original.office.run(&["import", original.dir.to_str().expect("path")]).ok();
    let command = told.lines().find_map(|it| it.trim().strip_prefix("→ mkdir")).expect("a command");
    let done = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("mkdir{command}"))
        .status()
        .expect("sh");
    assert!(done.success(), "{command}");
    let report = original.import();
    assert_eq!(counts(&report, "sessions"), [1, 0, 0, 0], "{report:#}");
    assert_eq!(counts(&report, "folders"), [1, 0, 0, 1], "{report:#}");
    let left = &part(&report, "folders")["left"]["named"][0];
    assert_eq!(left["why"], "/nowhere/calendar is not here");
}

#[test]
fn a_thread_whose_folder_stayed_behind_says_so_and_holds_up_nobody() {
    let original = Original::new();
    original.lay("queue/incoming/telegram_2.json", &message("2", 42));
    original.import();
    let office = original.office.staffed();
    let answer = |key: &str| {
        let all = office.run(&["queue", "show", key, "--json"]).json();
        all["message"]["reply"]["text"].as_str().map(str::to_owned)
    };
    let told = office.wait_for("the answer", || answer("file-2"));
    assert!(told.contains("/nowhere/calendar is not a directory. /dir PATH"), "{told}");
    office.wait_for("the other answer", || answer("file-1771000003000_abc123"));
    assert_eq!(office.run(&["send", "--wait", "[demo: say still here]"]).ok(), "still here\n");
}
