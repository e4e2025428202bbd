//! What schemathesis finds by the served document: every operation with what fits its schema and what does not, in an order
//! of its own. It lives in a virtual environment that pip fills.
//!
//! Named `real_*`, so that quick runs leave it out. Where it cannot be had it is skipped by name.
#![allow(clippy::print_stderr, reason = "it says so when it cannot run")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::desk::Desk;
use crate::rig::Rig;

/// Pinned: a new version is looked at, not met by chance.
const PROGRAM: &str = "schemathesis==4.32.5";

/// The program, or why it cannot be had.
fn schemathesis() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|it| Path::new(&it).join(".cache")));
    let dir = base.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("tinyclaw/schemathesis");
    let run =
        |program: &Path, arguments: &[&str]| match Command::new(program).args(arguments).output() {
            Ok(it) if it.status.success() => Ok(String::from_utf8_lossy(&it.stdout).into_owned()),
            Ok(it) => {
                let said = String::from_utf8_lossy(&it.stderr);
                Err(format!("{} {}: {}", program.display(), arguments.join(" "), said.trim()))
            }
            Err(err) => Err(format!("{}: {err}", program.display())),
        };
    let (python, program) = (dir.join("bin/python"), dir.join("bin/schemathesis"));
    let wanted = PROGRAM.split_once("==").map_or(PROGRAM, |it| it.1);
    let is_there = || run(&program, &["--version"]).is_ok_and(|it| it.contains(wanted));
    if !is_there() {
        run(Path::new("python3"), &["-m", "venv", &dir.to_string_lossy()])?;
        run(&python, &["-m", "pip", "install", "--quiet", PROGRAM])?;
        if !is_there() {
            return Err(format!("{PROGRAM} was installed and does not run"));
        }
    }
    Ok(program)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_foreign_schemathesis_finds_nothing_that_the_document_does_not_tell() {
    let program = match schemathesis() {
        Ok(it) => it,
        Err(why) => {
            let name = "real_foreign_schemathesis_finds_nothing_that_the_document_does_not_tell";
            eprintln!("skipped: {name}: {why}");
            return;
        }
    };
    // Each bad token is to get its 401, and none a 429 for being the sixth.
    let rig = Rig::forgiving(json!({
        "readPerSecond": 100_000, "ingestPerSecond": 1_000_000, "webhookHosts": ["n8n.example.org"],
        "notifyForeign": true, "connectionsPerAddress": 4_096, "executePerSecond": 10_000,
    }))
    .await;
    // A message that the document's example names.
    rig.tell(&json!({ "type": "a.b", "subject": "tg-7" })).await;
    let envs = json!({ "dev": { "isolation": "none" } });
    std::fs::write(rig.dir.path().join("envs.json"), envs.to_string()).unwrap();
    let desk = Desk::at(&rig);
    let (_office, _hears) = (desk.serve(), desk.hear(|_| None));
    let here = tempfile::tempdir().unwrap();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/hooks.py");
    let mut command = Command::new(program);
    command
        .args(["run", &rig.url("/openapi.json"), "--seed", "2026", "--max-examples", "40"])
        .args(["--header", &format!("Authorization: Bearer {}", rig.token)])
        // A long poll may take a minute, and a socket is no answer.
        .args(["--request-timeout", "75", "--exclude-path", "/ws", "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"])
        .args(["--generation-database", "none", "--continue-on-failure"])
        .env("SCHEMATHESIS_HOOKS", hooks)
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(here.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let counts = said.lines().find_map(|it| it.trim().split_once(" generated, "));
    let (asked, passed) = counts.unwrap_or_else(|| panic!("it counts nothing: {said}"));
    // What could not be generated at all is counted after it, as skipped.
    assert_eq!(passed.split(", ").next(), Some(&*format!("{asked} passed")), "{said}");
    assert!(asked.parse::<u64>().is_ok_and(|it| it > 300), "{said}");
}
