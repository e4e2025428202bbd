//! `tinyclaw route`: what it prints, and how it ends.
#![allow(
    clippy::disallowed_methods,
    reason = "a test starts the binary and writes into its own folder"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs `tinyclaw route …` with `state` as its state folder and `stdin` as its input.
fn route(state: &Path, args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tinyclaw"))
        .arg("route")
        .args(args)
        .env("TINYCLAW_DIR", state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The child may end without reading: that is its right.
    let _ = child.stdin.take().map(|mut it| it.write_all(stdin));
    child.wait_with_output().expect("the binary ends")
}

#[track_caller]
fn printed(args: &[&str], stdin: &[u8]) -> String {
    let state = tempfile::tempdir().expect("a folder");
    let output = route(state.path(), args, stdin);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn fails(state: &Path, args: &[&str], code: i32, why: &str) {
    let output = route(state, args, b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(why), "{said}");
}

#[test]
fn a_person_sees_fourteen_lines_that_add_up() {
    let table = printed(&["prove", "the theorem", "step by step"], b"");
    let adds = |name: &str, column: usize| -> f64 {
        let line = table.lines().find(|it| it.starts_with(name)).expect(name);
        line.split_whitespace().nth(column).expect(name).parse().expect(name)
    };
    let mut parts: Vec<f64> = tinyclaw_router::DIMENSIONS.iter().map(|it| adds(it, 3)).collect();
    parts.extend([adds("learned", 1), adds("bias", 1)]);
    let sum: f64 = parts.iter().sum();
    let raw = adds("raw score", 2);
    // Sixteen numbers, each rounded to a hundredth.
    assert!((sum - raw).abs() <= 0.09, "{sum} is not {raw}\n{table}");
    assert!(table.starts_with("opus · COMPLEX"), "{table}");
    assert!(!table.contains('\x1b'), "colours are for terminals");
    assert!(table.lines().all(|it| it == it.trim_end()), "blanks at line ends\n{table}");
}

#[test]
fn json_is_the_decision_of_the_same_text_from_stdin() {
    let text = "explain how indexes work, with an example";
    let told = printed(&["--json", text], b"");
    assert_eq!(told, printed(&["--json"], text.as_bytes()));
    let decision: tinyclaw_domain::Decision = serde_json::from_str(&told).expect("a decision");
    assert_eq!(decision.dims.len(), 14);
    let bent = printed(&["--json", "--pin", "opus", "--no-learned", text], b"");
    let bent: tinyclaw_domain::Decision = serde_json::from_str(&bent).expect("a decision");
    assert_eq!(bent.cause, tinyclaw_domain::Cause::Pinned);
    assert_eq!(bent.learned, None);
}

#[test]
fn staying_is_explained_in_dollars() {
    let order = "write an email to the client about the delay and offer a discount";
    let shown = printed(&["--context", "150000", "--warm", "opus", order], b"");
    assert!(
        shown.starts_with("opus · MEDIUM · its cache is warm, and staying is cheaper"),
        "{shown}"
    );
    let total = |verb: &str| -> f64 {
        let line = shown.lines().find(|it| it.trim_start().starts_with(verb)).expect(verb);
        let (parts, total) = line.rsplit_once(" = $").expect("a sum");
        let dollars = |it: &str| {
            it.split('$')
                .skip(1)
                .filter_map(|it| it.split(' ').next()?.parse::<f64>().ok())
                .sum::<f64>()
        };
        let total: f64 = total.parse().expect("dollars");
        // Three numbers, each rounded to a hundredth of a cent.
        assert!((dollars(parts) - total).abs() < 0.0003, "{line}");
        total
    };
    assert!(total("stay with opus") < total("switch to sonnet"), "{shown}");
    assert!(!printed(&[order], b"").contains("stay with"));
    // A cache is as dear as the one that the office has: 150,012 tokens are written for an hour or for five minutes.
    assert_eq!((total("switch to sonnet") * 10.0).round(), 6.0, "{shown}");
    let state = tempfile::tempdir().expect("a folder");
    fs::write(state.path().join("settings.json"), r#"{"engine":{"promptCache":"5m"}}"#)
        .expect("settings");
    let output = route(state.path(), &["--context", "150000", "--warm", "opus", order], b"");
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(shown.contains("switch to sonnet  $0.38"), "{shown}");
}

#[test]
fn bytes_that_are_no_text_are_decided_too() {
    assert!(printed(&[], b"\xff\xfe\x00what").contains("raw score"));
}

#[test]
fn eval_counts_labelled_rows_of_the_wanted_kind() {
    let state = tempfile::tempdir().expect("a folder");
    let file = state.path().join("rows.jsonl");
    let rows = [
        r#"{"text": "hi", "label": "SIMPLE", "kind": "author", "lang": "en"}"#,
        r#"{"text": "merci", "label": "SIMPLE", "kind": "author", "lang": "fr"}"#,
        r#"{"text": "hello", "label": "COMPLEX", "kind": "author", "lang": "en"}"#,
        r#"{"text": "hello", "label": "unsure", "kind": "author", "lang": "en"}"#,
        r#"{"text": "hello", "label": "MEDIUM", "kind": "empirical", "lang": "en"}"#,
    ];
    fs::write(&file, rows.join("\n")).expect("a file");
    let measure = |kind: &str| -> Value {
        let output =
            route(state.path(), &["--eval", file.to_str().expect("a path"), "--kind", kind], b"");
        assert_eq!(
            output.stdout.iter().filter(|it| **it == b'\n').count(),
            1,
            "one object, one line"
        );
        serde_json::from_slice(&output.stdout).expect("one object")
    };
    let it = measure("author");
    assert_eq!(it["n"], 3);
    assert!((it["accuracy"].as_f64().expect("a number") - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(it["confusion"], serde_json::json!([[2, 0, 0], [0, 0, 0], [1, 0, 0]]));
    assert_eq!(it["recall"], serde_json::json!({"SIMPLE": 1.0, "MEDIUM": null, "COMPLEX": 0.0}));
    assert_eq!(it["nonEnglish"], 1.0);
    assert_eq!(it["underRouted"], it["twoOff"]);
    for name in ["macroF1", "lengthBands", "ece", "p50Ns", "p99Ns"] {
        assert!(!it[name].is_null(), "{name}");
    }
    assert_eq!(measure("empirical")["n"], 1);
    assert_eq!(measure("all")["n"], 4);
}

#[test]
fn the_state_folders_router_toml_is_used_and_its_mistakes_are_named() {
    let state = tempfile::tempdir().expect("a folder");
    let file = state.path().join("router.toml");
    fs::write(&file, "[learned]\nenabled = false\n").expect("a file");
    let output = route(state.path(), &["--json", "hi"], b"");
    let decision: Value = serde_json::from_slice(&output.stdout).expect("a decision");
    assert!(decision.get("learned").is_none());
    fs::write(&file, "[learned]\nenabeld = false\n").expect("a file");
    fails(state.path(), &["hi"], 1, "line 2: unknown key \"enabeld\"");
    fails(state.path(), &["hi"], 1, "router.toml");
}

#[test]
fn mistakes_have_their_exit_codes() {
    let state = tempfile::tempdir().expect("a folder");
    fails(state.path(), &["--eval", "nowhere.jsonl"], 1, "cannot read nowhere.jsonl");
    fails(state.path(), &["--pin", "gpt"], 2, "use haiku, sonnet, opus, fable");
    fails(state.path(), &["--frobnicate"], 2, "--frobnicate");
    fails(state.path(), &["--forget", "--apply"], 2, "--apply");
    let file = state.path().join("rows.jsonl");
    fs::write(&file, "{\"text\": \"a\", \"label\": \"SIMPLE\"}\nnonsense\n").expect("a file");
    fails(state.path(), &["--eval", file.to_str().expect("a path")], 1, "line 2");
}

#[test]
fn the_routers_readme_shows_a_decision_as_it_is() {
    let readme = include_str!("../../../router/README.md");
    let text = readme
        .split_once("`tinyclaw route \"")
        .and_then(|it| it.1.split_once("\"`"))
        .map(|it| it.0)
        .expect("an example in the README");
    let table = printed(&[text], b"");
    assert!(readme.contains(&table), "the README no longer shows this:\n{table}");
}

/// An office whose folders of files are harder than they look: short questions there are never answered well enough.
fn past(state: &Path) {
    use tinyclaw_domain::DeskKind::{Files, Repo};
    let router = tinyclaw_router::Router::default();
    let (mut decided, mut outcomes) = (String::new(), String::new());
    let things = [
        "port", "branch", "key", "table", "header", "page", "font", "queue", "cache", "job",
        "token", "menu",
    ];
    let forms = [
        (Repo, "which {} is it"),
        (Repo, "add a {}"),
        (Repo, "where is the {}"),
        (Repo, "rename the {}"),
        (Repo, "fix the {}"),
        (Files, "which {} is it"),
        (Files, "where is the {}"),
    ];
    let texts =
        forms.iter().flat_map(|form| things.iter().map(|it| (form.0, form.1.replace("{}", it))));
    for (number, (desk, text)) in texts.enumerate() {
        let decision = router.decide(&tinyclaw_router::Input {
            desk: Some(desk),
            ..tinyclaw_router::Input::new(&text)
        });
        let mut line = serde_json::to_value(&decision).expect("a decision");
        let about = serde_json::json!({
            "timestamp": number, "key": format!("tg-{number}"), "attempt": 1, "threadId": 7,
            "messageId": format!("{number}_tg{number}"), "rawInput": text, "durationUs": 1,
        });
        line.as_object_mut()
            .expect("an object")
            .extend(about.as_object().expect("an object").clone());
        decided += &format!("{line}\n");
        if desk == Files {
            let outcome = serde_json::json!({
                "timestamp": number, "key": format!("tg-{number}"), "threadId": 7, "model": "haiku",
                "said": "wrong", "by": "tg-99",
            });
            outcomes += &format!("{outcome}\n");
        }
    }
    fs::write(state.join("routing-log.jsonl"), decided).expect("a log");
    fs::write(state.join("routing-outcomes.jsonl"), outcomes).expect("a log");
}

#[test]
fn weights_are_learned_from_corrections_and_in_force_only_when_told_and_until_they_are_forgotten() {
    let state = tempfile::tempdir().expect("a folder");
    let told = |args: &[&str]| {
        let output = route(state.path(), args, b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let tier = || {
        let decision: Value =
            serde_json::from_str(&told(&["--json", "--desk", "files", "which table is it"]))
                .expect("a decision");
        decision["tier"].as_str().expect("a tier").to_owned()
    };
    assert!(told(&["--learn"]).starts_with("Nothing is proposed: 0 of 0 decisions"));
    past(state.path());
    assert_eq!(tier(), "SIMPLE");
    let shown = told(&["--learn"]);
    assert!(shown.contains("corrected, would go higher") && shown.contains("0/24"), "{shown}");
    let proposal: Value = serde_json::from_str(&told(&["--learn", "--json"])).expect("JSON");
    assert!(proposal["unseen"]["raised"].as_u64() >= Some(12), "{proposal}");
    let learned = state.path().join("router-learned.toml");
    assert!(!learned.exists() && tier() == "SIMPLE", "nothing is written unasked");
    // The operator's own file is not touched, and where it says the same it stands above.
    let own = state.path().join("router.toml");
    fs::write(&own, "[desk.score]\nfiles = -0.6\n").expect("a file");
    fails(state.path(), &["--learn", "--apply"], 1, "stands above what is learned");
    assert!(!learned.exists());
    fs::write(&own, "[learned]\nenabled = true\n").expect("a file");
    assert!(told(&["--learn", "--apply"]).contains("In force within seconds"));
    assert_eq!(fs::read_to_string(&own).expect("a file"), "[learned]\nenabled = true\n");
    assert!(
        fs::read_to_string(&learned).expect("a file").contains("base = "),
        "for these lists alone"
    );
    assert_eq!(tier(), "MEDIUM");
    assert!(told(&["--forget"]).contains("is gone"));
    assert!(told(&["--forget"]).contains("Nothing was learned here"));
    assert_eq!(tier(), "SIMPLE");
    fails(state.path(), &["--apply"], 2, "--learn");
}

#[test]
fn tasks_are_done_or_not_and_the_curve_says_for_how_much() {
    let (state, tasks) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let task = |name: &str, model: &str| {
        let text = format!(
            "request: put the word done into {name}.txt\nmodel: {model}\n== README.md\nA task.\n== TEST\n\
             test \"$(cat {name}.txt)\" = done\n== SOLUTION\necho done > {name}.txt\n"
        );
        fs::write(tasks.path().join(format!("{name}.task")), text).expect("a task");
    };
    task("easy", "haiku");
    task("hard", "opus");
    let folder = tasks.path().to_str().expect("a path");
    let output = route(state.path(), &["--tasks", folder, "--demo", "--json"], b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let done = |who: &str| {
        let points = told["curve"].as_array().expect("points");
        let point = points.iter().find(|it| it["who"] == who).expect(who);
        (point["done"].as_u64().expect("a number"), point["usd"].as_f64().expect("dollars"))
    };
    let [haiku, sonnet, opus, oracle] =
        ["always haiku", "always sonnet", "always opus", "oracle"].map(done);
    assert_eq!([haiku.0, sonnet.0, opus.0, oracle.0], [1, 1, 2, 2], "{told}");
    assert!(
        haiku.1 > 0.0 && haiku.1 < sonnet.1 && sonnet.1 < oracle.1 && oracle.1 < opus.1,
        "{told}"
    );
    assert_eq!(told["engine"], "demo");
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("a path");
    fails(state.path(), &["--tasks", empty, "--demo"], 1, "there is no task in");
    fails(state.path(), &["--demo"], 2, "--tasks");
}

/// A turn of a minute ago, as the logs have it.
fn turn(number: u64, at: u64, model: &str, asked: &str, [read, written]: [u64; 2]) -> [String; 2] {
    let line = |direction: &str, message: &str| {
        serde_json::json!({
            "timestamp": at, "key": format!("tg-{number}"), "attempt": 1,
            "messageId": format!("{number}_tg{number}"), "threadId": 7, "channel": "telegram",
            "direction": direction, "sender": "Ada", "message": message,
        })
    };
    let mut out = line("out", "done");
    out["model"] = model.into();
    out["costUsd"] = 0.25.into();
    out["contextTokens"] = (read + written).into();
    out["usage"] = serde_json::json!({"outputTokens": 100, "cacheReadTokens": read, "cacheWriteTokens": written});
    [line("in", asked).to_string(), out.to_string()]
}

#[test]
fn replay_tells_what_the_past_would_have_cost() {
    let state = tempfile::tempdir().expect("a folder");
    let folder = state.path().to_str().expect("a path");
    fails(state.path(), &["--replay"], 1, "nothing was said in this office yet");
    let now = jiff::Timestamp::now().as_millisecond() as u64;
    let first = turn(1, now - 60_000, "opus", "prove that the scheduler is fair", [0, 50_000]);
    let then = turn(2, now - 30_000, "sonnet", "write an email to the client", [0, 50_200]);
    fs::write(state.path().join("message-history.jsonl"), [first, then].concat().join("\n") + "\n")
        .expect("a log");
    let told = |args: &[&str]| {
        let output = route(state.path(), args, b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let report: Value = serde_json::from_str(&told(&["--replay", folder, "--json"])).expect("JSON");
    let month = &report["month"];
    assert_eq!((&month["turns"], &month["paidUsd"]), (&2.into(), &0.5.into()));
    assert_eq!(month["lost"]["turns"], 1, "opus was warm: {report}");
    let usd = |name: &str| month["usd"][name].as_f64().expect(name);
    assert!(usd("opus") < usd("real") && usd("haiku") < usd("sonnet"), "{report}");
    let shown = told(&["--replay"]);
    for line in
        ["turns", "Claude charged", "always haiku", "always opus", "input read from a cache"]
    {
        assert!(shown.lines().any(|it| it.starts_with(line)), "{line}:\n{shown}");
    }
    // An hour is cached: 50,000 of opus, 50,200 of sonnet, and 200 more of opus for the second turn.
    let said = "In 30 days routing cost $0.18 more than always opus would have (42 %).";
    assert!(shown.contains(said), "{shown}");
}
