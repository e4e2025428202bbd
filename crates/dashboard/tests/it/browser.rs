use std::path::Path;
use std::process::Command;

use serde_json::json;
use tinyclaw_domain::{JobEvent, Key, StateDir};
use tinyclaw_ledger::JobLog;

use crate::demo::Demo;
use crate::driver::driver;
use crate::events::Events;
use crate::running::Running;

/// Every view, dark and light, wide and narrow, driven in a real browser against the real server. Pictures go to
/// `TINYCLAW_SCREENSHOTS`, when it is set.
#[test]
fn every_view_works_in_a_browser() {
    let cache = match driver() {
        Ok(it) => it,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::new(dir.path());
    demo.fill(tinyclaw_service::now_ms(), 160);
    let events = Events::new(dir.path());
    let now = tinyclaw_service::now_ms();
    let answered = demo.exchange(now - 400_000, 1);
    tell(&events, dir.path(), &answered, now - 400_000);
    let none = tempfile::tempdir().unwrap();
    Events::new(none.path());
    let nothing = Running::start(none.path()).indexed();
    let earlier = Running::start(dir.path()).indexed();
    // Whoever is started later counts the rows from another one.
    for which in 1..6 {
        demo.exchange(tinyclaw_service::now_ms() - 200_000, which);
    }
    let server = Running::start(dir.path()).indexed();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/views.mjs");
    let run = Command::new("node")
        .arg(script)
        .arg(server.address.port().to_string())
        .arg(dir.path())
        .arg(earlier.address.port().to_string())
        .arg(nothing.address.port().to_string())
        .arg(answered.to_string())
        .env("DRIVER", cache)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("all views work"), "{said}");
}

/// Ten thousand events: a message's turn with its hooks, and at the end those that somebody who means no good told.
fn tell(events: &Events, state: &Path, answered: &Key, at: u64) {
    let tool = JobEvent::Tool {
        id: "toolu_1".into(),
        name: "Bash".into(),
        detail: "ls".into(),
        parent: None,
    };
    JobLog::begin(&StateDir::new(state), answered, at).write(at + 1_000, tool).unwrap();
    let hook = |seq: u64, kind: &str| {
        let metadata =
            json!({ "tool_name": "Bash", "tool_input": { "command": format!("make step-{seq}") } });
        events.tell_at(at + 1_000 + seq % 7, seq, kind, "laptop", "toolu_1", &metadata);
    };
    events.together(|it| {
        for seq in 1..=9_994 {
            it.tell(seq, "build.step", ["ci", "ci2"][seq as usize % 2], "x", &json!({ "step": seq }));
        }
        hook(9_995, "claude.PreToolUse");
        hook(9_996, "claude.PostToolUse");
        let received = json!({ "key": answered, "threadId": 3 });
        it.tell_at(at, 9_997, "tinyclaw.message.received", "tinyclaw", answered.as_str(), &received);
        let hostile = json!({
            "message": "<img src=x onerror=alert(1)>\u{202e}drow eno\n\r\u{0} second line",
            "__proto__": { "polluted": true }, "constructor": "x", "deep": [[[["y"]]]], "long": "z".repeat(90_000),
        });
        it.tell_at(at, 9_998, "x.</script><b>bold", "\u{202e}ecruos", "__proto__", &hostile);
        it.tell_at(at, 9_999, &"w".repeat(128), &"s".repeat(256), &"u".repeat(256), &json!({}));
        it.tell_at(at, 10_000, "claude.Notification", "laptop", "n1", &json!({ "message": "the last one" }));
    });
}
