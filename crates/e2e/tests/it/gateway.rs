//! Prompts over HTTP with everything real but the model: the gateway, the processor, the demo engine, and curl.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tinyclaw_e2e::{Forum, Office, program};
use tinyclaw_testkit::telegram::FORUM;

const TOKEN: &str = "a-token-of-more-than-32-characters";
/// Printed after each example's answer.
const MARK: &str = "=== answered ===";

/// One of our services on an office's folder, on whichever port is free.
pub(crate) struct Service {
    child: Child,
    url: String,
}

impl Service {
    pub(crate) fn start(office: &Office, name: &str, env: &[(&str, &str)]) -> Service {
        let mut child = Command::new(program(name))
            .env_clear()
            .env("TINYCLAW_DIR", office.path("state"))
            .env("API_TOKEN", TOKEN)
            .env("TINYCLAW_GATEWAY_EXECUTE_PER_SECOND", "100")
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .env("DASHBOARD_LISTEN", "127.0.0.1:0")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = lines.find(|it| it.as_ref().unwrap().contains(" is up")).unwrap().unwrap();
        // Whoever writes to a pipe that nobody reads would stop.
        std::thread::spawn(move || lines.for_each(drop));
        let address = up.split("listen=").nth(1).unwrap().split(' ').next().unwrap();
        Service { child, url: format!("http://{address}") }
    }

    /// What curl gets.
    pub(crate) fn curl(&self, path: &str, more: &[&str]) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--no-buffer", "--max-time", "60", "--noproxy", "*"])
            .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
            .args(["--header", "Content-Type: application/json"])
            .args(more)
            .arg(format!("{}{path}", self.url))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, path: &str, more: &[&str]) -> Value {
        let text = self.curl(path, more);
        serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.json(path, &["--data", &body.to_string()])
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn envs(office: &Office) {
    let envs = json!({ "dev": { "isolation": "none", "permission": "ask" } });
    std::fs::write(office.path("state/envs.json"), envs.to_string()).unwrap();
}

#[test]
fn a_prompt_by_curl_is_answered_streamed_asked_about_stopped_and_shown_in_the_dashboard() {
    let office = Office::open();
    envs(&office);
    let gateway = Service::start(&office, "tinyclaw-gateway", &[]);
    let ask = |prompt: &str| json!({ "env": "dev", "prompt": prompt });
    let told = gateway.post("/api/execute", &ask("[demo: say It is green.]"));
    assert_eq!(
        (&told["success"], &told["output"]),
        (&json!(true), &json!("It is green.")),
        "{told}"
    );
    let session = told["sessionId"].as_str().unwrap();
    let thread = format!("api.dev.{session}");
    assert!(office.threads().contains_key(&thread.parse().unwrap()), "a desk of its own");
    // The same session, as lines of JSON.
    let more =
        json!({ "env": "dev", "prompt": "[demo: say And it stays so.]", "sessionId": session });
    let stream = gateway.curl(
        "/api/execute",
        &["--header", "Accept: application/x-ndjson", "--data", &more.to_string()],
    );
    let lines: Vec<Value> = stream.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert!(
        kinds.contains(&"begun")
            && kinds.contains(&"text.done")
            && kinds.ends_with(&["end", "result"]),
        "{kinds:?}"
    );
    let result = &lines.last().unwrap()["result"];
    assert_eq!(
        (&result["output"], &result["sessionId"]),
        (&json!("And it stays so."), &json!(session))
    );
    // A question is answered over HTTP.
    let body = ask("[demo: ask Bash {\"command\":\"rm -r build\"}] [demo: say Removed.]");
    let body = body.to_string();
    let accepted =
        gateway.json("/api/execute", &["--header", "Prefer: respond-async", "--data", &body]);
    let job = format!("/api/jobs/{}", accepted["jobId"].as_str().unwrap());
    let asks = office.wait_for("the question", || {
        Some(gateway.json(&job, &[])).filter(|it| it["state"] == "asking")
    });
    assert_eq!(asks["ask"]["input"]["command"], "rm -r build");
    let request = asks["ask"]["requestId"].as_str().unwrap();
    let taken =
        gateway.post(&format!("{job}/permissions/{request}"), &json!({ "answer": "allow" }));
    assert_eq!(taken, json!({ "success": true }));
    assert_eq!(gateway.json(&format!("{job}?wait=60"), &[])["state"], "done");
    // One that runs is stopped, and what it was asked in its environment is seen beside the office's other desks.
    let body = ask("[demo: slow 60s] tell me everything").to_string();
    let accepted =
        gateway.json("/api/execute", &["--header", "Prefer: respond-async", "--data", &body]);
    let id = accepted["jobId"].as_str().unwrap();
    office.wait_for("the turn", || {
        Some(gateway.json(&format!("/api/jobs/{id}"), &[])).filter(|it| it["startedAt"].is_u64())
    });
    assert_eq!(gateway.json("/api/containers/dev", &[])["turns"], 1);
    let dashboard = Service::start(&office, "tinyclaw-dashboard", &[]);
    let running = format!("api.dev.{}", accepted["sessionId"].as_str().unwrap());
    let threads = dashboard.curl("/api/threads", &[]);
    assert!(threads.contains(&thread) && threads.contains(&running), "{threads}");
    let stopped = gateway.json(&format!("/api/jobs/{id}/cancel?wait=60"), &["--request", "POST"]);
    assert_eq!(
        (&stopped["state"], &stopped["result"]["success"]),
        (&json!("stopped"), &json!(false))
    );
    assert_eq!(gateway.json("/api/containers/dev", &[])["turns"], 0);
    // As OpenAI's clients ask.
    let body =
        json!({ "model": "auto", "messages": [{ "role": "user", "content": "[demo: say Yes.]" }] });
    let told = gateway.post("/v1/chat/completions", &body);
    assert_eq!(told["choices"][0]["message"]["content"], "Yes.", "{told}");
    // Ended, the session is closed.
    let path = format!("/api/sessions/dev/{session}");
    assert_eq!(gateway.json(&path, &["--request", "DELETE"]), json!({ "ok": true }));
    office.wait_for("the end of the session", || {
        let threads = office.threads();
        let thread = threads.get(&thread.parse().unwrap())?;
        (thread.status == tinyclaw_domain::ThreadStatus::Closed).then_some(())
    });
}

#[test]
fn a_prompt_by_curl_to_a_topic_shows_there_and_is_stopped_by_a_button() {
    let forum = Forum::open();
    let topic = forum.topic("calendar");
    forum.ada(Some(topic), "[demo: say I am here.]");
    forum.until("    I am here.\n");
    // The button of that turn goes with it.
    forum.until_gone("[ Stop ]");
    let chat = FORUM.to_string();
    let gateway = Service::start(&forum.office, "tinyclaw-gateway", &[("TELEGRAM_CHAT_ID", &chat)]);
    let thread = forum.office.threads().into_iter().find(|it| it.1.name == "calendar").unwrap().0;
    let path = format!("/api/threads/{thread}/messages");
    let told = gateway
        .post(&path, &json!({ "message": "[demo: hang] tell me everything", "from": "build 7" }));
    let job = format!("/api/jobs/{}", told["key"].as_str().unwrap());
    // The prompt is shown, the turn has its button, and pressing it ends the job.
    forum.until("[demo: hang] tell me everything");
    let part = forum.part("calendar");
    assert!(part.contains("build 7 (api) (over the API) writes:"), "{part}");
    forum.until("[ Stop ]");
    forum.press("Stop");
    let ended = gateway.json(&format!("{job}?wait=60"), &[]);
    assert_eq!((&ended["state"], &ended["env"]), (&json!("stopped"), &Value::Null), "{ended}");
    drop(gateway);
    forum.close();
}

/// What the documentation asks for in words, and what the demo engine understands in their place.
const PLAYED: [(&str, &str); 5] = [
    (
        "Remove the build folder.",
        "[demo: ask Bash {\\\"command\\\":\\\"rm -r build\\\"}] [demo: say Removed.]",
    ),
    ("Watch the log for an hour.", "[demo: hang]"),
    ("Is the build green?", "[demo: say It is green.]"),
    ("Run the tests.", "[demo: say 12 passed.]"),
    (
        "Write the report.",
        "[demo: write report.txt 12 passed] [demo: call send_file {\\\\\\\"path\\\\\\\":\\\\\\\"report.txt\\\\\\\"}]",
    ),
];

/// A heading of `docs/API.md`, what is run below it, and what that answers.
struct Example {
    operation: String,
    script: String,
    kind: String,
    answer: String,
}

/// The examples, in their order.
fn examples(text: &str) -> Vec<Example> {
    let (mut examples, mut operation, mut script) = (Vec::new(), String::new(), None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("### ") {
            assert!(script.is_none(), "{operation}: a script without an answer");
            operation = heading.trim_matches('`').to_owned();
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|it| *it != "```").collect();
        let block = block.join("\n");
        match kind {
            "sh" => script = Some(block),
            _ => examples.push(Example {
                operation: operation.clone(),
                script: script.take().unwrap_or_else(|| panic!("{operation}: nothing was asked")),
                kind: kind.to_owned(),
                answer: block,
            }),
        }
    }
    examples
}

/// Whether what is shown is there, and of that kind; of a list its first.
fn shown(place: &str, wanted: &Value, told: &Value) -> Result<(), String> {
    match (wanted, told) {
        (Value::Object(wanted), Value::Object(members)) => {
            wanted.iter().try_for_each(|(name, wanted)| {
                let place = format!("{place}/{name}");
                shown(
                    &place,
                    wanted,
                    members.get(name).ok_or_else(|| format!("{place} is not there: {told}"))?,
                )
            })
        }
        (Value::Array(wanted), Value::Array(items)) => match (wanted.first(), items.first()) {
            (Some(wanted), Some(told)) => shown(&format!("{place}/0"), wanted, told),
            (Some(_), None) => Err(format!("{place} is empty")),
            (None, _) => Ok(()),
        },
        // Null: it may be, and need not.
        (Value::Null, _) => Ok(()),
        // What is one of few words is this one.
        (Value::String(wanted), Value::String(_))
            if ["state", "type", "object", "isolation", "code"]
                .iter()
                .any(|it| place.ends_with(it)) =>
        {
            if *told == wanted.as_str() {
                Ok(())
            } else {
                Err(format!("{place} is {told} and not {wanted:?}"))
            }
        }
        _ => {
            let same = std::mem::discriminant(wanted) == std::mem::discriminant(told)
                && (!wanted.is_boolean() || wanted == told);
            if same { Ok(()) } else { Err(format!("{place} is {told}, shown as {wanted}")) }
        }
    }
}

/// The objects in what a stream printed, line by line, as JSON or as an event stream.
fn streamed(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|it| it.strip_prefix("data: ").unwrap_or(it));
    lines.filter_map(|it| serde_json::from_str(it).ok()).filter(Value::is_object).collect()
}

#[test]
fn every_address_is_asked_by_curl_as_the_documentation_shows_it() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut text = std::fs::read_to_string(docs.join("API.md")).unwrap();
    for (words, played) in PLAYED {
        assert!(text.contains(words), "{words} is asked nowhere");
        text = text.replace(words, played);
    }
    let examples = examples(&text);
    // It shows every operation that there is, and no other.
    let document: Value =
        serde_json::from_slice(&std::fs::read(docs.join("openapi.json")).unwrap()).unwrap();
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, it)| {
        it.as_object()
            .unwrap()
            .keys()
            .map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    let told: BTreeSet<String> = operations.collect();
    let asked: BTreeSet<String> = examples.iter().map(|it| it.operation.clone()).collect();
    assert_eq!(asked, told);

    let office = Office::open();
    envs(&office);
    office.set(&json!({ "gateway": { "webhookHosts": ["127.0.0.1:9"] } }));
    let sh = |script: &str| {
        let programs = program("tinyclaw").parent().unwrap().display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
        let mut sh = Command::new("sh");
        sh.arg("-euc").arg(script).env("PATH", path).env("TINYCLAW_DIR", office.path("state"));
        sh.output().unwrap()
    };
    // The token, as it is made there: before the gateway starts, which then has read it.
    let made = text.lines().find(|it| it.trim().starts_with("TOKEN=")).unwrap();
    let made = sh(&format!("{made}; printf %s \"$TOKEN\""));
    let token = String::from_utf8(made.stdout).unwrap();
    assert!(token.starts_with("tc_"), "{token}{}", String::from_utf8_lossy(&made.stderr));
    let gateway = Service::start(&office, "tinyclaw-gateway", &[]);
    let mut script = format!(
        "URL={}\nAUTH='Authorization: Bearer {token}'\nJSON='Content-Type: application/json'\n\
         curl() {{ command curl --silent --show-error --fail-with-body --max-time 120 --noproxy '*' \"$@\"; }}\n",
        gateway.url
    );
    for it in &examples {
        script.push_str(&format!("{}\nprintf '\\n%s\\n' '{MARK}'\n", it.script));
    }
    let output = sh(&script);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<&str> = said.split(MARK).collect();
    for (example, answer) in examples.iter().zip(&answers) {
        let Example { operation, kind, answer: wanted, .. } = example;
        let answer = answer.trim();
        let judged = match kind.as_str() {
            "json" => match (serde_json::from_str(wanted), serde_json::from_str(answer)) {
                (Ok(wanted), Ok(told)) => shown("", &wanted, &told),
                (wanted, told) => Err(format!("no JSON: {wanted:?} {told:?}")),
            },
            // Each in its turn; others may stand between.
            "jsonl" => {
                let mut told = streamed(answer).into_iter();
                streamed(wanted).iter().try_for_each(|wanted| {
                    let is_it = |it: Value| shown("", wanted, &it).is_ok();
                    told.any(is_it).then_some(()).ok_or_else(|| format!("{wanted} does not come"))
                })
            }
            "text" if answer.contains(wanted.as_str()) => Ok(()),
            _ => Err("it says something else".to_owned()),
        };
        if let Err(why) = judged {
            panic!("{operation}: {why}\n{answer}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(
        answers.len(),
        examples.len() + 1,
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}", output.status);
}

/// A Claude that starts in a folder ends the one that is there: the second session ended the first one's turn.
#[test]
fn two_sessions_of_one_folder_wait_for_each_other() {
    let office = Office::open();
    let folder = office.path("work/shared");
    std::fs::create_dir(&folder).unwrap();
    let envs = json!({ "dev": { "isolation": "none", "cwd": folder, "permission": "ask" } });
    std::fs::write(office.path("state/envs.json"), envs.to_string()).unwrap();
    let gateway = Service::start(&office, "tinyclaw-gateway", &[]);
    let begin = |prompt: &str| {
        let body = json!({ "env": "dev", "prompt": prompt }).to_string();
        let told =
            gateway.json("/api/execute", &["--header", "Prefer: respond-async", "--data", &body]);
        told["jobId"].as_str().unwrap().to_owned()
    };
    let first = begin("[demo: ask Bash {\"command\":\"make\"}] [demo: say The first.]");
    let asks = office.wait_for("the question", || {
        Some(gateway.json(&format!("/api/jobs/{first}"), &[])).filter(|it| it["state"] == "asking")
    });
    let second = begin("[demo: say The second.]");
    let key = second.parse().unwrap();
    office.wait_for("the second to wait", || {
        let trouble = office.progress(&key)?.trouble?;
        trouble.contains("Another thread works in").then_some(())
    });
    let request = asks["ask"]["requestId"].as_str().unwrap();
    let path = format!("/api/jobs/{first}/permissions/{request}");
    assert_eq!(gateway.post(&path, &json!({ "answer": "allow" })), json!({ "success": true }));
    for (job, output) in [(first, "The first."), (second, "The second.")] {
        let told = gateway.json(&format!("/api/jobs/{job}?wait=60"), &[]);
        let result = &told["result"];
        assert!(result["output"].as_str().is_some_and(|it| it.contains(output)), "{told}");
    }
}

#[test]
fn an_environment_spends_its_budget_and_no_more() {
    let mut office = Office::open();
    let envs = json!({ "dev": { "isolation": "none", "budgetPerDay": 0.5 } });
    std::fs::write(office.path("state/envs.json"), envs.to_string()).unwrap();
    let gateway = Service::start(&office, "tinyclaw-gateway", &[]);
    let ask =
        |prompt: &str| gateway.post("/api/execute", &json!({ "env": "dev", "prompt": prompt }));
    let told = ask("[demo: cost 0.6] [demo: say Dear.]");
    assert_eq!(told["success"], true, "{told}");
    let told = ask("[demo: say More.]");
    assert_eq!((&told["status"], &told["code"]), (&json!(402), &json!("budget_spent")), "{told}");
    // What came in by another way, or waited while the money went, is not asked either.
    let reply = office.ask("api.dev", "[demo: say More.]");
    assert!(
        reply.text.starts_with("The budget of environment dev for today is spent"),
        "{}",
        reply.text
    );
    let reply = office.ask("7", "[demo: say Others go on.]");
    assert_eq!(reply.text, "Others go on.");
}

#[test]
fn a_session_that_is_forgotten_leaves_its_thread_and_its_home_nowhere() {
    let mut office = Office::open();
    envs(&office);
    let gateway = Service::start(&office, "tinyclaw-gateway", &[]);
    let told = gateway.post("/api/execute", &json!({ "env": "dev", "prompt": "[demo: say Yes.]" }));
    let thread = format!("api.dev.{}", told["sessionId"].as_str().unwrap());
    let home = office.state().home(&thread.parse().unwrap());
    assert!(home.is_dir());
    for (thread, is_forgotten) in
        [(&*thread, true), (&*thread, true), ("7", false), ("api.dev", false)]
    {
        let mut order = office.message(thread, "");
        order.command = Some(tinyclaw_domain::Command::Forget {});
        let key = office.publish(order);
        let reply = office.answer(&key);
        assert_eq!(reply.silent, is_forgotten, "{thread}: {}", reply.text);
    }
    assert!(!office.threads().contains_key(&thread.parse().unwrap()));
    assert!(!home.exists());
}
