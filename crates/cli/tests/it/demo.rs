//! The demo: an office out of nothing, and nothing left of it but its folder.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Office, Said, beside, hook};

/// Processes whose environment or arguments mention a folder.
fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|it| it.is_ascii_digit());
        let read = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let command = read("cmdline");
        if is_process && (command.contains(&needle) || read("environ").contains(&needle)) {
            found.push(command);
        }
    }
    found
}

#[test]
fn a_demo_answers_shows_itself_and_leaves_nobody_behind() {
    let office = Office::closed();
    let dir = office.place.path("work/demo");
    let arguments = ["demo", "--no-claude", "--dir", dir.to_str().expect("a path")];
    let mut command = office.command(&arguments);
    // A caller's own office must not be touched by it.
    let mut child = command
        .env("TELEGRAM_BOT_TOKEN", "123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .stdin(Stdio::piped())
        .spawn()
        .expect("tinyclaw runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    writeln!(stdin, "[demo: say here I am]").expect("write");
    let before: Vec<String> =
        lines.by_ref().map_while(Result::ok).take_while(|it| it != "here I am").collect();
    if !before.iter().any(|it| it.starts_with("engine     the demo engine")) {
        panic!("{before:?} {:?}", Said::of(child.wait_with_output().expect("it ends")));
    }
    assert!(before.len() <= 10, "{before:?}");
    let history = office.wait_for("what happened before", || {
        let text = fs::read_to_string(dir.join("message-history.jsonl")).ok()?;
        ["Ada", "Bob", "cross-thread"].iter().all(|it| text.contains(it)).then_some(text)
    });
    assert!(history.contains("\"threadId\":7"), "several threads");
    for file in ["routing-log.jsonl", "logs/prompts.jsonl", "logs/queue.log"] {
        assert!(fs::metadata(dir.join(file)).is_ok_and(|it| it.len() > 0), "{file}");
    }
    let threads = fs::read_to_string(dir.join("threads.json")).expect("threads");
    assert!(threads.contains("\"Website\"") && threads.contains("\"Reading\""), "{threads}");
    let mut doctor = office.command(&["doctor"]);
    doctor.env("TINYCLAW_DIR", &dir).env_remove("TINYCLAW_ENGINE_KIND");
    let seen = Said::of(doctor.output().expect("tinyclaw runs")).ok();
    assert!(seen.contains("the demo engine") && seen.contains("  http://127.0.0.1:"), "{seen}");
    drop(stdin);
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(processes_of(&dir), [""; 0]);
    assert_eq!(office.place.files(), [""; 0], "the caller's state folder is untouched");
}

/// It never had any: what the caller had set was kept from its services.
#[test]
fn a_demo_has_devboxes_where_its_caller_wants_them() {
    let office = Office::closed();
    let dir = office.place.path("work/demo");
    let there = office.place.path("work/there");
    fs::create_dir_all(&there).expect("a folder");
    let arguments = ["demo", "--no-claude", "--dir", dir.to_str().expect("a path")];
    let mut command = office.command(&arguments);
    command.env("ENABLE_DEVBOX", "1").env("DEVBOX_DEFAULT_WORK_DIR", &there);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("tinyclaw runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let said = "/devbox\n/devbox add box local\n[demo: say from the box]\n/devbox remove box\n/devbox yes box\n/devbox\n";
    stdin.write_all(said.as_bytes()).expect("write");
    drop(stdin);
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(0), "{said:?}");
    let none = "No devboxes yet: /devbox add NAME HOST [USER] [DIR]";
    let ready = "Ready. Write here, and Claude on box answers.";
    let in_order = ["devboxes   ", none, ready, "from the box", "Remove `box`?", "Removed.", none];
    let mut rest = said.out.as_str();
    for words in in_order {
        let at = rest.find(words);
        rest = &rest[at.unwrap_or_else(|| panic!("{words:?} is missing in {rest}: {said:?}"))..]
            [words.len()..];
    }
    assert_eq!(processes_of(&dir), [""; 0]);
}

/// It once showed "working 47 s" for ever.
#[test]
fn a_demo_whose_processor_is_killed_gets_another_one_and_the_answer_comes() {
    let office = Office::closed();
    let dir = office.place.path("work/demo");
    let arguments = ["demo", "--no-claude", "--dir", dir.to_str().expect("a path")];
    let mut child = office.command(&arguments).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let processor = || -> Option<i32> {
        let health = fs::read_to_string(dir.join("health/processor.json")).ok()?;
        let health: serde_json::Value = serde_json::from_str(&health).ok()?;
        i32::try_from(health["pid"].as_i64()?).ok()
    };
    // Until then, a service that ends is a demo that does not come up.
    assert!(lines.by_ref().map_while(Result::ok).any(|it| it.is_empty()), "it greets");
    writeln!(stdin, "[demo: slow 3s] [demo: say I am back]").expect("write");
    let first = office.wait_for("a turn that runs", || {
        let runs = fs::read_dir(dir.join("progress")).is_ok_and(|mut it| it.next().is_some());
        processor().filter(|_| runs)
    });
    kill_process(Pid::from_raw(first).expect("a pid"), Signal::KILL).expect("kill");
    office.wait_for("another processor", || processor().filter(|it| *it != first));
    assert!(lines.by_ref().map_while(Result::ok).any(|it| it.contains("I am back")));
    drop(stdin);
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(0));
    assert!(
        said.err.contains("while the demo ran, processor ended with signal: 9"),
        "{}",
        said.err
    );
    assert_eq!(processes_of(&dir), [""; 0]);
}

#[test]
fn the_line_that_a_demo_prints_brings_its_gateway_every_hook_also_of_while_it_was_killed() {
    let office = Office::closed();
    let dir = office.place.path("work/de mo");
    let folder = dir.to_str().expect("a path");
    let mut child = office.command(&["demo", "--no-claude", "--dir", folder]);
    let mut child = child.stdin(Stdio::piped()).spawn().expect("it runs");
    let stdin = child.stdin.take().expect("stdin");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|it| it.is_empty()), "it greets");
    // In another terminal, twice: who asks again is told of the same gateway.
    let join = || {
        let done = office.command(&["demo", "--web", "--dir", folder]).output().expect("it runs");
        let rows: Vec<String> = Said::of(done).ok().lines().map(str::to_owned).collect();
        let row = |name: &str| rows.iter().find_map(|it| Some(it.strip_prefix(name)?.trim()));
        let told = ["gateway", "hooks", "events"].map(|it| row(it).map(str::to_owned));
        told.map(|it| it.unwrap_or_else(|| panic!("{rows:?}")))
    };
    let [url, hooks, view] = join();
    let [same, ..] = join();
    assert_eq!(url, same);
    let dashboard: u16 = view
        .strip_suffix("/#/events")
        .and_then(|it| it.rsplit(':').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{view}"));
    let port: u16 = url.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
    // As a person does it, in a shell that knows nothing of the demo.
    let mut shell = Command::new("sh");
    shell.args(["-c", &hooks]).env_clear().env("HOME", office.place.home());
    let done = shell.env("PATH", "/usr/bin:/bin").output().expect("a shell");
    assert!(done.status.success(), "{hooks}: {done:?}");
    let mut reader = office.command(&["token", "new", "reader", "--scope", "read"]);
    let token = Said::of(reader.env("TINYCLAW_DIR", &dir).output().expect("it runs")).ok();
    let command = hook::installed(&office);
    let gateway = || -> Option<i32> {
        let health = fs::read_to_string(dir.join("health/gateway.json")).ok()?;
        let health: serde_json::Value = serde_json::from_str(&health).ok()?;
        i32::try_from(health["pid"].as_i64()?).ok()
    };
    let mut before = 0;
    for round in 0..3 {
        let pid = office.wait_for("a gateway", || gateway().filter(|it| *it != before));
        before = pid;
        for n in 0..4 {
            if n == 1 {
                kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("kill");
            }
            let told = serde_json::json!({
                "hook_event_name": "PreToolUse", "session_id": "s1", "n": round * 4 + n,
            });
            hook::fire(&office, &command, &told.to_string());
        }
    }
    let is_hook = |it: &serde_json::Value| it["type"] == "claude.PreToolUse";
    let events = office.wait_for("every hook", || {
        let events = hook::events(port, token.trim())?;
        (events.iter().filter(|it| is_hook(it)).count() >= 12).then_some(events)
    });
    let told: Vec<&serde_json::Value> =
        events.iter().filter(|it| is_hook(it)).map(|it| &it["metadata"]["n"]).collect();
    assert_eq!(told, (0..12).collect::<Vec<_>>(), "each once, in their order");
    // The proofs that a person has, too: one command, and that the numbers have no hole.
    let mut check = office.command(&["hook", "check"]);
    check.env("HOME", office.place.home());
    let said = Said::of(check.output().expect("it runs")).ok();
    assert!(said.contains("12 hooks of") && said.contains("nothing is missing"), "{said}");
    let shown = hook::ask(dashboard, "GET", "/api/events?type=claude.*", "", "").expect("a page");
    assert!(shown.1.contains("\"hookNumber\":12"), "{shown:?}");
    let numbers: Vec<usize> = events
        .iter()
        .filter_map(|it| it["id"].as_str()?.rsplit('-').next()?.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=events.len()).collect::<Vec<_>>());
    drop(stdin);
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(processes_of(&dir), [""; 0]);
}

/// The page at the gateway's address once had no environment, and nobody had a token for it.
#[test]
fn the_address_of_a_demos_web_chat_logs_in_and_the_demo_engine_answers_there() {
    let office = Office::closed();
    let dir = office.place.path("work/demo");
    let folder = dir.to_str().expect("a path");
    let arguments = ["demo", "--web", "--no-claude", "--dir", folder];
    let mut child = office.command(&arguments).stdin(Stdio::piped()).spawn().expect("it runs");
    let stdin = child.stdin.take().expect("stdin");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let greeting: Vec<String> =
        lines.by_ref().map_while(Result::ok).take_while(|it| !it.is_empty()).collect();
    let Some(chat) = greeting.iter().find_map(|it| it.strip_prefix("web chat")) else {
        panic!("{greeting:?} {:?}", Said::of(child.wait_with_output().expect("it ends")));
    };
    let (url, token) = chat.trim().split_once("/#").expect("a token behind the address");
    let port: u16 = url.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
    let ask = |method, path, token: &str, body: &str| {
        hook::ask(port, method, path, token, body).expect("an answer")
    };
    let (status, page) = ask("GET", "/", "", "");
    assert!(status == 200 && page.contains("id=\"login\""), "{status} {page}");
    // What the page asks for when it comes up, and when somebody writes.
    for path in ["/api/envs", "/api/sessions/demo", "/api/jobs?env=demo"] {
        assert_eq!(ask("GET", path, token, "").0, 200, "{path}");
        assert_eq!(ask("GET", path, "", "").0, 401, "{path}");
    }
    let prompt = r#"{"env":"demo","prompt":"[demo: say here I am]"}"#;
    let (status, told) = ask("POST", "/api/execute", token, prompt);
    let told: serde_json::Value = serde_json::from_str(&told).expect("json");
    assert_eq!((status, &told["output"]), (200, &"here I am".into()), "{told}");
    // It may do what the page does, and no more; and it is written down nowhere.
    assert_eq!(ask("POST", "/events", token, r#"{"type":"a.b"}"#).0, 403);
    assert_eq!(ask("GET", "/api/webhooks", token, "").0, 403);
    let tokens = fs::read_to_string(dir.join("tokens.json")).expect("tokens");
    assert!(tokens.contains("\"chat\"") && !tokens.contains(token), "{tokens}");
    drop(stdin);
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(processes_of(&dir), [""; 0]);
}

/// It once sent two messages of its own to whoever had a login.
#[test]
fn a_demo_that_found_claude_sends_it_nothing_before_somebody_types() {
    let office = Office::closed();
    let dir = office.place.path("work/demo");
    // In place of the real one, the engine that speaks as it does.
    let programs = office.place.path("home/programs");
    fs::create_dir_all(&programs).expect("a folder");
    symlink(beside("tinyclaw-demo-engine"), programs.join("claude")).expect("a claude");
    let mut command = office.command(&["demo", "--dir", dir.to_str().expect("a path")]);
    command.env("PATH", format!("{}:{}", programs.display(), office.env["PATH"]));
    command.env("ANTHROPIC_API_KEY", "sk-ant-none");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("tinyclaw runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let greeted: Vec<String> =
        lines.by_ref().map_while(Result::ok).take_while(|it| !it.is_empty()).collect();
    let greeted = greeted.join("\n");
    for says in
        ["the real claude", "what you say costs", "--no-claude", "empty until you say something"]
    {
        assert!(greeted.contains(says), "{says}: {greeted:?}");
    }
    // Whoever opens the queue tries it with a probe, whose name begins with a dot.
    let is_message = |it: &fs::DirEntry| !it.file_name().as_encoded_bytes().starts_with(b".");
    let queued = |room: &str| {
        let found = fs::read_dir(dir.join("queue").join(room)).into_iter().flatten().flatten();
        found.filter(is_message).count()
    };
    let rooms = ["incoming", "processing", "outgoing", "done"];
    assert_eq!(rooms.map(queued), [0; 4], "nobody has said anything");
    assert!(!dir.join("message-history.jsonl").exists(), "nobody has said anything");
    writeln!(stdin, "[demo: say here I am]").expect("write");
    assert!(lines.by_ref().map_while(Result::ok).any(|it| it == "here I am"));
    drop(stdin);
    assert_eq!(Said::of(child.wait_with_output().expect("it ends")).code, Some(0));
    let history = fs::read_to_string(dir.join("message-history.jsonl")).expect("history");
    assert_eq!(history.lines().count(), 2, "a question and its answer: {history}");
}

#[test]
fn a_demo_told_to_end_at_any_moment_ends_and_leaves_nobody_behind() {
    let office = Office::closed();
    let dir = office.place.path("work/demo");
    let arguments = ["demo", "--no-claude", "--dir", dir.to_str().expect("a path")];
    for (round, signal) in [Signal::TERM, Signal::HUP].iter().cycle().take(6).enumerate() {
        let mut child = office.command(&arguments).stdin(Stdio::piped()).spawn().expect("it runs");
        let stdin = child.stdin.take();
        std::thread::sleep(Duration::from_millis([0, 20, 60, 120, 250, 500][round]));
        kill_process(Pid::from_child(&child), *signal).expect("kill");
        let said = Said::of(child.wait_with_output().expect("it ends"));
        drop(stdin);
        // In its very first moment, before it could start anybody, the signal simply ends it.
        assert!(matches!(said.code, Some(0) | None), "round {round}: {said:?}");
        assert_eq!(processes_of(&dir), [""; 0], "round {round}");
    }
}

#[test]
fn a_demo_leaves_a_strangers_folder_alone() {
    let office = Office::closed();
    fs::write(office.place.path("work/thesis.txt"), "years").expect("file");
    let dir = office.place.work();
    let said = office.run(&["demo", "--dir", dir.to_str().expect("a path")]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("left alone"), "{}", said.err);
}
