use std::path::Path;
use std::process::Command;

use serde_json::json;

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
    events.tell(1, "claude.PreToolUse", "laptop", "toolu_1", &json!({ "tool_name": "Bash" }));
    events.tell(2, "tinyclaw.message.received", "tinyclaw", "tg-7", &json!({}));
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
        .env("DRIVER", cache)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("all views work"), "{said}");
}
