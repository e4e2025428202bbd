//! The doctor over real folders and a real processor: what it says is what is there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tinyclaw_domain::{Channel, Key, Message, STOPPED_WAITING, ThreadId};
use tinyclaw_engine::PINNED_VERSION;
use tinyclaw_queue::{Durability, Options, Queue, Side};

use crate::Office;

/// What was found, by part; a part that was found several ways has several.
struct Found(Vec<Value>, Option<i32>);

impl Found {
    fn by(office: &Office, variables: &[(&str, &str)]) -> Found {
        let mut command = office.command(&["doctor", "--json"]);
        let output = command.envs(variables.iter().copied()).output().expect("tinyclaw runs");
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
        for it in &all {
            let is_arrowed = it["wayOut"].as_str().is_some_and(|it| !it.is_empty());
            assert!(it["state"] == "ok" || is_arrowed, "every failure has its arrow: {it}");
        }
        Found(all, output.status.code())
    }

    #[track_caller]
    fn says(&self, part: &str, state: &str, why: &str) -> &Value {
        let fits = |it: &&Value| {
            it["part"] == part
                && it["state"] == state
                && it["why"].as_str().is_some_and(|it| it.contains(why))
        };
        self.0.iter().find(fits).unwrap_or_else(|| panic!("{part} {state} {why}: {:#?}", self.0))
    }

    fn broken(&self) -> Vec<&str> {
        let is_broken = |it: &&Value| it["state"] == "broken";
        self.0.iter().filter(is_broken).filter_map(|it| it["part"].as_str()).collect()
    }
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn beside_a_running_office_nothing_is_broken_and_nothing_is_left_behind() {
    let mut office = Office::open();
    office.run(&["send", "--wait", "hello"]).ok();
    let before = office.place.files();
    let found = Found::by(&office, &[("DASHBOARD_LISTEN", &nobody())]);
    assert_eq!((found.broken(), found.1), (vec![], Some(0)), "{:#?}", found.0);
    found.says("processor", "ok", "up for");
    found.says("claude", "ok", "demo engine");
    found.says("queue", "ok", "0 waiting");
    found.says("dashboard", "warning", "nobody answers");
    found.says("threads", "ok", "1 thread");
    assert_eq!(office.place.files(), before);
    let said = office.run(&["doctor"]).ok();
    let line = said.lines().next().expect("a line");
    assert!(line.starts_with("ok    state folder  "), "{line}");
    assert!(said.lines().any(|it| it.starts_with("      → ")), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours through a pipe");
    let mut processor = office.processor.take().expect("a processor");
    let pid = Pid::from_raw(processor.id().cast_signed()).expect("a pid");
    kill_process(pid, Signal::TERM).expect("kill");
    processor.wait().expect("wait");
    Found::by(&office, &[]).says("processor", "warning", "has just stopped");
}

#[test]
fn a_service_that_was_started_again_is_told() {
    let office = Office::closed();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("time").as_millis();
    let body = |ended_at: u128| {
        format!(
            r#"{{"service":"bot","services":{{"processor":{{"alive":true,"ready":true,"pid":7,"startedAt":1,"restarts":2,"endedAt":{ended_at},"ended":"killed by SIGKILL"}},"telegram":{{"alive":true,"ready":true,"pid":8,"startedAt":1,"restarts":0}}}}}}"#
        )
    };
    let said = Arc::new(Mutex::new(body(now)));
    let saying = said.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a visitor");
            // All of the question: what is not read when a connection ends takes the answer with it.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                asked.extend(byte);
            }
            let body = saying.lock().expect("what is said");
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n{body}");
        }
    });
    let found = |body: String| {
        *said.lock().expect("what is said") = body;
        Found::by(&office, &[("TINYCLAW_HEALTH_LISTEN", &address)])
    };
    let now_there = found(body(now));
    let told = now_there.says("bot", "warning", "processor was started again 2 times; it ended ");
    assert!(
        told["why"].as_str().is_some_and(|it| it.ends_with(" ago: killed by SIGKILL")),
        "{told}"
    );
    assert!(told["wayOut"].as_str().is_some_and(|it| it.contains("queue")), "{told}");
    found(body(now - 25 * 60 * 60 * 1000)).says("bot", "ok", "its services have stayed");
    let strange = found("{}".to_owned());
    assert!(!strange.0.iter().any(|it| it["part"] == "bot"), "somebody else listens there");
}

#[test]
fn where_there_is_nothing_it_says_so_and_makes_nothing() {
    let office = Office::closed();
    let elsewhere = office.place.path("elsewhere");
    let found = Found::by(&office, &[("TINYCLAW_DIR", elsewhere.to_str().expect("path"))]);
    assert_eq!((found.broken(), found.1), (vec!["state folder"], Some(1)));
    found.says("processor", "warning", "never ran");
    assert!(!elsewhere.exists());
}

#[test]
fn every_mistake_in_the_settings_has_its_line() {
    let office = Office::closed();
    office.settings(
        r#"{"timezoen": "UTC", "engine": {"warmMax": 900}, "heartbeat": {"interval": "soon"}}"#,
    );
    let found = Found::by(&office, &[]);
    assert_eq!((found.broken(), found.1), (vec!["settings"; 3], Some(1)));
    for (key, why) in
        [("timezoen", "did you mean timezone"), ("warmMax", "900"), ("interval", "soon")]
    {
        let it = found.says("settings", "broken", why);
        assert!(it["wayOut"].as_str().is_some_and(|it| it.contains(key)), "{it}");
    }
    office.settings("{,}");
    Found::by(&office, &[]).says("settings", "broken", "not JSON");
    office
        .settings(r#"{"telegram": {"botToken": "123456:AAAAAAAAAAAAAAAAAAAA"}, "model": "opus"}"#);
    let path = office.place.path("state/settings.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
    let found = Found::by(&office, &[]);
    found.says("settings", "warning", "means nothing any more");
    let it = found.says("settings", "warning", "everybody may read it");
    assert!(it["wayOut"].as_str().is_some_and(|it| it.starts_with("chmod o= ")), "{it}");
    found.says("telegram", "broken", "nobody may speak");
}

#[test]
fn a_queue_that_nobody_works_on_and_one_that_is_full_are_broken() {
    let office = Office::closed();
    office.run(&["send", "--thread", "7", "hello"]).ok();
    let found = Found::by(&office, &[]);
    assert_eq!(found.broken(), ["queue"]);
    found.says("queue", "broken", "nobody works on them");
    let options = Options { watch: false, ..Options::default() };
    let queue = Queue::open(&office.place.state(), options).expect("the queue");
    for it in 0.. {
        let key = Key::hashed("cli", &format!("fill-{it}"));
        let message = Message::new(key, Channel::Cli, ThreadId::topic(7), "hello", 1);
        if queue.publish(Side::Run, message, Durability::None).is_err() {
            break;
        }
    }
    Found::by(&office, &[]).says("queue", "broken", "thread 7 is full: 200 wait");
}

#[test]
fn what_was_given_up_or_put_aside_is_counted_with_the_command_that_shows_it() {
    let office = Office::closed();
    let key = office.run(&["send", "hello"]).ok();
    office.run(&["queue", "bury", key.trim()]).ok();
    fs::write(office.place.path("state/queue/quarantine/odd.txt"), "x").expect("file");
    let stopped = office.run(&["send", "never mind"]).ok();
    office.run(&["queue", "bury", stopped.trim(), "--reason", STOPPED_WAITING]).ok();
    let found = Found::by(&office, &[]);
    let dead = found.says("queue", "warning", "1 message given up");
    assert_eq!(dead["wayOut"], "tinyclaw queue ls dead");
    let odd = found.says("queue", "warning", "1 file set aside");
    assert_eq!(odd["wayOut"], "tinyclaw queue ls quarantine");
    assert_eq!(found.1, Some(0), "a person should look, and everything works");
}

#[test]
fn a_folder_of_somebody_else_is_told_by_its_owner() {
    let office = Office::closed();
    let state = office.place.state();
    if rustix::process::geteuid().is_root() {
        office.run(&["send", "hello"]).ok();
        let somebody = Some(rustix::fs::Uid::from_raw(12_345));
        rustix::fs::chown(&state, somebody, None).expect("chown");
        let it = Found::by(&office, &[]);
        let it = it.says("state folder", "broken", "belongs to user 0, the folder to 12345");
        assert!(
            it["wayOut"].as_str().is_some_and(|it| it.starts_with("sudo chown -R 12345 ")),
            "{it}"
        );
    } else {
        fs::set_permissions(&state, fs::Permissions::from_mode(0o555)).expect("mode");
        Found::by(&office, &[]).says("state folder", "broken", "nothing can be written");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("mode");
    }
}

#[test]
fn threads_that_share_a_folder_or_lie_in_the_state_are_named() {
    let office = Office::closed();
    let path = office.place.path("state/threads.json");
    let at = |below: &str| office.place.path(below).display().to_string();
    let threads = |one: &str, other: &str| {
        serde_json::json!({
            "7": { "name": "website", "cwd": at(one) },
            "8": { "name": "docs", "cwd": at(other) },
        })
    };
    for dir in ["work/7", "work/8/deep"] {
        fs::create_dir_all(at(dir)).expect("folder");
    }
    fs::write(&path, threads("work/7", "work/8").to_string()).expect("threads");
    Found::by(&office, &[]).says("threads", "ok", "2 threads");
    fs::write(&path, threads("work/8/deep", "work/8").to_string()).expect("threads");
    let why = "threads 7 (website) and 8 (docs) share";
    Found::by(&office, &[]).says("threads", "warning", why);
    fs::write(&path, threads("work/7", "state").to_string()).expect("threads");
    Found::by(&office, &[]).says("threads", "warning", "thread 8 (docs) has no folder to work in");
}

#[test]
fn a_broken_threads_file_and_a_folder_that_is_gone_are_named() {
    let office = Office::closed();
    let path = office.place.path("state/threads.json");
    fs::write(&path, r#"{"7": {"name": "website", "cwd": "/nowhere/website"}}"#).expect("threads");
    let found = Found::by(&office, &[]);
    found.says("threads", "warning", "7 (website) in /nowhere/website is not here");
    fs::write(&path, "{,}").expect("threads");
    Found::by(&office, &[]).says("threads", "broken", "is not JSON");
    assert_eq!(fs::read_to_string(&path).expect("threads"), "{,}", "it is only looked at");
}

#[test]
fn the_broker_is_asked_and_its_reason_told() {
    let office = Office::closed();
    let address = nobody();
    let url = format!("http://{address}");
    let found = Found::by(&office, &[("CREDENTIAL_BROKER_URL", &url)]);
    found.says("broker", "broken", "refused");
    let audit = office.place.path("audit.jsonl").display().to_string();
    let mut broker = std::process::Command::new(crate::beside("tinyclaw-broker"))
        .env_clear()
        .envs([("BROKER_LISTEN", address.as_str()), ("BROKER_AUDIT", &audit)])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the broker starts");
    office.wait_for("the broker", || std::net::TcpStream::connect(&address).ok());
    let found = Found::by(&office, &[("CREDENTIAL_BROKER_URL", &url)]);
    let named = Found::by(&office, &[("CREDENTIAL_BROKER_URL", &url), ("GITHUB_APP_ID", "4711")]);
    broker.kill().expect("kill");
    broker.wait().expect("wait");
    found.says("broker", "ok", "no GitHub App is named to it");
    found.says("github", "ok", "off");
    named.says("broker", "broken", "GITHUB_APP_ID is not set");
}

#[test]
fn claude_is_asked_for_its_version_and_one_that_is_none_is_told() {
    let office = Office::closed();
    let program = office.place.path("home/claude");
    let key = ("ANTHROPIC_API_KEY", "sk-ant-api03-secretsecret-1234");
    let set = office.place.path("home/claude").display().to_string();
    let environment = [("TINYCLAW_ENGINE_KIND", "claude"), ("TINYCLAW_ENGINE_CLAUDE", &set), key];
    let as_tested = format!("echo '{PINNED_VERSION} (Claude Code)'");
    let other = format!(" ago; {PINNED_VERSION} was tested");
    for (script, state, why) in [
        (as_tested.as_str(), "ok", ", as tested"),
        ("echo '3.0.0 (Claude Code)'", "warning", other.as_str()),
        ("echo hello; exit 3", "broken", "is no claude CLI"),
    ] {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
        let found = Found::by(&office, &environment);
        found.says("engine", state, why);
        assert!(
            !found.0.iter().any(|it| it.to_string().contains("secretsecret")),
            "no secret is shown"
        );
    }
}

#[test]
fn what_a_repository_may_run_and_what_claude_says_that_nobody_knows_are_told() {
    let office = Office::closed();
    let program = office.place.path("home/claude");
    fs::write(&program, format!("#!/bin/sh\necho '{PINNED_VERSION} (Claude Code)'\n"))
        .expect("script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
    let set = program.display().to_string();
    let claude = [("TINYCLAW_ENGINE_KIND", "claude"), ("TINYCLAW_ENGINE_CLAUDE", set.as_str())];
    let engine = |found: &Found| found.0.iter().filter(|it| it["part"] == "engine").count();
    assert_eq!(engine(&Found::by(&office, &claude)), 1, "by default there is nothing to warn of");

    let sources = ("TINYCLAW_ENGINE_SETTING_SOURCES", "project, local");
    let found = Found::by(&office, &[claude[0], claude[1], sources]);
    found.says("engine", "warning", "engine.settingSources is project,local");

    let health = serde_json::json!({
        "service": "processor", "version": "1", "pid": 1, "startedAt": 1, "at": 1, "alive": true,
        "ready": true, "why": [], "numbers": { "claudeUnknownLines": { "command_lifecycle": 3 } },
    });
    fs::create_dir_all(office.place.path("state/health")).expect("folder");
    fs::write(office.place.path("state/health/processor.json"), health.to_string())
        .expect("health");
    let found = Found::by(&office, &claude);
    found.says("engine", "ok", "command_lifecycle (3×)");

    let plan = office.place.path("state/plan.json");
    let window = |used: f64| serde_json::json!({ "used": used, "resetsAt": 9_000_000_000_u64 });
    for (used, state) in [(0.31, "ok"), (0.8, "warning")] {
        let told = serde_json::json!({ "at": 1, "windows": { "five_hour": window(used) } });
        fs::write(&plan, told.to_string()).expect("plan");
        let words = format!("{:.0} % of 5 hours (new on ", used * 100.0);
        Found::by(&office, &claude).says("plan", state, &words);
    }
    fs::write(&plan, "{ no JSON").expect("plan");
    Found::by(&office, &claude).says("plan", "warning", "plan.json");
}

#[test]
fn the_numbers_are_measured_or_the_reason_is_told() {
    let mut office = Office::closed();
    let temporary = office.place.path("home/tmp");
    fs::create_dir(&temporary).expect("folder");
    office.env.insert("TMPDIR".to_owned(), temporary.display().to_string());
    let facts =
        "engine\t28\nimage\tbroker\t12300000\nlayer\t5000000\tCOPY /tinyclaw /usr/local/bin/\n";
    let said = office.run_with(&["doctor", "--numbers", "--json", "--docker-facts"], facts).json();
    let numbers: BTreeMap<&str, Option<f64>> = [
        "brokerImageMb",
        "dashboardImageMb",
        "botOwnMb",
        "idleMb",
        "startToHealthyS",
        "stopS",
        "firstAnswerS",
        "helperBytes",
        "coldConnectMs",
    ]
    .into_iter()
    .map(|name| (name, said.get(name).expect("every number is named").as_f64()))
    .collect();
    assert_eq!((numbers["brokerImageMb"], numbers["dashboardImageMb"]), (Some(12.3), None));
    assert_eq!(numbers["botOwnMb"], Some(5.0));
    for name in ["idleMb", "startToHealthyS", "firstAnswerS", "helperBytes"] {
        assert!(numbers[name].is_some_and(|it| it > 0.0), "{name}: {said:#}");
    }
    assert_eq!(numbers["coldConnectMs"], None);
    assert_eq!(said["how"]["coldConnectMs"], "no devbox has answered yet");
    assert!(said["how"]["images"].as_str().is_some_and(|it| it.contains("not built")), "{said:#}");
    assert_eq!(office.place.files(), [""; 0], "the caller's office is not touched");
    assert_eq!(fs::read_dir(&temporary).expect("folder").count(), 0, "nothing is left");
}

/// The JSON of a deep look, and its exit code.
fn deep(office: &Office) -> (Value, Option<i32>) {
    let output = office.command(&["doctor", "--deep", "--json"]).output().expect("tinyclaw runs");
    (serde_json::from_slice(&output.stdout).expect("JSON"), output.status.code())
}

/// Every complaint as `path[:line]: why`.
fn wrong(found: &Value) -> Vec<String> {
    let told = |it: &Value| {
        let line = it["line"].as_u64().map_or_else(String::new, |it| format!(":{it}"));
        format!("{}{line}: {}", it["path"].as_str().unwrap(), it["why"].as_str().unwrap())
    };
    found["wrong"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn a_deep_look_reads_every_file_and_names_what_is_wrong() {
    let mut office = Office::open();
    office.run(&["send", "--wait", "hello"]).ok();
    // Told to stop, it ends the Claude that waits for the next message, too.
    let mut processor = office.processor.take().expect("a processor");
    kill_process(Pid::from_child(&processor), Signal::TERM).expect("a signal");
    processor.wait().expect("wait");
    let state = |below: &str| office.place.path("state").join(below);
    fs::create_dir_all(state("runs/held")).expect("folder");
    let listening = UnixListener::bind(state("runs/held/s")).expect("a socket");
    assert_eq!(deep(&office).1, Some(0), "where a hold listens nothing is wrong");
    drop(listening);
    fs::remove_dir_all(state("runs/held")).expect("gone");
    let (found, code) = deep(&office);
    assert_eq!((wrong(&found), code), (vec![], Some(0)), "{found:#}");
    assert_eq!(found["files"], office.place.files().len());
    assert_eq!(found["kinds"]["messages"]["files"], 1);
    assert_eq!(found["kinds"]["history"]["lines"], 2);
    assert_eq!(found["kinds"]["threads"]["checked"], 2, "the file and its copy");
    let said = office.run(&["doctor", "--deep"]).ok();
    assert!(said.contains("all of it is as it should be"), "{said}");

    // What was set aside is named once, and not called sound.
    let aside = state("queue/quarantine/odd.json");
    fs::write(&aside, "odd").expect("file");
    fs::write(state("queue/quarantine/odd.json.reason"), "no message").expect("file");
    let said = office.run(&["doctor", "--deep"]).ok();
    assert_eq!(said.matches("was set aside").count(), 1, "{said}");
    assert!(said.contains("1 set aside, the rest is as it should be"), "{said}");
    fs::remove_file(aside).expect("gone");
    fs::remove_file(state("queue/quarantine/odd.json.reason")).expect("gone");

    // One of each kind, damaged.
    let message = office.place.files().into_iter().find(|it| it.starts_with("queue/done/"));
    let message = message.expect("a message");
    let swapped = message.replace("~cli~", "~7~");
    fs::rename(state(&message), state(&swapped)).expect("rename");
    let bend = |below: &str, from: &str, to: &str| {
        let text = fs::read_to_string(state(below)).expect("text");
        assert!(text.contains(from), "{below}: {text}");
        let time = fs::metadata(state(below)).expect("there").modified().expect("time");
        fs::write(state(below), text.replacen(from, to, 1)).expect("write");
        // A disk changes no times.
        fs::File::open(state(below)).expect("open").set_modified(time).expect("time");
    };
    bend("threads.json", "\"ask\"", "\"bypass\"");
    bend("message-history.jsonl", "{\"timestamp\"", "{\"timestamq\"");
    fs::create_dir_all(state("updates")).expect("folder");
    fs::write(state("updates/7.json"), r#"{"update_id":8}"#).expect("write");
    fs::write(state("updates/6.damaged"), "?").expect("write");
    fs::write(state("telegram.json"), r#"{"v":1,"offset":5,"checksum":"00"}"#).expect("write");
    fs::write(state("health/broker.json"), "").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", state("files/link")).expect("link");
    let made = std::process::Command::new("mkfifo").arg(state("files/pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    let (found, code) = deep(&office);
    let wrong = wrong(&found);
    let starts = [
        "files/link: is a link".to_owned(),
        "files/pipe: is no regular file".to_owned(),
        "health/broker.json: is no JSON object".to_owned(),
        "message-history.jsonl:1: has not the shape".to_owned(),
        format!("{swapped}: is of thread cli, by its name of 7"),
        "telegram.json: is damaged: its checksum".to_owned(),
        "threads.json: ".to_owned(),
        "updates/7.json: is named after another".to_owned(),
    ];
    assert_eq!(wrong.len(), starts.len(), "{wrong:#?}");
    for (it, start) in wrong.iter().zip(starts) {
        assert!(it.starts_with(&start), "{it} does not start with {start}");
    }
    assert_eq!((code, &found["aside"][0]), (Some(1), &Value::from("updates/6.damaged")));
}
