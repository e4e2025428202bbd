//! Turns with the demo engine: the whole way through leash, pipe, protocol and pool.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tinyclaw_domain::approval::Rule;
use tinyclaw_domain::{Effort, PermissionAnswer, PermissionMode, Place, ThreadId};
use tinyclaw_engine::{
    Advice, Draft, Landlock, McpState, Mode, OtherServers, Probe, Reconnected, Trace, TurnEvent,
    TurnFailure, TurnOutcome, Watchdog,
};

use crate::desk::{Desk, eventually, is_unconfined, new_session, tool, until};

fn failure(outcome: &TurnOutcome) -> &TurnFailure {
    match outcome {
        TurnOutcome::Failed(it) => it,
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_question_is_answered_and_the_second_one_finds_a_warm_process() {
    let desk = Desk::demo();
    let first = desk.say("hello").await;
    assert_eq!(first.outcome, TurnOutcome::Answered);
    assert!(first.text.contains("demo engine") && first.text.contains("> hello"), "{}", first.text);
    assert!(!first.resumed);
    assert_eq!(first.model.as_deref(), Some("demo-sonnet"));
    let mut turn = desk.ask("again");
    let (resumed, warm) = until(&mut turn, |it| match it {
        TurnEvent::SessionReady { resumed, warm } => Some((resumed, warm)),
        _ => None,
    })
    .await;
    assert!(resumed && warm);
    assert!(turn.end().await.unwrap().text.contains("before that you wrote “hello”"));
    assert_eq!(desk.engine.processes(), 1);
}

#[tokio::test]
async fn the_draft_grows_word_by_word_and_ends_as_the_answer() {
    let desk = Desk::demo();
    let mut turn = desk.ask("[demo: long 3000]");
    let (mut draft, mut deltas) = (Draft::default(), 0);
    while let Some(event) = turn.next().await {
        draft.apply(&event);
        deltas += usize::from(matches!(event, TurnEvent::TextDelta(_)));
        if let TurnEvent::Ended(end) = event {
            assert_eq!(draft.text(), end.text);
            assert_eq!(end.text.len(), 3000);
        }
    }
    assert!(deltas > 100);
}

#[tokio::test]
async fn a_stream_that_breaks_off_leaves_no_trace_in_the_draft() {
    let desk = Desk::demo();
    let mut turn = desk.ask("[demo: cut]");
    let mut draft = Draft::default();
    while let Some(event) = turn.next().await {
        draft.apply(&event);
    }
    assert_eq!(draft.text(), "The stream broke off, and this is the whole text.");
}

#[tokio::test]
async fn the_model_changes_from_turn_to_turn_on_one_process() {
    let mut desk = Desk::demo();
    assert_eq!(desk.say("one").await.model.as_deref(), Some("demo-sonnet"));
    desk.spec.model = tinyclaw_domain::Model::HAIKU;
    let end = desk.say("two").await;
    assert_eq!(end.models, ["demo-haiku"]);
    assert!(end.resumed);
}

#[tokio::test]
async fn the_effort_changes_on_one_process_but_for_the_highest() {
    let mut desk = Desk::demo();
    for (effort, is_warm) in [
        (Effort::High, false),
        (Effort::Low, true),
        (Effort::Max, false),
        (Effort::Max, true),
        (Effort::High, false),
    ] {
        desk.spec.effort = effort;
        let mut turn = desk.ask("hello");
        let ready = |it| match it {
            TurnEvent::SessionReady { warm, .. } => Some(warm),
            _ => None,
        };
        assert_eq!(until(&mut turn, ready).await, is_warm, "{effort}");
        let said = turn.end().await.unwrap().text;
        assert!(said.contains(&format!("effort {effort}\n")), "{said}");
    }
}

#[tokio::test]
async fn a_server_of_others_is_told_as_failed() {
    let mut desk = Desk::demo();
    desk.spec.tools = Arc::new([tool("note")]);
    let servers = serde_json::Map::from_iter([("db".to_owned(), json!({ "command": "true" }))]);
    desk.spec.servers = Arc::new(OtherServers { servers, ..OtherServers::default() });
    let mut turn = desk.ask("[demo: attend 90s]");
    let told = |it| if let TurnEvent::McpServers(it) = it { Some(it) } else { None };
    let status = |name: &str, how: &str, why: Option<&str>| McpState {
        name: name.to_owned(),
        status: how.to_owned(),
        error: why.map(str::to_owned),
    };
    let begun = [status("tinyclaw", "connected", None), status("db", "failed", None)];
    assert_eq!(until(&mut turn, told).await, begun);
    let why = Some("the demo speaks to no server");
    assert_eq!(until(&mut turn, told).await, [status("db", "failed", why)]);
    turn.control().steer("6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f", "That is all.");
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
    // The turn lets go of its process a moment after it has ended.
    let anew = loop {
        match desk.engine.reconnect(&desk.spec.thread).await {
            Reconnected::Busy => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other,
        }
    };
    assert_eq!(anew, Reconnected::Now(vec![status("db", "failed", why)]));
}

#[tokio::test]
async fn costs_are_told_once() {
    let desk = Desk::demo();
    assert!((desk.say("[demo: cost 0.25]").await.cost_usd - 0.25).abs() < 1e-9);
    assert!((desk.say("[demo: cost 0.5]").await.cost_usd - 0.5).abs() < 1e-9);
    assert!(desk.say("nothing").await.cost_usd.abs() < 1e-9);
}

#[tokio::test]
async fn a_permission_question_waits_for_its_answer_and_always_holds() {
    let desk = Desk::demo();
    let ask = |it| match it {
        TurnEvent::Asking { ask } => Some(ask),
        _ => None,
    };
    let mut turn = desk.ask("[demo: ask]");
    let question = until(&mut turn, ask).await;
    assert_eq!(
        (question.tool.as_str(), &question.input["command"]),
        ("Bash", &"rm -r build".into())
    );
    turn.control().answer_permission("somebody else's question", PermissionAnswer::Allow);
    turn.control().answer_permission(&question.request_id, PermissionAnswer::Deny);
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert_eq!(end.denials[0].tool, "Bash");

    let mut turn = desk.ask("[demo: ask]");
    let question = until(&mut turn, ask).await;
    let rule = Rule { tool: "Bash".to_owned(), content: Some("rm -r build".to_owned()) };
    assert_eq!(question.always, [rule]);
    turn.control().answer_permission(&question.request_id, PermissionAnswer::Always);
    assert!(turn.end().await.unwrap().denials.is_empty());
    assert!(desk.say("[demo: ask]").await.text.contains("did not have to ask"));
}

#[tokio::test]
async fn a_question_that_nobody_answers_expires_and_the_turn_goes_on() {
    let desk = Desk::demo_with(|it| {
        // Longer than silence is tolerated: the watchdogs rest while the question is open.
        it.times.ask = Duration::from_secs(3);
        it.times.silence = Duration::from_millis(1500);
    });
    let mut turn = desk.ask("[demo: ask]");
    let expired = until(&mut turn, |it| match it {
        TurnEvent::AskClosed { expired, .. } => Some(expired),
        _ => None,
    })
    .await;
    assert!(expired);
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn an_interrupt_withdraws_the_open_question() {
    let desk = Desk::demo();
    let mut turn = desk.ask("[demo: ask]");
    let id = until(&mut turn, |it| match it {
        TurnEvent::Asking { ask } => Some(ask.request_id),
        _ => None,
    })
    .await;
    turn.control().interrupt();
    let closed = until(&mut turn, |it| match it {
        TurnEvent::AskClosed { request_id, expired } => Some((request_id, expired)),
        _ => None,
    })
    .await;
    assert_eq!(closed, (id, false));
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
}

#[tokio::test]
async fn tools_of_ours_are_called_and_answered() {
    let mut desk = Desk::demo();
    desk.spec.tools = Arc::new([tool("send_message"), tool("note")]);
    let mut turn = desk.ask("[demo: send 7 hello there]");
    let (name, input, responder) = until(&mut turn, |it| match it {
        TurnEvent::McpCall { tool, input, responder } => Some((tool, input, responder)),
        _ => None,
    })
    .await;
    assert_eq!(name, "send_message");
    assert_eq!(input, serde_json::json!({ "targetThreadId": 7, "message": "hello there" }));
    responder.answer(Ok("sent".to_owned()));
    assert_eq!(turn.end().await.unwrap().text, "`send_message` answered: sent");
    // Nobody answers: dropping the responder is an answer too.
    assert!(desk.say("[demo: call note]").await.text.contains("not available"));
}

#[tokio::test]
async fn an_interrupted_turn_keeps_its_words_and_the_process() {
    let desk = Desk::demo();
    let mut turn = desk.ask("[demo: slow 60s] [demo: long 2000]");
    until(&mut turn, |it| matches!(it, TurnEvent::TextDelta(_)).then_some(())).await;
    turn.control().interrupt();
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Interrupted);
    assert!(end.text.starts_with("#"), "{:?}", end.text);
    assert!(desk.say("next").await.resumed);
    assert_eq!(desk.engine.processes(), 1);
}

#[tokio::test]
async fn nobody_listening_is_an_interrupt() {
    let desk = Desk::demo();
    drop(desk.ask("[demo: hang]"));
    // The next turn in the thread could not begin otherwise.
    assert_eq!(desk.say("next").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn a_deaf_claude_is_ended_by_the_leash() {
    let desk = Desk::demo_with(|it| {
        it.times.interrupt = Duration::from_millis(200);
        it.times.sigint = Duration::from_millis(200);
    });
    let mut turn = desk.ask("[demo: deaf]");
    until(&mut turn, |it| matches!(it, TurnEvent::SessionReady { .. }).then_some(())).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    assert_eq!(desk.say("next").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn silence_is_noticed_and_a_tool_gets_more_patience() {
    let desk = Desk::demo_with(|it| it.times.silence = Duration::from_millis(1500));
    let hung = desk.say("[demo: hang]").await;
    assert_eq!(failure(&hung.outcome), &TurnFailure::Hung(Watchdog::Silence));
    assert_eq!(failure(&hung.outcome).advice(), Advice::Resume);
    assert_eq!(desk.say("[demo: sleep 3s]").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn the_failure_table() {
    let desk = Desk::demo();
    let cases = [
        ("[demo: fail 401]", Advice::PauseUntilLogin),
        ("[demo: fail 404]", Advice::DefaultModelOnce),
        ("[demo: fail 429]", Advice::Outlast(Duration::from_secs(60))),
        ("[demo: fail 500]", Advice::Outlast(Duration::from_secs(20))),
        ("[demo: fail 529]", Advice::Outlast(Duration::from_secs(20))),
        ("[demo: fail json]", Advice::BackOffTwice(Duration::from_secs(20))),
        ("[demo: fail 400]", Advice::Report),
        ("[demo: fail 413]", Advice::Report),
        ("[demo: refuse]", Advice::Report),
        ("[demo: crash]", Advice::Resume),
    ];
    for (prompt, advice) in cases {
        let end = desk.say(prompt).await;
        assert_eq!(failure(&end.outcome).advice(), advice, "{prompt}: {end:?}");
        assert!(
            !end.text.contains("API Error") && !end.text.contains("login"),
            "{prompt}: {}",
            end.text
        );
    }
    let limited = desk.say("[demo: limit 60]").await;
    let TurnFailure::PlanLimit { resets_at: Some(_) } = failure(&limited.outcome) else {
        panic!("{limited:?}");
    };
    assert_eq!(desk.say("after all that").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_named_so() {
    let mut desk = Desk::demo();
    desk.say("hello").await;
    assert!(desk.engine.evict(&desk.spec.thread).await);
    // A transcript that is there and holds nothing that can be resumed.
    std::fs::write(desk.transcript(), "\n").unwrap();
    let end = desk.say("again").await;
    assert_eq!(failure(&end.outcome), &TurnFailure::UnknownSession);
    assert_eq!(failure(&end.outcome).advice(), Advice::NewSession);
    desk.spec.id = new_session();
    assert_eq!(desk.say("again").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn a_session_is_known_before_its_transcript_is_on_disk() {
    let desk = Desk::demo();
    assert!(!desk.knows().await);
    let end = desk.say("[demo: steps 3]").await;
    assert_eq!(failure(&end.outcome), &TurnFailure::MaxTurns);
    assert!(desk.knows().await);
    // Claude writes it a moment behind its last word: until then the process alone knows.
    std::fs::remove_file(desk.transcript()).unwrap();
    assert!(desk.knows().await);
    assert!(desk.engine.evict(&desk.spec.thread).await);
    assert!(!desk.knows().await);
}

#[tokio::test]
async fn a_uuid_is_answered_once_also_by_another_process() {
    let desk = Desk::demo_with(|it| it.times.duplicate = Duration::from_millis(200));
    let request = desk.request("hello");
    assert_eq!(
        desk.engine.turn(request.clone()).end().await.unwrap().outcome,
        TurnOutcome::Answered
    );
    let again = desk.engine.turn(request.clone()).end().await.unwrap();
    assert_eq!(failure(&again.outcome), &TurnFailure::Duplicate);
    desk.engine.evict(&desk.spec.thread).await;
    let again = desk.engine.turn(request).end().await.unwrap();
    assert_eq!(failure(&again.outcome), &TurnFailure::Duplicate);
}

#[tokio::test]
async fn a_reply_that_was_written_before_the_crash_is_found() {
    let desk = Desk::demo();
    let request = desk.request("[demo: say it is done] [demo: crash after]");
    let end = desk.engine.turn(request.clone()).end().await.unwrap();
    assert!(matches!(failure(&end.outcome), TurnFailure::Crashed { .. }), "{end:?}");
    let Trace::Finished(reply) = desk.trace(&request.uuid).await else { panic!("not finished") };
    assert_eq!(reply.text, "it is done");

    let request = desk.request("[demo: crash]");
    desk.engine.turn(request.clone()).end().await.unwrap();
    assert_eq!(desk.trace(&request.uuid).await, Trace::Begun);
    assert_eq!(desk.trace("6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f").await, Trace::Unseen);
}

#[tokio::test]
async fn what_claude_says_unasked_is_told_apart() {
    let desk = Desk::demo();
    let mut background = desk.engine.background().unwrap();
    assert!(desk.engine.background().is_none());
    let end = desk.say("[demo: background 50ms the build is green]").await;
    assert!(!end.text.contains("green"));
    let told = background.recv().await.unwrap();
    assert_eq!((told.text.as_str(), &told.thread), ("the build is green", &desk.spec.thread));
}

#[tokio::test]
async fn at_most_so_many_stay_and_the_one_used_last_stays_longest() {
    let mut desk = Desk::demo_with(|it| it.warm_max = 2);
    for thread in [1, 2, 3] {
        desk.spec.thread = ThreadId::topic(thread);
        desk.spec.id = new_session();
        desk.say("hello").await;
    }
    eventually("two are left", || desk.engine.processes() == 2).await;
    let holder = |thread| {
        let path = desk.path(&format!("state/locks/session-{thread}"));
        std::fs::read_to_string(path).unwrap()
    };
    eventually("the first is gone", || holder(1).starts_with('\n')).await;
    assert!(holder(3).starts_with("pid "));
}

#[tokio::test]
async fn a_change_of_directory_or_mode_means_another_process() {
    let mut desk = Desk::demo();
    desk.say("hello").await;
    desk.spec.permission_mode = PermissionMode::Bypass;
    let end = desk.say("[demo: ask]").await;
    assert!(end.text.contains("did not have to ask"), "{}", end.text);
    assert!(end.resumed);
    let other = desk.path("other");
    std::fs::create_dir(&other).unwrap();
    desk.move_to(other).await;
    assert!(desk.say("here?").await.resumed);
    assert_eq!(desk.engine.processes(), 1);
}

#[tokio::test]
async fn spawn_mode_leaves_no_process_between_messages() {
    let desk = Desk::demo_with(|it| it.mode = Mode::Spawn);
    assert_eq!(desk.say("one").await.outcome, TurnOutcome::Answered);
    eventually("it is gone", || desk.engine.processes() == 0).await;
    let end = desk.say("two").await;
    assert!(end.resumed && end.text.contains("before that you wrote “one”"), "{}", end.text);
}

#[tokio::test]
async fn a_probe_tells_whether_there_is_a_login_and_leaves_nothing() {
    let desk = Desk::demo_with(|it| {
        let login = it.state.join("files/probe/login");
        it.env.insert("TINYCLAW_DEMO_LOGIN".to_owned(), login.display().to_string());
    });
    assert!(matches!(desk.engine.probe(&Place::Here).await, Probe::NotReady(_)));
    std::fs::write(desk.path("state/files/probe/login"), "").unwrap();
    assert!(matches!(desk.engine.probe(&Place::Here).await, Probe::Ready));
    assert!(!desk.path("home/.claude/projects").exists());
}

#[tokio::test]
async fn a_program_that_never_becomes_ready_is_given_up() {
    let desk = Desk::new("tail".into(), |it| it.times.start = Duration::from_millis(200));
    // `tail` knows none of Claude's flags, and says so.
    let end = desk.say("hello").await;
    assert_eq!(failure(&end.outcome).advice(), Advice::BackOff(Duration::from_secs(5)), "{end:?}");
    let mute = desk.path("work/mute");
    std::fs::write(&mute, "#!/bin/sh\nwhile read -r line; do :; done\n").unwrap();
    std::fs::set_permissions(&mute, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let desk = Desk::new(mute, |it| it.times.start = Duration::from_millis(200));
    let end = desk.say("hello").await;
    assert!(failure(&end.outcome).to_string().contains("did not become ready"), "{end:?}");
    let lock = desk.lock();
    eventually("it is gone", || crate::desk::alive(&lock).is_empty()).await;
}

#[tokio::test]
async fn a_thread_reads_its_own_capability_also_when_it_was_renewed() {
    let desk = Desk::demo_with(|it| {
        it.capability = Some(".capability".to_owned());
        it.landlock = Landlock::On;
    });
    for thread in ["7", "8"] {
        std::fs::create_dir_all(desk.path(&format!("state/files/{thread}"))).unwrap();
    }
    let file = |thread: &str| desk.path(&format!("state/files/{thread}/.capability"));
    for thread in ["7", "8", "7"] {
        // As a service renews it: another file under the same name.
        std::fs::write(file(thread).with_extension("tmp"), "tcap1").unwrap();
        std::fs::rename(file(thread).with_extension("tmp"), file(thread)).unwrap();
        let own = desk.say(&format!("[demo: open {}]", file("7").display())).await;
        if is_unconfined(&own) {
            return;
        }
        assert!(own.text.ends_with("can be read"), "{}", own.text);
    }
    let other = desk.say(&format!("[demo: open {}]", file("8").display())).await;
    assert!(other.text.contains("denied"), "{}", other.text);
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_way_out() {
    let desk = Desk::new("/nowhere/claude".into(), |_| {});
    let end = desk.say("hello").await;
    assert_eq!(failure(&end.outcome).advice(), Advice::OutOfOrder);
    let told = failure(&end.outcome).to_string();
    assert!(told.contains("cannot find Claude at /nowhere/claude: install it"), "{told}");
}

#[tokio::test]
async fn changed_settings_replace_a_process_only_if_it_would_be_started_otherwise() {
    let desk = Desk::demo();
    desk.say("hello").await;
    let ready = async |text: &str| {
        let mut turn = desk.ask(text);
        let ready = until(&mut turn, |it| match it {
            TurnEvent::SessionReady { resumed, warm } => Some((resumed, warm)),
            _ => None,
        });
        let ready = ready.await;
        assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
        ready
    };
    let mut config = desk.config.clone();
    config.warm_max = 2;
    assert_eq!(desk.engine.reconfigure(config.clone()), [""; 0]);
    assert_eq!(ready("the same").await, (true, true));
    config.times.turn = Duration::from_secs(3600);
    desk.engine.reconfigure(config.clone());
    assert_eq!(ready("another, the session goes on").await, (true, false));
    assert_eq!(ready("and stays").await, (true, true));
    config.mode = Mode::Spawn;
    desk.engine.reconfigure(config.clone());
    assert_eq!(ready("the last of its kind").await, (true, false));
    eventually("no process is left", || desk.engine.processes() == 0).await;
    config.claude_home = desk.path("elsewhere");
    config.landlock = Landlock::Off;
    assert_eq!(desk.engine.reconfigure(config), ["home", "landlock"]);
    assert_eq!(ready("at home, as before").await, (true, false));
}
