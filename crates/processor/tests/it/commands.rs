//! Orders about a thread, and TinyClaw's own tools for Claude.

use serde_json::json;
use tinyclaw_domain::{Command, Effort, Outcome, PermissionMode, Tier, Trust};

use crate::claude::Step;
use crate::office::{Office, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_answers_with_what_is_true_now() {
    let mut office = Office::open(json!({}));
    let rows = [
        (Command::Model { model: Some(tinyclaw_domain::Model::OPUS) }, "This thread uses opus"),
        (Command::Model { model: None }, "The router chooses the model"),
        (
            Command::Tier { tier: Tier::Complex, model: Some(tinyclaw_domain::Model::FABLE) },
            "COMPLEX messages go to fable here",
        ),
        (Command::Trust { trust: Trust::Settings, admin: true }, "A repository's settings count"),
        (Command::Trust { trust: Trust::None, admin: false }, "Nothing of a repository counts"),
        (Command::Effort { effort: Some(Effort::High) }, "Claude's effort here is high"),
        (Command::Prompt { text: Some("Be kind.".to_owned()) }, "Claude is told this"),
        (Command::Prompt { text: Some("  ".to_owned()) }, "Claude is told nothing of its own"),
        (Command::Mode { mode: PermissionMode::AcceptEdits, admin: true }, "Claude edits files"),
        (Command::Mode { mode: PermissionMode::Bypass, admin: true }, "Claude does everything"),
        (Command::Mode { mode: PermissionMode::Ask, admin: false }, "Claude asks here before"),
        (Command::Rename { name: "Garden".to_owned() }, "This thread is called Garden now."),
        (Command::Open { name: Some("Shed".to_owned()), dir: None, repo: None }, "Ready in `"),
        (Command::Close {}, "Closed."),
        (Command::Reopen {}, "Open again."),
        (Command::Reset {}, "There is no session yet"),
        (Command::GoOn {}, "Today's budget no longer stops this thread."),
    ];
    for (command, said) in rows {
        let reply = office.obeyed("7", command.clone()).await;
        assert!(reply.text.starts_with(said), "{command:?}: {}", reply.text);
        assert_eq!(reply.outcome, Outcome::Notice, "{command:?}");
        assert_eq!(reply.silent, matches!(command, Command::Rename { .. }), "{command:?}");
    }
    let status = office.obeyed("7", Command::Status {}).await.text;
    assert!(status.starts_with("**Shed** (thread 7)"), "{status}");
    assert!(
        status.contains("- model: chosen for each message (COMPLEX fable), effort high\n"),
        "{status}"
    );
    assert!(status.contains("- Claude Code: not asked yet"), "{status}");
    assert!(status.contains("- nothing of a repository counts\n"), "{status}");
    assert!(status.contains("- Claude asks\n") && status.contains("- engine: ready"), "{status}");
    assert!(office.claude.prompts().is_empty(), "Claude is not asked about orders");
}

/// Nothing removed a thread, and nothing that its desk had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_thread_takes_what_is_its_own_along_and_nothing_else() {
    let mut office = Office::open(json!({}));
    for thread in ["7", "8"] {
        office.ask(thread, "hello").await;
    }
    let chosen = office.place.path("work/chosen");
    std::fs::create_dir(&chosen).unwrap();
    let dir = chosen.display().to_string();
    office.obeyed("9", Command::Setdir { dir, admin: true }).await;
    let own = office.place.path("work/7");
    tinyclaw_disk::replace(&own.join("note"), b"mine", tinyclaw_disk::Flush::None).unwrap();
    let said = office.obeyed("7", Command::Remove { sure: false }).await;
    assert_eq!(said.outcome, Outcome::Notice);
    assert!(said.text.contains("work/7`") && said.text.contains("removed"), "{}", said.text);
    assert!(own.join("note").is_file() && office.thread("7").is_some(), "until it is for sure");
    for (thread, sure) in [("7", true), ("9", true)] {
        let said = office.obeyed(thread, Command::Remove { sure }).await;
        assert!(said.text.starts_with(&format!("Thread {thread} is removed.")), "{}", said.text);
        assert!(office.thread(thread).is_none());
        assert!(!office.place.path(&format!("state/home/{thread}")).exists());
    }
    assert!(!own.exists());
    assert!(chosen.is_dir(), "what an admin chose is not the desk's");
    assert!(office.place.path("work/8").is_dir() && office.thread("8").is_some());
    let said = office.obeyed("7", Command::Remove { sure: true }).await;
    assert_eq!((said.outcome, &*said.text), (Outcome::Failed, "There is no thread 7."));
    let said = office.obeyed("1", Command::Status {}).await;
    assert_eq!(said.outcome, Outcome::Notice);
    let said = office.obeyed("1", Command::Remove { sure: true }).await;
    assert_eq!(said.text, "The control room is not removed.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_admin_lets_claude_do_more_without_asking() {
    let mut office = Office::open(json!({}));
    for mode in [PermissionMode::AcceptEdits, PermissionMode::Bypass] {
        let reply = office.obeyed("7", Command::Mode { mode, admin: false }).await;
        assert_eq!(reply.outcome, Outcome::Failed);
        assert!(reply.text.starts_with("Only admins may let Claude do more"), "{}", reply.text);
    }
    assert_eq!(office.thread("7").unwrap().permission_mode, PermissionMode::Ask);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_there_allowed_and_nobody_elses() {
    let mut office = Office::open(json!({}));
    for (path, dir) in [("work/shop", true), ("elsewhere", true), ("work/file", false)] {
        let path = office.place.path(path);
        match dir {
            true => std::fs::create_dir(path).unwrap(),
            false => tinyclaw_disk::replace(&path, b"", tinyclaw_disk::Flush::None).unwrap(),
        }
    }
    office.ask("8", "hello").await;
    let at = |office: &Office, below: &str| office.place.path(below).display().to_string();
    let refused = [
        (at(&office, "work/nowhere"), false, "There is no directory `"),
        (at(&office, "work/file"), false, "is not a directory."),
        (at(&office, "elsewhere"), false, "is outside the allowed folders"),
        (at(&office, "state/files"), true, "lies in TinyClaw's own state"),
        (at(&office, "work/8"), false, "is the folder of thread 8"),
        (at(&office, "work"), false, "holds the folders of all threads"),
    ];
    for (dir, admin, why) in refused {
        let reply = office.obeyed("7", Command::Setdir { dir: dir.clone(), admin }).await;
        assert_eq!(reply.outcome, Outcome::Failed, "{dir}");
        assert!(reply.text.contains(why), "{dir}: {}", reply.text);
        assert!(reply.text.ends_with("Nothing was changed."), "{dir}: {}", reply.text);
    }
    assert_eq!(office.thread("7").unwrap().cwd, at(&office, "work/7"));
    for (dir, admin) in [("../shop", false), ("../../elsewhere", true), ("../work/8", true)] {
        let command = Command::Setdir { dir: dir.to_owned(), admin };
        let reply = office.obeyed("7", command).await;
        assert_eq!(reply.outcome, Outcome::Notice, "{dir}: {}", reply.text);
    }
    assert_eq!(office.thread("7").unwrap().cwd, at(&office, "work/8"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_another_thread_goes_out_when_the_turn_ends_and_is_answered_there() {
    let mut office = Office::open(json!({}));
    office.ask("8", "be there").await;
    let input = json!({ "targetThreadId": 8, "message": "What is new?" });
    office.claude.on("ask them", [vec![Step::Call("send_message", input), Step::Hold]]);
    let key = office.send("7", "ask them");
    until("the call", || {
        office.find(&key)?.message.checkpoint.filter(|it| !it.follow_ups.is_empty())
    })
    .await;
    assert!(office.claude.prompts_of("What is new?").is_empty(), "the turn goes on");
    office.claude.release();
    let reply = office.reply(&key).await;
    assert!(reply.text.contains("It goes to thread 8"), "{}", reply.text);
    let prompts = until("the message", || {
        Some(office.claude.prompts_of("What is new?")).filter(|it| !it.is_empty())
    })
    .await;
    assert_eq!(prompts[0].thread, "8");
    office.notice("8", "writes:\n\nWhat is new?").await;
    let reply = office.ask("8", "anything else").await;
    assert_eq!(reply.text, "Done.");
    assert_eq!(office.claude.prompts_of("What is new?").len(), 1, "it is one message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_may_not_says_what_would_work() {
    let mut office = Office::open(json!({}));
    office.ask("8", "be there").await;
    office.ask("7", "me too").await;
    let secret = office.place.path("work/7/.env");
    tinyclaw_disk::replace(&secret, b"KEY=1", tinyclaw_disk::Flush::None).unwrap();
    let rows = [
        ("read_thread", json!({ "threadId": 8 }), "ask in thread 8 with send_message"),
        ("read_thread", json!({ "threadId": 77 }), "there is no thread 77; there are"),
        (
            "send_message",
            json!({ "targetThreadId": 7, "message": "x" }),
            "just say it in the answer",
        ),
        ("send_message", json!({ "targetThreadId": 8 }), "message is missing or empty"),
        ("send_file", json!({ "path": "../8" }), "is outside this thread's directory"),
        ("send_file", json!({ "path": "nothing.txt" }), "there is no file nothing.txt"),
        ("send_file", json!({ "path": ".env" }), "looks like a secret and is not sent"),
        ("launch", json!({}), "there is no tool launch"),
    ];
    for (tool, input, said) in rows {
        office.claude.on("try it", [vec![Step::Call(tool, input.clone())]]);
        let reply = office.ask("7", "try it").await;
        assert!(reply.text.contains(said), "{tool} {input}: {}", reply.text);
        assert!(reply.files.is_empty());
    }
}
