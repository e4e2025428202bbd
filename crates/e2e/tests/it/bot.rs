//! A service dies below `tinyclaw-bot`, which starts it again alone: the other one and the running turns go on.

use tinyclaw_domain::{Health, Progress};
use tinyclaw_e2e::{Forum, signal};

/// The process of a service that has said how it is.
fn pid(forum: &Forum, service: &str) -> Option<u32> {
    let text = std::fs::read(forum.office.state().health(service)).ok()?;
    Some(serde_json::from_slice::<Health>(&text).ok()?.pid)
}

/// Kills a service, and waits until another process stands in its place and says that it is ready.
fn kill(forum: &Forum, service: &str) {
    let died = forum.office.wait_for("the service's word", || pid(forum, service));
    signal(died, "KILL");
    forum.office.wait_for("its successor", || {
        let text = std::fs::read(forum.office.state().health(service)).ok()?;
        let health: Health = serde_json::from_slice(&text).ok()?;
        (health.pid != died && health.ready).then_some(())
    });
}

/// What answers in General have cost.
fn costs(forum: &Forum) -> Vec<f64> {
    let lines = forum.office.lines("message-history.jsonl");
    let answers = lines.iter().filter(|it| it["direction"] == "out");
    answers.filter_map(|it| it["costUsd"].as_f64()).filter(|it| *it > 0.0).collect()
}

#[test]
fn a_killed_processor_is_started_again_alone_and_its_turn_is_asked_answered_and_billed_once() {
    let forum = Forum::open();
    forum.ada(None, "[demo: slow 4s] [demo: cost 0.25] [demo: say One long story.]");
    forum.office.wait_for("the turn", || (forum.office.prompts().len() == 1).then_some(()));
    let telegram = forum.office.wait_for("telegram's word", || pid(&forum, "telegram"));
    kill(&forum, "processor");
    let transcript = forum.until("    One long story.\n");
    // The bill is written after the answer is on its way.
    forum.office.wait_for("the bill", || (costs(&forum) == [0.25]).then_some(()));
    assert_eq!(transcript.matches("    One long story.\n").count(), 1, "answered once");
    assert_eq!(forum.office.prompts().len(), 1, "asked once");
    assert_eq!(pid(&forum, "telegram"), Some(telegram), "telegram goes on");
    assert!(forum.office.log().contains("a turn that was begun before goes on"));
    assert!(!transcript.contains("is being answered again"), "nothing happened: {transcript}");
    forum.close();
}

#[test]
fn an_open_question_outlives_its_processor_and_is_answered_by_its_button() {
    let forum = Forum::open();
    forum.ada(None, "[demo: ask] [demo: cost 0.25] tidy up");
    forum.until("[ Allow ]");
    let asked = |since: u64| {
        let running = std::fs::read_dir(forum.office.state().progresses()).ok()?.flatten();
        let read = |it: std::fs::DirEntry| {
            serde_json::from_slice::<Progress>(&std::fs::read(it.path()).ok()?).ok()?.asks
        };
        running.filter_map(read).find(|it| it.at > since)
    };
    let mut ask = forum.office.wait_for("the question", || asked(0));
    for _ in 0..3 {
        kill(&forum, "processor");
        // The successor has asked it, and does not only keep it on display.
        let again = forum.office.wait_for("the question again", || asked(ask.at));
        assert_eq!(again.request_id, ask.request_id, "the same question");
        ask = again;
    }
    forum.press("Allow");
    forum.until("You allowed it");
    forum.office.wait_for("the bill", || (costs(&forum) == [0.25]).then_some(()));
    assert_eq!(forum.office.prompts().len(), 1, "asked once");
    forum.close();
}

#[test]
fn a_killed_telegram_is_started_again_alone_and_answers_come() {
    let forum = Forum::open();
    forum.ada(None, "[demo: say Good morning.]");
    forum.until("    Good morning.\n");
    let processor = pid(&forum, "processor");
    kill(&forum, "telegram");
    forum.ada(None, "[demo: say Good night.]");
    forum.until("    Good night.\n");
    assert_eq!(pid(&forum, "processor"), processor, "the processor goes on");
    assert_eq!(forum.office.prompts().len(), 2);
    forum.close();
}
