//! A message from the queue through router and engine and back.

use tinyclaw_domain::{ButtonPress, Command, Model, Outcome, ThreadStatus};
use tinyclaw_e2e::Office;
use tinyclaw_queue::Place;

#[test]
fn a_message_is_routed_asked_and_answered_and_the_logs_tell_it() {
    let mut office = Office::open();
    let reply = office.ask("7", "hello");
    assert_eq!(reply.outcome, Outcome::Answered);
    assert!(reply.text.contains("hello"), "{}", reply.text);
    assert_eq!(reply.model, Some(Model::HAIKU), "a greeting is for haiku");
    let history = office.lines("message-history.jsonl");
    let said: Vec<&str> = history.iter().filter_map(|it| it["direction"].as_str()).collect();
    assert_eq!(said, ["in", "out"]);
    assert_eq!(history[0]["threadId"], 7);
    let routing = office.lines("routing-log.jsonl");
    assert_eq!(routing[0]["dims"].as_array().map(Vec::len), Some(14));
    assert_eq!(routing[0]["effectiveModel"], "haiku");
    let prompts = office.lines("logs/prompts.jsonl");
    assert_eq!(prompts[0]["newSession"], true);
    assert!(
        prompts[0]["userMessage"]
            .as_str()
            .is_some_and(|it| it.ends_with("[Ada via terminal]: hello"))
    );
    assert!(office.threads().values().next().is_some_and(|it| it.session_id.is_some()));
}

#[test]
fn a_finished_turn_keeps_which_tools_it_used_and_when_but_not_what_with() {
    let mut office = Office::open();
    let reply = office.ask("7", "[demo: tool] [demo: call read_thread {\"threadId\":99}]");
    let used: Vec<(&str, bool)> = reply.tools.iter().map(|it| (it.name.as_str(), it.ok)).collect();
    assert_eq!(used, [("Bash", true), ("mcp__tinyclaw__read_thread", false)]);
    let line = office.lines("message-history.jsonl").pop().expect("a line");
    assert_eq!(line["tools"], serde_json::to_value(&reply.tools).expect("JSON"));
    assert!(!line["tools"].to_string().contains("sleep"), "{line}");
    // The logs tell what came after what, as the dashboard draws it.
    let at = |file: &str| office.lines(file)[0]["timestamp"].as_u64().expect("a time");
    let (routed, asked) = (at("routing-log.jsonl"), at("logs/prompts.jsonl"));
    assert!(routed <= asked, "routed at {routed}, asked at {asked}");
    assert!(asked <= line["timestamp"].as_u64().expect("a time"));
}

#[test]
fn a_thread_goes_on_in_its_session_and_gets_no_history_twice() {
    let mut office = Office::open();
    office.ask("7", "first");
    office.ask("7", "second");
    let prompts = office.lines("logs/prompts.jsonl");
    assert_eq!(prompts[1]["newSession"], false);
    assert_eq!(prompts[1]["historyInjected"], false);
    let recorded = office.prompts();
    assert_eq!(recorded[0]["session"], recorded[1]["session"]);
    assert_eq!(recorded[0]["pid"], recorded[1]["pid"], "the same warm process");
}

#[test]
fn messages_of_a_thread_are_answered_in_order_and_threads_side_by_side() {
    let mut office = Office::open();
    let slow = office.say("7", "[demo: slow 2s] first");
    let behind = office.say("7", "second");
    let other = office.say("8", "other");
    office.answer(&other);
    assert_eq!(office.seen(&slow).map(|it| it.place), Some(Place::Processing));
    assert_eq!(office.seen(&behind).and_then(|it| it.position), Some(1));
    office.answer(&behind);
    assert_eq!(office.seen(&slow).map(|it| it.place), Some(Place::Done));
}

#[test]
fn a_failed_turn_is_tried_again_and_says_so() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: fail 529] please");
    let progress =
        office.wait_for("the trouble", || office.progress(&key).filter(|it| it.trouble.is_some()));
    let trouble = progress.trouble.unwrap_or_default();
    assert!(
        trouble.starts_with("Claude did not answer: overloaded (529). Trying again in"),
        "{trouble}"
    );
    assert!(trouble.ends_with("2nd try."), "{trouble}");
    let seen =
        office.wait_for("the retry", || office.seen(&key).filter(|it| it.place == Place::Incoming));
    assert_eq!(seen.message.attempts.run, 0, "an outage is not the message's fault");
    office.wait_for("a free desk", || {
        let threads = office.threads();
        threads.values().all(|it| it.status == ThreadStatus::Idle).then_some(())
    });
}

#[test]
fn what_a_failed_attempt_cost_is_part_of_the_day() {
    let mut office = Office::open_with(&[("TINYCLAW_BUDGET_OFFICE_PER_DAY", "0.50")]);
    office.say("7", "[demo: cost 0.60] [demo: fail 529] please");
    let line = office.wait_for("the cost", || {
        let lines = office.lines("message-history.jsonl");
        lines.into_iter().find(|it| it["costUsd"] == 0.6)
    });
    assert_eq!(line["message"], "[no answer: the API does not answer as it should (status 529)]");
    let asked = office.ask("8", "hello");
    assert!(asked.text.contains("budget for today is spent ($0.60 of $0.50)"), "{}", asked.text);
}

#[test]
fn a_message_that_waits_out_a_limit_is_asked_again_however_often() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: limit 1] please");
    office.wait_for("the fifth try", || (office.prompts().len() >= 5).then_some(()));
    let message = office.seen(&key).expect("it is in the queue").message;
    assert_eq!((message.attempts.run, message.attempts.deaths), (0, 0), "{message:?}");
}

#[test]
fn what_was_given_up_is_asked_anew_when_somebody_says_so() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: crash]");
    let dead = || office.seen(&key).filter(|it| it.place == Place::Dead);
    office.wait_for("the end of its tries", dead);
    assert_eq!(office.prompts().len(), 3);
    office.queue().requeue(&key).expect("requeue");
    office.wait_for("three more tries", || (office.prompts().len() == 6).then_some(()));
}

#[test]
fn a_message_is_in_the_logs_from_its_prompt_on() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: hang] please");
    office.wait_for("the prompt", || office.prompts().first().cloned());
    for log in ["message-history.jsonl", "routing-log.jsonl"] {
        let lines = office.lines(log);
        let about = lines.iter().filter(|it| it["key"] == key.as_str()).count();
        assert_eq!(about, 1, "{log}: {lines:?}");
    }
    let mut stop = office.message("7", "");
    stop.command = Some(Command::Stop { key: None });
    office.publish(stop);
    office.answer(&key);
    office.wait_for("the answer's line", || {
        (office.lines("message-history.jsonl").len() == 2).then_some(())
    });
    assert_eq!(office.lines("routing-log.jsonl").len(), 1);
}

#[test]
fn a_message_that_kills_claude_every_time_is_given_up_and_the_operator_is_told() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: crash]");
    office.wait_for("the end of its tries", || {
        office.seen(&key).filter(|it| it.place == Place::Dead)
    });
    assert_eq!(office.prompts().len(), 3);
    office.wait_for("the word about it", || {
        let text = std::fs::read_to_string(office.state().health("processor")).ok()?;
        text.contains("1 message was given up").then_some(())
    });
    assert_eq!(office.ask("7", "hello").outcome, Outcome::Answered);
}

#[test]
fn a_plan_limit_makes_everybody_wait_and_work_resumes_by_itself() {
    let mut office = Office::open();
    let limited = office.say("7", "[demo: limit 3] please");
    office.wait_for("the limit", || {
        let progress = office.progress(&limited)?;
        progress.trouble.filter(|it| it.starts_with("Claude's plan limit is reached until"))
    });
    let waiting = office.say("8", "hello");
    // Tried again it would reach the limit again: a person takes it back.
    let mut stop = office.message("7", "");
    stop.command = Some(Command::Stop { key: Some(limited) });
    office.publish(stop);
    let reply = office.answer(&waiting);
    assert_eq!(reply.outcome, Outcome::Answered, "{}", reply.text);
    let seen = office.seen(&waiting).expect("the message");
    assert_eq!(seen.message.attempts.run, 1, "waiting cost no attempt");
}

#[test]
fn a_refusal_is_reported_and_not_tried_again() {
    let mut office = Office::open();
    let reply = office.ask("7", "[demo: fail 400] please");
    assert_eq!(reply.outcome, Outcome::Failed);
    assert!(reply.text.contains("refused"), "{}", reply.text);
    assert_eq!(office.prompts().len(), 1);
}

#[test]
fn a_turn_that_takes_too_many_steps_says_how_far_it_got_and_offers_to_go_on() {
    let mut office = Office::open();
    let reply = office.ask("7", "[demo: steps 2] please");
    assert_eq!(reply.outcome, Outcome::Failed);
    assert!(reply.text.starts_with("I got this far."), "{}", reply.text);
    assert!(reply.text.ends_with("Say \"continue\" to go on from here."), "{}", reply.text);
    assert_eq!(reply.buttons[0].press, ButtonPress::Say("continue".to_owned()));
    assert_eq!(office.ask("7", "continue").outcome, Outcome::Answered);
    let prompts = office.prompts();
    assert_eq!(prompts[0]["session"], prompts[1]["session"]);
    assert_eq!(prompts[0]["pid"], prompts[1]["pid"], "the same process goes on");
}

#[test]
fn what_claude_says_after_its_turn_is_kept() {
    let mut office = Office::open();
    office.ask("7", "[demo: background 1s The build is green.]");
    let line = office.wait_for("the words", || {
        let lines = office.lines("message-history.jsonl");
        let said = |it: &&serde_json::Value| {
            it["message"].as_str().is_some_and(|it| it.ends_with("The build is green."))
        };
        lines.iter().find(said).cloned()
    });
    assert_eq!((&line["threadId"], &line["direction"]), (&7.into(), &"out".into()));
    assert_eq!(office.ask("7", "hello").outcome, Outcome::Answered);
}

#[test]
fn without_a_login_messages_wait_and_the_office_says_why() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: fail 401] please");
    let health = office.wait_for("the reason", || {
        let text = std::fs::read_to_string(office.state().health("processor")).ok()?;
        text.contains("not logged in").then_some(text)
    });
    assert!(health.contains("\"ready\":false") || health.contains("\"ready\": false"), "{health}");
    let seen = office.seen(&key).expect("the message");
    assert_eq!(seen.message.attempts.run, 0, "waiting costs no attempt");
}

#[test]
fn a_long_answer_stays_whole() {
    let mut office = Office::open();
    let reply = office.ask("7", "[demo: long 400000]");
    let file = reply.file.expect("a file");
    let text = std::fs::read_to_string(office.path("state").join(file)).expect("the file");
    assert!(text.len() >= 400_000, "{}", text.len());
}

#[test]
fn a_hint_chooses_the_model_and_is_not_told_to_claude() {
    let mut office = Office::open();
    let reply = office.ask("7", "/opus hello");
    assert_eq!(reply.model, Some(Model::OPUS));
    let prompt = office.lines("logs/prompts.jsonl");
    assert!(prompt[0]["userMessage"].as_str().is_some_and(|it| it.ends_with(": hello")));
    assert_eq!(office.lines("routing-log.jsonl")[0]["cause"], "user_hint");
}
