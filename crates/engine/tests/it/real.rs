//! The real CLI against the fake Messages API. Skipped by name where the CLI is not installed: the test command installs
//! it with `scripts/install-claude.sh`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tinyclaw_domain::{Model, PermissionAnswer, PermissionMode, Place};
use tinyclaw_engine::{
    Advice, Auth, Content, Draft, Landlock, Mode, Probe, Trace, TurnEvent, TurnFailure, TurnOutcome,
};

use crate::claude::{asking, bash, failure, real, version};
use crate::desk::{alive, eventually, is_unconfined, new_session, tool, until};

#[tokio::test]
async fn real_claude_answers_and_stays_warm() {
    let (mut desk, api) = real!();
    desk.spec.system_prompt = "You sit at desk seven.".to_owned();
    let request = desk.request("hello");
    let first = desk.engine.turn(request.clone()).end().await.unwrap();
    assert_eq!(first.outcome, TurnOutcome::Answered, "{first:?}");
    assert_eq!(first.text, "You said: hello");
    assert_eq!(first.said, ["You said: hello"]);
    assert!(!first.resumed && first.sent);
    assert!(first.usage.input_tokens > 0 && first.usage.output_tokens > 0 && first.cost_usd > 0.0);
    let ran = desk.engine.version(&Place::Here);
    assert_eq!(ran.seen.as_deref(), Some(version()));
    assert!(ran.unknown.is_empty() || version() != ran.pinned, "{ran:?}");

    // Another model on the same process, and only this turn's price.
    desk.spec.model = Model::HAIKU;
    let second = desk.say("[api: say short]").await;
    assert_eq!((second.text.as_str(), second.resumed), ("short", true));
    assert!(second.model.as_deref().is_some_and(|it| it.contains("haiku")), "{second:?}");
    assert!(second.cost_usd > 0.0 && second.cost_usd < first.cost_usd * 2.0, "{second:?}");
    assert_eq!(desk.engine.processes(), 1);

    let asked = api.asked();
    assert!(asked[0].model.contains("sonnet") && asked[0].system.contains("desk seven"));
    assert!(asked.iter().all(|it| it.tools.contains(&"AskUserQuestion".to_owned())));
    assert!(asked.iter().all(|it| !it.tools.contains(&"ExitPlanMode".to_owned())));
    // Claude writes its transcript a moment after it has answered.
    let trace = desk.until_traced(&request.uuid, |it| matches!(it, Trace::Finished(_))).await;
    assert!(matches!(trace, Trace::Finished(it) if it.text == "You said: hello"));
}

#[tokio::test]
async fn real_claude_streams_and_an_interrupt_keeps_the_words() {
    let (desk, api) = real!();
    let mut turn = desk.ask("[api: words 20 5ms]");
    let (mut draft, mut deltas) = (Draft::default(), 0);
    while let Some(event) = turn.next().await {
        draft.apply(&event);
        deltas += usize::from(matches!(event, TurnEvent::TextDelta(_)));
        if let TurnEvent::Ended(end) = event {
            assert_eq!(end.text.trim(), draft.text().trim());
        }
    }
    assert!(deltas > 3, "{deltas}");

    let mut turn = desk.ask("[api: words 2000 20ms]");
    until(&mut turn, |it| matches!(it, TurnEvent::TextDelta(_)).then_some(())).await;
    turn.control().interrupt();
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Interrupted);
    assert!(end.text.starts_with("word0"), "{end:?}");
    let next = desk.say("[api: say fine]").await;
    assert_eq!((next.text.as_str(), desk.engine.processes()), ("fine", 1));
    assert!(api.asked().last().unwrap().messages.contains("word0"));
}

#[tokio::test]
async fn real_claude_uses_a_tool() {
    let (desk, _api) = real!();
    let mut turn = desk.ask(&bash("echo tool-ran"));
    let (id, input) = until(&mut turn, |it| match it {
        TurnEvent::ToolStarted { id, input, .. } => Some((id, input)),
        _ => None,
    })
    .await;
    assert_eq!(input["command"], "echo tool-ran");
    let finished = until(&mut turn, |it| match it {
        TurnEvent::ToolFinished { id, failed, .. } => Some((id, failed)),
        _ => None,
    })
    .await;
    assert_eq!(finished, (id, false));
    let end = turn.end().await.unwrap();
    assert_eq!(end.text, "The tool said: tool-ran");
    // Two requests were paid for; the conversation is as large as the second.
    let (context, paid) = (end.context_tokens.unwrap(), end.usage.context());
    assert!(context > 0 && context < paid, "{context} of {paid}");
}

#[tokio::test]
async fn real_claude_calls_our_tool_without_asking() {
    let (mut desk, _api) = real!();
    desk.spec.tools = Arc::new([tool("list_threads")]);
    let mut turn = desk.ask("[api: tool mcp__tinyclaw__list_threads {\"a\":1}]");
    let (name, input, responder) = until(&mut turn, |it| match it {
        TurnEvent::McpCall { tool, input, responder } => Some((tool, input, responder)),
        _ => None,
    })
    .await;
    assert_eq!((name.as_str(), input), ("list_threads", json!({ "a": 1 })));
    responder.answer(Ok("1 General".to_owned()));
    let end = turn.end().await.unwrap();
    assert_eq!(end.text, "The tool said: 1 General");
    assert!(end.denials.is_empty());
}

#[tokio::test]
async fn real_claude_asks_for_permission_and_takes_every_answer() {
    let (desk, _api) = real!();
    // What Claude suggests for it is a rule, which can be said in words; a folder or a mode is never offered for good.
    let fetch = || bash("curl -s http://127.0.0.1:9/ || echo tried");
    let mut turn = desk.ask(&fetch());
    let (id, always) = asking(&mut turn).await;
    turn.control().answer_permission_with(
        &id,
        PermissionAnswer::Deny,
        Some("Not today.".to_owned()),
    );
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert_eq!(end.denials[0].tool, "Bash");
    assert!(end.text.contains("Not today."), "{}", end.text);
    assert!(!always.is_empty());

    let mut turn = desk.ask(&fetch());
    let (id, _) = asking(&mut turn).await;
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    assert!(turn.end().await.unwrap().text.contains("tried"));

    let mut turn = desk.ask(&fetch());
    let (id, _) = asking(&mut turn).await;
    turn.control().answer_permission(&id, PermissionAnswer::Always);
    assert!(turn.end().await.unwrap().text.contains("tried"));
    // Never again in this session; nothing of it is written into the desk.
    assert!(desk.say(&fetch()).await.text.contains("tried"));
    assert!(!desk.path("work/.claude").exists());
}

#[tokio::test]
async fn real_claude_is_interrupted_while_it_asks_and_while_a_tool_runs() {
    let (mut desk, _api) = real!();
    let mut turn = desk.ask(&bash("touch /tmp/tinyclaw-no-such-dir/x"));
    asking(&mut turn).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);

    desk.spec.permission_mode = PermissionMode::Bypass;
    let mut turn = desk.ask(&bash("tail -f /dev/null"));
    until(&mut turn, |it| matches!(it, TurnEvent::ToolStarted { .. }).then_some(())).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    let lock = desk.lock();
    eventually("only the leash and claude are left", || alive(&lock).len() == 2).await;
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
}

#[tokio::test]
async fn real_claude_resumes_what_another_process_began() {
    let (mut desk, api) = real!();
    desk.say("remember the number 4711").await;
    assert!(desk.engine.evict(&desk.spec.thread).await);
    assert_eq!(desk.engine.processes(), 0);
    let end = desk.say("which number?").await;
    assert!(end.resumed, "{end:?}");
    assert!(api.asked().last().unwrap().messages.contains("4711"));
    // A thread moves to another directory and takes its session along.
    let other = desk.path("other");
    std::fs::create_dir(&other).unwrap();
    desk.move_to(other).await;
    assert!(desk.say("and here?").await.resumed);
    assert!(api.asked().last().unwrap().messages.contains("4711"));
}

#[tokio::test]
async fn real_claude_names_a_session_it_does_not_know() {
    let (mut desk, _api) = real!();
    let path = desk.transcript();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "\n").unwrap();
    let end = desk.say("hello").await;
    assert_eq!(failure(&end), &TurnFailure::UnknownSession);
    desk.spec.id = new_session();
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn real_claude_works_with_a_login_that_it_cannot_renew() {
    let (desk, api) = real!(|it| it.auth = Auth::Login);
    let end = desk.say("hello").await;
    assert_eq!(failure(&end).advice(), Advice::PauseUntilLogin, "no login yet: {end:?}");
    let ends = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
        + Duration::from_secs(8 * 3600);
    let login = json!({ "claudeAiOauth": {
        "accessToken": "sk-ant-oat01-short", "refreshToken": "sk-ant-ort01-long",
        "expiresAt": ends.as_millis() as u64,
        "scopes": ["user:inference", "user:profile"], "subscriptionType": "max" } });
    std::fs::create_dir_all(desk.path("home/.claude")).unwrap();
    std::fs::write(desk.path("home/.claude/.credentials.json"), login.to_string()).unwrap();
    assert_eq!(desk.say("and now?").await.outcome, TurnOutcome::Answered);
    assert!(!api.asked().is_empty());
    let copy =
        std::fs::read_to_string(desk.path("state/home/7/.claude/.credentials.json")).unwrap();
    assert!(copy.contains("sk-ant-oat01-short") && !copy.contains("sk-ant-ort01-long"), "{copy}");
}

#[tokio::test]
async fn real_claude_gives_up_a_wrong_key_at_once() {
    let (desk, api) = real!();
    api.answer_always(Some(401));
    let begun = Instant::now();
    let end = desk.say("hello").await;
    assert_eq!(failure(&end).advice(), Advice::PauseUntilLogin, "{end:?}");
    assert_eq!(end.text, "");
    eprintln!("401 was noticed after {:?}", begun.elapsed());
    assert!(matches!(desk.engine.probe(&Place::Here).await, Probe::NotReady(_)));
    api.answer_always(None);
    assert!(matches!(desk.engine.probe(&Place::Here).await, Probe::Ready));
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    // The probes left no session behind.
    let projects = std::fs::read_dir(desk.path("state/home/7/.claude/projects")).unwrap();
    let sessions =
        projects.flatten().flat_map(|it| std::fs::read_dir(it.path()).unwrap().flatten());
    let sessions: Vec<PathBuf> = sessions.map(|it| it.path()).filter(|it| it.is_file()).collect();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
}

#[tokio::test]
async fn real_claude_fails_by_the_table() {
    let (desk, api) = real!(|it| {
        it.env.insert("CLAUDE_CODE_MAX_RETRIES".to_owned(), "1".to_owned());
    });
    let minute = Advice::Outlast(Duration::from_secs(60));
    let later = Advice::Outlast(Duration::from_secs(20));
    for (prompt, advice) in [
        ("[api: status 429]", minute),
        ("[api: status 529]", later.clone()),
        ("[api: status 500]", later),
        ("[api: status 400]", Advice::Report),
        ("[api: status 413]", Advice::Report),
        ("[api: status 404]", Advice::DefaultModelOnce),
        ("[api: garbage]", Advice::BackOffTwice(Duration::from_secs(20))),
    ] {
        let end = desk.say(prompt).await;
        assert_eq!(failure(&end).advice(), advice, "{prompt}: {end:?}");
        assert!(!end.text.contains("API Error"), "{prompt}: {end:?}");
    }
    api.decline_everything();
    let end = desk.say("hello").await;
    assert_eq!(failure(&end).advice(), Advice::Report, "{end:?}");
    api.answer_always(None);
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
}

#[tokio::test]
async fn real_claude_tries_again_by_itself_and_tells() {
    let (desk, _api) = real!();
    let mut turn = desk.ask("[api: status 529 1] [api: say it works]");
    let status = until(&mut turn, |it| match it {
        TurnEvent::ApiRetry { status, .. } => Some(status),
        _ => None,
    })
    .await;
    assert_eq!(status, Some(529));
    assert_eq!(turn.end().await.unwrap().text, "it works");
}

#[tokio::test]
async fn real_claude_falls_back_to_another_model_and_tells() {
    let (desk, api) = real!(|it| it.fallback_model = Some(Model::HAIKU));
    let mut turn = desk.ask("[api: status 529 3] [api: say it works]");
    let to = until(&mut turn, |it| match it {
        TurnEvent::ModelFallback { to } => Some(to),
        _ => None,
    })
    .await;
    assert!(to.is_some_and(|it| it.contains("haiku")));
    assert_eq!(turn.end().await.unwrap().text, "it works");
    assert!(api.asked().last().unwrap().model.contains("haiku"));
}

#[tokio::test]
async fn real_claude_cannot_reach_the_api() {
    let (desk, _api) = real!(|it| it.base_url = Some("http://127.0.0.1:9".to_owned()));
    let end = desk.say("hello").await;
    assert!(matches!(failure(&end), TurnFailure::Unavailable { .. }), "{end:?}");
}

#[tokio::test]
async fn real_claude_has_no_login_at_all() {
    let (desk, _api) = real!(|it| it.auth = Auth::Login);
    let end = desk.say("hello").await;
    assert_eq!(failure(&end).advice(), Advice::PauseUntilLogin, "{end:?}");
}

#[tokio::test]
async fn real_claude_tells_when_the_plans_limit_is_lifted() {
    let (desk, _api) = real!(|it| it.auth = Auth::OAuthToken("dummy".into()));
    let end = desk.say("[api: limit 600]").await;
    assert!(matches!(failure(&end).advice(), Advice::PauseUntil(Some(_))), "{end:?}");
}

#[tokio::test]
async fn real_claude_hides_a_broken_stream_and_the_draft_does_too() {
    let (desk, _api) = real!();
    let mut turn = desk.ask("[api: cut] [api: say The whole answer.]");
    let mut draft = Draft::default();
    let mut broke = false;
    let end = loop {
        let event = turn.next().await.unwrap();
        draft.apply(&event);
        broke |= draft.text().contains("breaks off");
        if let TurnEvent::Ended(end) = event {
            break end;
        }
    };
    assert!(broke);
    assert_eq!(
        (end.text.as_str(), draft.text().as_str()),
        ("The whole answer.", "The whole answer.")
    );
}

#[tokio::test]
async fn real_claude_is_stopped_when_nothing_comes_any_more() {
    let (desk, _api) = real!(|it| it.times.silence = Duration::from_secs(3));
    for prompt in ["[api: hang]", "[api: stall]"] {
        let end = desk.say(prompt).await;
        assert!(matches!(failure(&end), TurnFailure::Hung(_)), "{prompt}: {end:?}");
    }
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
}

#[tokio::test]
async fn real_claude_is_killed_in_the_middle_of_a_tool() {
    let (mut desk, _api) = real!();
    desk.spec.permission_mode = PermissionMode::Bypass;
    desk.say("hello").await;
    let request = desk.request(&bash("tail -f /dev/null"));
    let mut turn = desk.engine.turn(request.clone());
    until(&mut turn, |it| matches!(it, TurnEvent::ToolStarted { .. }).then_some(())).await;
    let lock = desk.lock();
    eventually("the tool runs", || alive(&lock).len() > 2).await;
    // It writes a moment behind what it does; killed before that, it knows nothing of the turn.
    desk.until_traced(&request.uuid, |it| *it == Trace::Begun).await;
    let claude = alive(&lock)
        .into_iter()
        .find(|it| {
            let name = std::fs::read_to_string(format!("/proc/{it}/comm")).unwrap_or_default();
            name.starts_with("claude")
        })
        .unwrap();
    kill(Pid::from_raw(claude.try_into().unwrap()), Signal::SIGKILL).unwrap();
    let end = turn.end().await.unwrap();
    assert!(matches!(failure(&end), TurnFailure::Crashed { .. }), "{end:?}");
    eventually("no tool is left", || alive(&lock).is_empty()).await;
    assert_eq!(desk.trace(&request.uuid).await, Trace::Begun);
    assert!(desk.say("[api: say back]").await.resumed);
}

/// It writes up to a tenth of a second behind its last word. When its owner dies, the leash asks it to leave, and it
/// writes the rest first: the answer is there for the next owner.
#[tokio::test]
async fn real_claude_finishes_its_transcript_when_it_is_ended_right_after_its_last_word() {
    let (desk, _api) = real!();
    for text in ["hello", "and a second turn"] {
        let request = desk.request(text);
        let end = desk.engine.turn(request.clone()).end().await.unwrap();
        assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
        for pid in alive(&desk.lock()) {
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM);
        }
        eventually("everything is gone", || alive(&desk.lock()).is_empty()).await;
        let trace = desk.trace(&request.uuid).await;
        assert!(matches!(&trace, Trace::Finished(it) if it.said == end.said), "{trace:?}");
    }
}

#[tokio::test]
async fn real_claude_answers_a_uuid_once() {
    let (desk, api) = real!(|it| it.times.duplicate = Duration::from_secs(2));
    let request = desk.request("hello");
    desk.engine.turn(request.clone()).end().await.unwrap();
    let before = api.asked().len();
    let again = desk.engine.turn(request.clone()).end().await.unwrap();
    assert_eq!(failure(&again), &TurnFailure::Duplicate);
    desk.engine.evict(&desk.spec.thread).await;
    let again = desk.engine.turn(request).end().await.unwrap();
    assert_eq!(failure(&again), &TurnFailure::Duplicate);
    assert_eq!(api.asked().len(), before);
}

#[tokio::test]
async fn real_claude_sees_a_picture() {
    let (desk, api) = real!();
    // One grey pixel.
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cch\0\0\0\x82\0\x81w\xcdr\xb6\0\0\0\0IEND\xaeB`\x82";
    std::fs::write(desk.path("work/pixel"), PNG).unwrap();
    let mut request = desk.request("what is this?");
    request.content.push(Content::File { root: desk.path("work"), below: "pixel".into() });
    let end = desk.engine.turn(request).end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    assert!(api.asked()[0].messages.contains("image/png"));
}

#[tokio::test]
async fn real_claude_reports_back_from_the_background_and_is_not_evicted_before() {
    let (mut desk, _api) = real!(|it| it.warm_max = 1);
    desk.spec.permission_mode = PermissionMode::Bypass;
    let mut background = desk.engine.background().unwrap();
    // It ends when the test says so.
    let go = desk.path("work/go");
    let command = format!("until [ -e {} ]; do sleep 0.1; done; echo done", go.display());
    let input = json!({ "command": command, "run_in_background": true });
    let end = desk.say(&format!("[api: tool Bash {input}]")).await;
    assert!(end.text.contains("running in background"), "{end:?}");

    let first = desk.spec.clone();
    desk.spec.thread = tinyclaw_domain::ThreadId::topic(8);
    desk.spec.id = new_session();
    desk.say("hello").await;
    eventually("only the one with a task stays", || desk.engine.processes() == 1).await;
    assert!(alive(&desk.lock()).is_empty());
    std::fs::write(go, "").unwrap();
    let told = background.recv().await.unwrap();
    assert_eq!((told.thread, told.session), (first.thread.clone(), first.id.clone()));
    desk.spec = first;
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
}

#[tokio::test]
async fn real_claude_in_spawn_mode_leaves_after_every_message() {
    let (desk, _api) = real!(|it| it.mode = Mode::Spawn);
    assert_eq!(desk.say("[api: say one]").await.text, "one");
    let lock = desk.lock();
    eventually("it left", || alive(&lock).is_empty()).await;
    let end = desk.say("[api: say two]").await;
    assert_eq!((end.text.as_str(), end.resumed), ("two", true));
}

#[tokio::test]
async fn real_claude_cannot_read_the_queue() {
    let (mut desk, api) = real!(|it| it.landlock = Landlock::On);
    desk.spec.permission_mode = PermissionMode::Bypass;
    std::fs::create_dir_all(desk.path("state/queue/incoming")).unwrap();
    let secret = desk.path("state/queue/incoming/cli-1.json");
    std::fs::write(&secret, "a message for somebody else").unwrap();
    let first = desk.say(&bash("echo mine > notes.md; cat notes.md")).await;
    if is_unconfined(&first) {
        return;
    }
    assert_eq!(first.text, "The tool said: mine", "{first:?}");
    let secret = secret.display();
    for attempt in [
        bash(&format!("cat {secret}")),
        bash(&format!("ls {}", desk.path("state").display())),
        bash(&format!("echo x > {}", desk.path("state/threads.json").display())),
        bash(&format!("kill -9 {}", std::process::id())),
        format!("[api: tool Read {}]", json!({ "file_path": secret.to_string() })),
    ] {
        let end = desk.say(&attempt).await;
        assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
        let said = end.text.to_lowercase();
        let refused =
            ["permission denied", "not permitted", "eacces"].iter().any(|it| said.contains(it));
        assert!(refused, "{attempt}: {}", end.text);
    }
    assert!(api.asked().iter().all(|it| !it.messages.contains("somebody else")));
    // Its own folder for files is open.
    let own = desk.path("state/files/7/out.txt");
    desk.say(&bash(&format!("echo done > {}", own.display()))).await;
    assert_eq!(std::fs::read_to_string(own).unwrap(), "done\n");
}
