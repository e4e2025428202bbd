//! A whole office whose desks are users of their own, on a fake Telegram and a fake GitHub: what desks have in an office of one
//! user they have there. Needs root, and says by name that a case is not tried where it is not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;

use nix::unistd::Uid;
use serde_json::Value;
use tinyclaw_domain::{
    Effort, Health, Model, PermissionAnswer, PermissionMode, Place, Progress, SessionId, ThreadId,
    Trust,
};
use tinyclaw_e2e::github::GitHub;
use tinyclaw_e2e::{Forum, Office, signal};
use tinyclaw_engine::{
    Content, Desk, Engine, EngineConfig, SessionSpec, Trace, Turn, TurnEvent, TurnFailure,
    TurnOutcome, TurnRequest, Users,
};
use tinyclaw_testkit::telegram::{ADA, FORUM};

use crate::den::{open_ground, ours};
use crate::warden::{House, Numbers};

/// An office that has not started. `None`: this process is not root.
fn prepared(case: &str, env: &[(&str, &str)]) -> Option<(Office, Numbers)> {
    if !Uid::effective().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: {case}: not root, or no setpriv, so there is one user");
        return None;
    }
    let numbers = Numbers::take();
    let dir = tempfile::Builder::new().prefix("whole-").tempdir_in(open_ground()).expect("dir");
    let bot = ours("tinyclaw-bot");
    let programs = bot.parent().expect("a folder");
    Some((Office::of_users(dir, programs, numbers.first, env), numbers))
}

/// The threads, as the processor keeps them.
fn threads(office: &Office) -> Value {
    let text = fs::read(office.state().threads()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The topics of a repository's threads, in the order in which they were made.
fn topics_of(forum: &Forum, repo: &str, count: usize) -> Vec<i64> {
    let found = || {
        let all = threads(&forum.office);
        let of = all.as_object()?.iter().filter(|it| it.1["repo"] == repo);
        let mut topics: Vec<i64> = of.filter_map(|it| it.0.parse().ok()).collect();
        topics.sort_unstable();
        (topics.len() == count).then_some(topics)
    };
    forum.office.wait_for("the desks of a repository", found)
}

fn processor(forum: &Forum) -> Option<Health> {
    let text = fs::read(forum.office.state().health("processor")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// When the question that is open was put; its id.
fn question(forum: &Forum, since: u64) -> (u64, String) {
    forum.office.wait_for("the question", || {
        let running = fs::read_dir(forum.office.state().progresses()).ok()?.flatten();
        let asks = running.filter_map(|it| {
            serde_json::from_slice::<Progress>(&fs::read(it.path()).ok()?).ok()?.asks
        });
        asks.map(|it| (it.at, it.request_id)).find(|it| it.0 > since)
    })
}

#[test]
fn desks_that_are_users_have_repositories_files_summaries_and_the_offices_skills() {
    let case = "desks_that_are_users_have_repositories_files_summaries_and_the_offices_skills";
    // Readable by the office's user.
    let github = GitHub::open(&["acme/site"]);
    let ada = ADA.to_string();
    let mut env = github.env().to_vec();
    env.push(("TINYCLAW_ADMINS", &ada));
    let Some((office, _numbers)) = prepared(case, &env) else { return };
    github.open_to_all();
    let skill = office.path("state/office/skills/greet/SKILL.md");
    fs::create_dir_all(skill.parent().expect("a folder")).expect("folder");
    fs::write(&skill, "Say hello.").expect("skill");
    let forum = Forum::over(office);

    // Two threads on one repository: a clone each, by a capability of its own.
    for _ in 0..2 {
        forum.ada(None, "/new acme/site");
    }
    let topics = topics_of(&forum, "acme/site", 2);
    let all = threads(&forum.office);
    let mut users = Vec::new();
    for (count, topic) in topics.iter().enumerate() {
        let thread = &all[topic.to_string()];
        let number = thread["deskNumber"].as_u64().expect("a number") as u32;
        let readme = format!("{}/README.md", thread["cwd"].as_str().expect("a folder"));
        let owner = fs::metadata(&readme).expect("a checkout").uid();
        assert_eq!(owner, 20_000 + number);
        assert!(readme.contains(&format!("/desks/{number}/work/acme/site/")), "{readme}");
        users.push(owner);
        // Its file goes out, and its capability is one.
        forum.ada(Some(*topic), "[demo: call send_file {\"path\":\"README.md\"}]");
        forum.found("the file", |it| {
            (it.transcript(FORUM).matches("<document README.md>").count() > count).then_some(())
        });
    }
    assert_ne!(users[0], users[1]);
    let tokens = github.audit();
    for topic in &topics {
        let thread = topic.to_string();
        let is_its = |it: &&Value| it["thread"] == thread && it["decision"] == "granted";
        assert!(tokens.iter().any(|it| is_its(&it)), "{tokens:?}");
    }

    // The office's skills: read by every desk, written by none.
    let shown = forum.office.wait_for("the office's skills", || {
        let copies = fs::read_dir(forum.office.path("desks/office")).ok()?.flatten();
        let skill = |it: fs::DirEntry| it.path().join("office/skills/greet/SKILL.md");
        copies.map(skill).find(|it| it.is_file())
    });
    let (shown, topic) = (shown.display(), topics[0]);
    let asked = format!("[demo: open {shown}] [demo: touch {shown}]");
    forum.ada(Some(topic), &asked);
    let said = forum.until(&format!("{shown}: can be read"));
    assert!(!said.contains(&format!("{shown}: can be written")), "{said}");
    assert_eq!(fs::read_to_string(shown.to_string()).expect("a skill"), "Say hello.");

    // What was said outlives its session.
    forum.ada(Some(topic), "[demo: say Blue it is.] we chose blue for the door");
    forum.until("    Blue it is.\n");
    forum.ada(Some(topic), "/reset");
    let summaries = forum.office.path(&format!("state/memory/summaries/{topic}"));
    forum.office.wait_for("a summary", || {
        let count = fs::read_dir(&summaries).ok()?.count();
        (count == 1).then_some(())
    });
    assert!(!forum.office.log().contains("ends without a summary"), "{}", forum.office.log());
    // Its desks wait for their next words: each is ended together with its hub, which nobody misses.
    let said = forum.close();
    assert!(!said.contains("out of reach"), "{said}");
}

#[test]
fn a_turn_of_a_desk_that_is_a_user_outlives_its_processor_and_anothers_stop() {
    let case = "a_turn_of_a_desk_that_is_a_user_outlives_its_processor_and_anothers_stop";
    let Some((office, _numbers)) = prepared(case, &[]) else { return };
    let forum = Forum::over(office);
    let (asking, slow) = (forum.topic("asking"), forum.topic("slow"));
    forum.ada(Some(asking), "[demo: ask] [demo: cost 0.25] tidy up");
    forum.until("[ Allow ]");
    let (at, id) = question(&forum, 0);
    forum.ada(Some(slow), "[demo: slow 100s] [demo: say A long story.]");
    forum.until("[ Stop ] [ Steer ]");
    forum.ada(Some(slow), "/stop");
    forum.until("The session is kept.");

    let died = forum.office.wait_for("the processor's word", || processor(&forum)).pid;
    signal(died, "KILL");
    forum.office.wait_for("its successor", || {
        processor(&forum).filter(|it| it.pid != died && it.ready).map(drop)
    });
    let (_, again) = question(&forum, at);
    assert_eq!(again, id, "the same question");
    forum.press("Allow");
    forum.until("You allowed it");
    let costs = || {
        let lines = forum.office.lines("message-history.jsonl");
        let costs = lines.iter().filter_map(|it| it["costUsd"].as_f64()).filter(|it| *it > 0.0);
        (costs.collect::<Vec<_>>() == [0.25]).then_some(())
    };
    forum.office.wait_for("the bill", costs);
    let asked = |it: &&Value| it.to_string().contains("tidy up");
    assert_eq!(forum.office.prompts().iter().filter(asked).count(), 1, "asked once");
    forum.close();
}

/// The engine of one of the office's processors, without the rest of it: a processor waits 25 seconds for its turns.
#[test]
fn a_turn_that_a_processor_leaves_is_not_ended_with_the_other_desks() {
    let case = "a_turn_that_a_processor_leaves_is_not_ended_with_the_other_desks";
    let Some(house) = House::open(case) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _in_it = runtime.enter();
    let uuid = |number: u32| format!("00000000-0000-4000-8000-{number:012}");
    let request = |thread: u32, text: &str| {
        let at = house.folder(thread);
        TurnRequest {
            session: SessionSpec {
                thread: ThreadId::topic(thread),
                id: uuid(thread).parse::<SessionId>().expect("a session"),
                place: Place::Here,
                cwd: at.join("work"),
                permission_mode: PermissionMode::Ask,
                system_prompt: String::new(),
                tools: Arc::new([]),
                servers: Arc::default(),
                model: Model::SONNET,
                effort: Effort::High,
                trust: Trust::Text,
                skills: None,
                is_attended: true,
            },
            key: "cli-1".parse().expect("a key"),
            uuid: uuid(10 + thread),
            content: vec![Content::Text(text.to_owned())],
        }
    };
    let engine = || {
        let users = Users::new(house.client.clone(), house.path("desks"));
        for thread in [7, 8] {
            users.seat(&ThreadId::topic(thread), house.desk(thread));
        }
        let programs = (ours("tinyclaw-demo-engine"), ours("tinyclaw-leash"));
        let config =
            EngineConfig::new(programs.0, programs.1, house.path("state"), house.path("home"));
        Engine::new(EngineConfig { users: Some(users), ..config })
    };
    let first = engine();
    let idle = runtime.block_on(first.turn(request(8, "[demo: spawn 600s] hello")).end());
    assert_eq!(idle.expect("an end").outcome, TurnOutcome::Answered);
    let asking = request(7, "[demo: ask] [demo: cost 0.25]");
    let mut turn = first.turn(asking.clone());
    let ask = runtime.block_on(asked(&mut turn));
    runtime.block_on(async {
        first.leave().await;
        let end = turn.end().await.expect("an end");
        assert_eq!(end.outcome, TurnOutcome::Failed(TurnFailure::Closing));
        first.close().await;
    });
    assert_eq!(house.pids(8), [] as [u32; 0], "a desk without a turn is ended");
    assert!(!house.pids(7).is_empty(), "the turn goes on");
    drop(first);
    let second = engine();
    let again = TurnRequest { content: Vec::new(), ..asking };
    let desk = Desk::here(&again.session.thread, &again.session.cwd);
    let trace = runtime.block_on(second.trace(&desk, &again.session.id, &again.uuid));
    assert_eq!(trace.expect("in reach"), Trace::Running);
    let mut turn = second.turn(again);
    assert_eq!(runtime.block_on(asked(&mut turn)), ask, "the same question");
    turn.control().answer_permission(&ask, PermissionAnswer::Allow);
    let end = runtime.block_on(turn.end()).expect("an end");
    assert_eq!((end.outcome, end.cost_usd), (TurnOutcome::Answered, 0.25));
    runtime.block_on(second.close());
    assert_eq!(house.pids(7), [] as [u32; 0], "nobody is left");
}

/// The id of the question that a turn puts.
async fn asked(turn: &mut Turn) -> String {
    loop {
        match turn.next().await.expect("the turn goes on") {
            TurnEvent::Asking { ask } => return ask.request_id,
            TurnEvent::Ended(end) => panic!("the turn ended first: {end:?}"),
            _ => {}
        }
    }
}
