//! Threads: orders about them, and what they say to each other.

use tinyclaw_domain::{Command, Model, Outcome, PermissionMode, Reply, Tier};
use tinyclaw_e2e::Office;

fn order(office: &mut Office, thread: &str, command: Command) -> Reply {
    let mut message = office.message(thread, "");
    message.command = Some(command);
    let key = office.publish(message);
    office.answer(&key)
}

fn setdir(dir: String, admin: bool) -> Command {
    Command::Setdir { dir, admin }
}

/// The directory of a thread.
fn cwd(office: &Office, thread: &str) -> String {
    office.threads()[&thread.parse().expect("thread")].cwd.clone()
}

#[test]
fn a_directory_must_exist_below_an_allowed_folder() {
    let mut office = Office::open();
    std::fs::create_dir(office.path("work/site")).expect("folder");
    let said = order(&mut office, "7", setdir("../site".to_owned(), false));
    assert!(said.text.contains("work/site` now"), "{}", said.text);
    for bad in ["nowhere", "/etc", "../../.."] {
        let said = order(&mut office, "7", setdir(bad.to_owned(), false));
        assert_eq!(said.outcome, Outcome::Failed, "{bad}");
        assert!(said.text.ends_with("Nothing was changed."), "{}", said.text);
    }
    assert!(cwd(&office, "7").ends_with("work/site"));
}

#[test]
fn every_thread_has_a_folder_of_its_own_and_only_an_admin_lets_two_share() {
    let mut office = Office::open();
    for thread in ["7", "8", "ada"] {
        office.ask(thread, "hello");
        assert!(cwd(&office, thread).ends_with(&format!("work/{thread}")));
    }
    std::fs::create_dir_all(office.path("work/7/deep")).expect("folder");
    for (dir, why) in [
        ("work/7", "is the folder of thread 7"),
        ("work/7/deep", "lies in the folder of thread 7"),
        ("work", "holds the folders of all threads"),
    ] {
        let path = office.path(dir).display().to_string();
        let said = order(&mut office, "8", setdir(path.clone(), false));
        assert_eq!(said.outcome, Outcome::Failed, "{dir}");
        assert!(said.text.contains(why) && said.text.contains("an admin may"), "{}", said.text);
        assert!(cwd(&office, "8").ends_with("work/8"));
        let said = order(&mut office, "8", setdir(path.clone(), true));
        assert_eq!(said.outcome, Outcome::Notice, "{}", said.text);
        assert!(said.text.contains(why), "{}", said.text);
        assert_eq!(cwd(&office, "8"), path);
        let own = office.path("work/8").display().to_string();
        order(&mut office, "8", setdir(own, false));
    }
    // What an admin chose is nobody else's trouble: a new thread still gets its own, and a restart changes nothing.
    let whole = office.path("work").display().to_string();
    order(&mut office, "8", setdir(whole, true));
    office.ask("9", "hello");
    assert!(cwd(&office, "9").ends_with("work/9"));
    office.stop();
    office.start();
    assert_eq!(office.ask("8", "hello").outcome, Outcome::Answered);
    assert!(cwd(&office, "8").ends_with("/work"));
}

#[test]
fn no_thread_works_in_the_state_or_around_it_whoever_says_so() {
    let mut office = Office::open();
    office.ask("7", "hello");
    std::os::unix::fs::symlink(office.path("state/queue"), office.path("work/7/site"))
        .expect("link");
    for dir in ["state", "state/queue", "state/files/7", "work/7/site", ""] {
        for admin in [false, true] {
            let path = office.path(dir).display().to_string();
            let said = order(&mut office, "7", setdir(path, admin));
            assert_eq!(said.outcome, Outcome::Failed, "{dir}: {}", said.text);
        }
    }
    assert!(cwd(&office, "7").ends_with("work/7"));
    // Put there by hand while it runs, it is that thread's trouble alone; the next start moves it out.
    office.ask("8", "hello");
    let threads = std::fs::read_to_string(office.path("state/threads.json")).expect("threads");
    let into = threads.replace("/work/7\"", "/state/queue\"");
    assert_ne!(into, threads);
    std::fs::write(office.path("state/threads.json"), into).expect("threads");
    // An edit is read before the next change is written.
    order(&mut office, "8", Command::Rename { name: "eight".to_owned() });
    let said = office.ask("7", "hello");
    assert_eq!(said.outcome, Outcome::Failed);
    assert!(said.text.contains("lies in TinyClaw's own state"), "{}", said.text);
    assert_eq!(office.ask("8", "hello").outcome, Outcome::Answered);
    office.restart_with(|_| {});
    assert_eq!(office.ask("7", "hello").outcome, Outcome::Answered);
    assert!(cwd(&office, "7").ends_with("work/7"));
}

#[test]
fn a_thread_of_before_that_had_the_whole_workspace_is_moved_with_its_session_and_told() {
    let mut office = Office::open();
    office.ask("7", "remember 4711");
    let work = office.path("work").display().to_string();
    let home = office.path("state/home/7/.claude/projects");
    std::fs::write(office.path("work/CLAUDE.md"), "Be brief.").expect("file");
    // As an office of before left it: the thread in the workspace, its session in the home that all shared.
    let session =
        office.threads()[&"7".parse().expect("thread")].session_id.clone().expect("session");
    office.stop();
    let slug = |dir: &str| dir.replace(|it: char| !it.is_ascii_alphanumeric(), "-");
    let old = office.path("home/.claude/projects").join(slug(&work));
    std::fs::create_dir_all(&old).expect("folder");
    let from = home.join(slug(&format!("{work}/7"))).join(format!("{session}.jsonl"));
    std::fs::rename(&from, old.join(format!("{session}.jsonl"))).expect("transcript");
    std::fs::remove_dir_all(office.path("state/home")).expect("homes");
    std::fs::remove_dir_all(office.path("work/7")).expect("folder");
    office.restart_with(|it| it["7"]["cwd"] = work.clone().into());
    let reply = office.ask("7", "what was it?");
    assert!(reply.text.contains("remember 4711"), "the session goes on: {}", reply.text);
    assert!(cwd(&office, "7").ends_with("work/7"));
    assert!(office.path("work/7/CLAUDE.md").is_file());
    office.ask("7", "and now?");
    let is_told = |at: usize| office.prompts()[at]["text"].to_string().contains("of its own");
    assert_eq!([is_told(1), is_told(2)], [true, false], "told once");
    let log = office.log();
    assert_eq!(log.matches("more than one desk's").count(), 1, "{log}");
}

#[test]
fn threads_that_all_had_the_whole_workspace_are_all_moved_and_who_cannot_be_is_asked_nothing() {
    let mut office = Office::open();
    for thread in ["1", "7", "8"] {
        office.ask(thread, "hello");
    }
    office.stop();
    // No name that thread 8's folder could have is free.
    std::fs::remove_dir_all(office.path("work/8")).expect("folder");
    for count in 1..=100 {
        let name = if count == 1 { "8".to_owned() } else { format!("8-{count}") };
        std::fs::write(office.path("work").join(name), "in the way").expect("file");
    }
    let work = office.path("work").display().to_string();
    office.restart_with(|it| {
        for thread in ["1", "7", "8"] {
            it[thread]["cwd"] = work.clone().into();
        }
    });
    for thread in ["1", "7"] {
        assert_eq!(office.ask(thread, "hello").outcome, Outcome::Answered);
        assert_eq!(cwd(&office, thread), format!("{work}/{thread}"));
    }
    let said = office.ask("8", "hello");
    assert_eq!(said.outcome, Outcome::Failed);
    assert!(said.text.contains("holds the folders of all threads"), "{}", said.text);
    order(&mut office, "8", setdir(work, true));
    assert_eq!(office.ask("8", "hello").outcome, Outcome::Answered, "an admin said so");
}

#[test]
fn a_pinned_thread_uses_its_model_until_it_is_let_go() {
    let mut office = Office::open();
    order(&mut office, "7", Command::Model { model: Some(Model::OPUS) });
    assert_eq!(office.ask("7", "hello").model, Some(Model::OPUS));
    order(&mut office, "7", Command::Model { model: None });
    assert_eq!(office.ask("7", "hello").model, Some(Model::HAIKU));
}

#[test]
fn every_model_that_claude_code_knows_can_be_asked_and_is_named_in_the_answer() {
    let mut office = Office::open_with(&[
        ("TINYCLAW_ENGINE_MODELS", "saga=claude-saga-7 12/60 👾"),
        ("TINYCLAW_ENGINE_TIERS", "SIMPLE=saga"),
    ]);
    let saga = Model::named("saga");
    assert_eq!(office.ask("7", "hello").model, saga, "SIMPLE is saga's work here");
    assert_eq!(office.ask("7", "/fable hello").model, Some(Model::FABLE));
    assert_eq!(office.ask("7", "hello [opus]").model, Some(Model::OPUS));
    let old = Model::named("claude-opus-4-8");
    order(&mut office, "7", Command::Model { model: old });
    assert_eq!(office.ask("7", "hello").model, old, "a full id is named as it was asked for");
    order(&mut office, "7", Command::Model { model: None });
    order(&mut office, "7", Command::Tier { tier: Tier::Simple, model: Some(Model::SONNET) });
    assert_eq!(office.ask("7", "hello").model, Some(Model::SONNET));
    assert_eq!(office.ask("8", "hello").model, saga, "another thread has the office's");
    let said: Vec<_> =
        office.lines("routing-log.jsonl").iter().map(|it| it["effectiveModel"].clone()).collect();
    assert_eq!(said, ["saga", "fable", "opus", "claude-opus-4-8", "sonnet", "saga"]);
}

#[test]
fn only_an_admin_lets_claude_do_everything() {
    let mut office = Office::open();
    let mode = |admin| Command::Mode { mode: PermissionMode::Bypass, admin };
    assert_eq!(order(&mut office, "7", mode(false)).outcome, Outcome::Failed);
    assert_eq!(order(&mut office, "7", mode(true)).outcome, Outcome::Notice);
}

#[test]
fn a_closed_thread_answers_how_to_open_it() {
    let mut office = Office::open();
    office.ask("7", "hello");
    order(&mut office, "7", Command::Close {});
    assert_eq!(office.ask("7", "hello").text, "This thread is closed. /reopen opens it again.");
    order(&mut office, "7", Command::Reopen {});
    assert_eq!(office.ask("7", "hello").outcome, Outcome::Answered);
    assert_eq!(office.prompts().len(), 2);
}

#[test]
fn threads_write_to_each_other_and_not_to_themselves() {
    let mut office = Office::open();
    office.ask("8", "hello");
    let reply = office.ask("7", "[demo: send 8 good morning]");
    assert!(reply.text.contains("answered there"), "{}", reply.text);
    let history = office.wait_for("the other thread's answer", || {
        let lines = office.lines("message-history.jsonl");
        let there =
            |it: &&serde_json::Value| it["source"] == "cross-thread" && it["direction"] == "in";
        lines.iter().find(there).cloned()
    });
    assert_eq!(history["threadId"], 8);
    assert_eq!(history["sourceThreadId"], 7);
    assert_eq!(history["message"], "good morning");
    let own = office.ask("7", "[demo: send 7 to myself]");
    assert!(own.text.contains("this thread itself"), "{}", own.text);
    let unknown = office.ask("7", "[demo: send 99 to nobody]");
    assert!(unknown.text.contains("there is no thread 99"), "{}", unknown.text);
    let general = office.ask("7", "[demo: send 1 before anybody spoke there]");
    assert!(general.text.contains("answered there"), "{}", general.text);
}

#[test]
fn two_threads_do_not_send_each_other_on_for_ever() {
    let mut office = Office::open();
    office.ask("8", "hello");
    let mut text = "[demo: send 8 the fifth]".to_owned();
    for to in [7, 8, 7, 8] {
        text = format!("[demo: send {to} {text}]");
    }
    office.ask("7", &text);
    let refused = office.wait_for("the refusal", || {
        let lines = office.lines("message-history.jsonl");
        let refused = |it: &&serde_json::Value| {
            it["message"].as_str().is_some_and(|it| it.contains("passed on 4 times"))
        };
        lines.iter().find(refused).cloned()
    });
    assert_eq!(refused["threadId"], 7);
    assert_eq!(office.prompts().len(), 6, "hello, the first, and four that were sent on");
}

#[test]
fn a_file_is_sent_only_from_the_threads_own_directory() {
    let mut office = Office::open();
    std::fs::create_dir(office.path("work/7")).expect("folder");
    std::fs::write(office.path("work/7/report.md"), "# Report").expect("file");
    std::fs::write(office.path("work/7/.env"), "SECRET=1").expect("file");
    let reply = office.ask("7", r#"[demo: call send_file {"path":"report.md"}]"#);
    assert_eq!(reply.files.len(), 1, "{}", reply.text);
    for bad in ["../home/x", "/etc/hostname", ".env"] {
        let reply = office.ask("7", &format!(r#"[demo: call send_file {{"path":"{bad}"}}]"#));
        assert!(reply.files.is_empty(), "{bad}");
    }
}

#[test]
fn a_spent_budget_asks_before_it_goes_on_and_forgets_nothing_in_a_restart() {
    let mut office = Office::open_with(&[("TINYCLAW_BUDGET_THREAD_PER_DAY", "0.50")]);
    assert_eq!(office.ask("7", "[demo: cost 0.60] first").outcome, Outcome::Answered);
    for text in ["second", "third"] {
        let asked = office.ask("7", text);
        assert!(asked.text.ends_with("Go on today all the same? /go does."), "{}", asked.text);
        assert_eq!(asked.buttons[0].label, "Go on");
    }
    assert_eq!(office.prompts().len(), 1);
    office.stop();
    office.start();
    assert_eq!(order(&mut office, "7", Command::GoOn {}).text, "Going on with 2 messages.");
    office.wait_for("both messages", || (office.prompts().len() == 3).then_some(()));
    let last = |at: usize| office.prompts()[at]["text"].to_string();
    assert!(last(1).contains("second") && last(2).contains("third"), "in their order");
    office.stop();
    office.start();
    assert_eq!(office.ask("7", "fourth").outcome, Outcome::Answered, "today is today");
}

#[test]
fn going_on_in_one_thread_does_not_spend_the_offices_budget_in_another() {
    let mut office = Office::open_with(&[("TINYCLAW_BUDGET_OFFICE_PER_DAY", "0.50")]);
    office.ask("7", "[demo: cost 0.60] first");
    order(&mut office, "7", Command::GoOn {});
    assert_eq!(office.ask("7", "second").outcome, Outcome::Answered);
    assert!(office.ask("8", "other").text.starts_with("The office's budget for today is spent"));
}

#[test]
fn threads_do_not_read_each_other_unless_the_office_says_so() {
    let mut office = Office::open();
    office.ask("8", "the secret word is heron");
    let read = r#"[demo: call read_thread {"threadId":8}]"#;
    let reply = office.ask("7", read);
    assert!(reply.text.contains("engine.crossThreadReading is off"), "{}", reply.text);
    let listed = office.ask("7", "[demo: call list_threads]");
    assert!(listed.text.contains("- 8: ") && !listed.text.contains("work/8"), "{}", listed.text);
    assert!(listed.text.contains("work/7"), "its own: {}", listed.text);
    let own = office.ask("8", read);
    assert!(own.text.contains("heron"), "its own: {}", own.text);
    let master = office.ask("1", read);
    assert!(master.text.contains("heron"), "the control room sees all: {}", master.text);
    office.set(&serde_json::json!({ "engine": { "crossThreadReading": true } }));
    office
        .wait_for("the setting", || office.log().contains("changed and is in force").then_some(()));
    assert!(office.ask("7", read).text.contains("heron"));
}
