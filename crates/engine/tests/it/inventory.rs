//! What the pinned CLI speaks, recorded: its flags, its hooks, the kinds of lines and requests it knows, and the lines of
//! one conversation with their fields. `scripts/bump-claude.sh` records it anew and shows what another version changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use expect_test::expect_file;
use serde_json::{Value, json};
use tinyclaw_engine::PINNED_VERSION;
use tinyclaw_testkit::messages_api::MessagesApi;
use tinyclaw_testkit::state::Place;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::claude::{bash, version};

/// Fields that come or stay away by chance: by how quick a machine is.
const BY_CHANCE: [&str; 4] =
    ["ttft_ms", "ttft_stream_ms", "first_content_frame_ms", "time_to_request_ms"];

/// A conversation with the bare CLI.
struct Talk {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    seen: BTreeMap<String, BTreeSet<String>>,
}

impl Talk {
    fn begin(program: &Path, place: &Place, api: &MessagesApi) -> Talk {
        let mut child = Command::new(program)
            .args(["-p", "--input-format=stream-json", "--output-format=stream-json", "--verbose"])
            .args(["--include-partial-messages", "--replay-user-messages", "--model=sonnet"])
            .args(["--permission-prompt-tool=stdio", "--setting-sources=", "--strict-mcp-config"])
            .current_dir(place.work())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("ANTHROPIC_API_KEY", "dummy"), ("LANG", "C.UTF-8")])
            .env("HOME", place.home())
            .env("ANTHROPIC_BASE_URL", api.url())
            .envs([("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")])
            .envs([
                ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
                ("CLAUDE_CODE_MAX_RETRIES", "2"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Talk { child, stdin, lines: BufReader::new(stdout).lines(), seen: BTreeMap::new() }
    }

    async fn say(&mut self, line: Value) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, id: &str, request: Value) {
        self.say(json!({ "type": "control_request", "request_id": id, "request": request })).await;
    }

    /// Reads until a line fits. Whatever the CLI asks is granted.
    async fn until(&mut self, fits: impl Fn(&Value) -> bool) {
        loop {
            let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
            let line = line.expect("it goes on").unwrap().expect("it is there");
            let line: Value = serde_json::from_str(&line).unwrap();
            let word = |at: &str| line.pointer(at).and_then(Value::as_str).map(str::to_owned);
            let mut kind = word("/type").unwrap_or_default();
            for at in ["/subtype", "/request/subtype", "/event/type"] {
                if let Some(it) = word(at).filter(|_| kind != "result") {
                    kind = format!("{kind}/{it}");
                }
            }
            let fields = line.get("request").filter(|it| it.is_object()).unwrap_or(&line);
            let fields = fields.as_object().unwrap().keys().cloned();
            let fields = fields.filter(|it| !BY_CHANCE.contains(&it.as_str()));
            self.seen.entry(kind).or_default().extend(fields);
            if let Some(id) = line.get("request_id").filter(|_| line["type"] == "control_request") {
                let input = line["request"]["input"].clone();
                let response = json!({ "behavior": "allow", "updatedInput": input });
                let response =
                    json!({ "subtype": "success", "request_id": id, "response": response });
                self.say(json!({ "type": "control_response", "response": response })).await;
            }
            if fits(&line) {
                return;
            }
        }
    }

    async fn turn(&mut self, text: &str) {
        let message = json!({ "role": "user", "content": text });
        self.say(json!({ "type": "user", "message": message, "session_id": "", "parent_tool_use_id": null,
            "uuid": uuid::Uuid::new_v4().to_string() }))
            .await;
        self.until(|it| it["type"] == "result").await;
        self.until(|it| it["state"] == "idle").await;
    }
}

/// What the CLI says in one conversation, each kind of line with all its fields.
async fn conversation(program: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let place = Place::below(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let api = MessagesApi::start().await.unwrap();
    let mut talk = Talk::begin(program, &place, &api);
    talk.ask("hello", json!({ "subtype": "initialize", "hooks": null })).await;
    talk.until(|it| it["type"] == "control_response").await;
    talk.turn("hello").await;
    talk.turn(&bash("touch /tmp/tinyclaw-no-such-dir/x || echo tried")).await;
    talk.turn("[api: status 529 1] [api: say it works]").await;
    talk.turn("[api: status 400]").await;
    let helper = json!({ "description": "look", "prompt": "[api: say found]", "run_in_background": false,
        "subagent_type": "general-purpose" });
    talk.turn(&format!("[api: tool Agent {helper}]")).await;
    talk.ask("model", json!({ "subtype": "set_model", "model": "haiku" })).await;
    talk.until(|it| it["type"] == "control_response").await;
    talk.turn("hello again").await;
    drop(talk.stdin);
    let _ = talk.child.wait().await;
    talk.seen
}

/// What is found in a program's own text.
fn words_of(program: &Path, pattern: &str) -> BTreeSet<String> {
    let found = std::process::Command::new("grep").args(["-aoE", pattern]).arg(program).output();
    let found = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
    found.lines().map(str::to_owned).collect()
}

/// The words between quotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn section(text: &mut String, about: &str, words: &BTreeSet<String>) {
    let _ = writeln!(text, "\n## {about}");
    for word in words {
        let _ = writeln!(text, "{word}");
    }
}

#[tokio::test]
async fn real_claude_speaks_as_recorded() {
    let program = match tinyclaw_testkit::claude::program() {
        Ok(it) => it,
        Err(why) => return eprintln!("skipped real_claude_speaks_as_recorded: {why}"),
    };
    let mut text = format!("# What claude {} speaks\n", version());
    let help = std::process::Command::new(&program).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let flags = help.lines().filter(|it| it.starts_with("  -")).flat_map(str::split_whitespace);
    let flags =
        flags.filter(|it| it.starts_with("--")).map(|it| it.trim_end_matches(',').to_owned());
    section(&mut text, "flags", &flags.collect());
    // The longest list is the list of all; the others are for this or that.
    let hooks = words_of(&program, r#"\["PreToolUse"(,"[A-Za-z]+")+\]"#);
    let hooks = hooks.iter().max_by_key(|it| it.len()).cloned().unwrap_or_default();
    section(&mut text, "hook events", &quoted(&hooks));
    let kinds = words_of(&program, r#"[^a-zA-Z]subtype:[A-Za-z_$0-9]+(\.literal)?\("[a-z_]+"\)"#);
    section(
        &mut text,
        "kinds of system lines and control requests",
        &kinds.iter().flat_map(|it| quoted(it)).collect(),
    );
    let lines = conversation(&program).await.into_iter().map(|(kind, fields)| {
        format!("{kind}: {}", fields.into_iter().collect::<Vec<_>>().join(" "))
    });
    section(&mut text, "lines of a conversation, with their fields", &lines.collect());

    if version() == PINNED_VERSION || std::env::var_os("UPDATE_EXPECT").is_some() {
        expect_file!["../wire-inventory.txt"].assert_eq(&text);
        return;
    }
    let recorded = include_str!("../wire-inventory.txt");
    let lines = |it: &str| it.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, now) = (lines(recorded), lines(&text));
    for gone in before.difference(&now) {
        eprintln!("- {gone}");
    }
    for new in now.difference(&before) {
        eprintln!("+ {new}");
    }
}
