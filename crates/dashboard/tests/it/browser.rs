use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::demo::Demo;
use crate::events::Events;
use crate::running::Running;

/// Where the browser's driver is kept between runs, outside the project.
fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("tinyclaw-browser-tests")
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|it| it.status.success())
}

/// The driver, installed when it is not there yet; or why it cannot be had.
fn driver() -> Result<PathBuf, String> {
    for program in ["chromium", "node", "npm"] {
        if !is_there(program) {
            return Err(format!("{program} is not installed"));
        }
    }
    let cache = cache();
    // What is installed is what the lock names, by hash; another lock is another installation.
    let lock = include_bytes!("../browser/package-lock.json");
    let installed = cache.join("node_modules/.installed-lock.json");
    if std::fs::read(&installed).ok().as_deref() != Some(lock) {
        let lay = |name: &str, bytes: &[u8]| std::fs::write(cache.join(name), bytes);
        std::fs::create_dir_all(&cache)
            .and_then(|()| lay("package.json", include_bytes!("../browser/package.json")))
            .and_then(|()| lay("package-lock.json", lock))
            .map_err(|it| it.to_string())?;
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let npm = Command::new("npm").args(install).current_dir(&cache).output();
        let npm = npm.map_err(|it| it.to_string())?;
        if !npm.status.success() {
            let why = String::from_utf8_lossy(&npm.stderr).into_owned();
            return Err(format!("playwright-core and axe-core cannot be installed: {why}"));
        }
        std::fs::write(&installed, lock).map_err(|it| it.to_string())?;
    }
    Ok(cache)
}

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
