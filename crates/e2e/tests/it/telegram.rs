//! What is said in a forum by nobody's asking, with everything real but Telegram and the model: `tinyclaw-bot` with the
//! telegram service and the processor below it, the demo engine, and the queue between them.

use tinyclaw_domain::Key;
use tinyclaw_e2e::{Forum, Office};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, BOB};

use crate::day::until_still;
use crate::restart::transcript;

#[test]
fn a_press_goes_on_although_the_budget_is_spent() {
    let forum = Forum::open_with(&[("TINYCLAW_BUDGET_THREAD_PER_DAY", "0.50")]);
    forum.ada(None, "[demo: cost 0.45] [demo: say That was dear.]");
    forum.until("This thread's budget for today is nearly spent: $0.45 of $0.50.");
    forum.ada(None, "[demo: cost 0.15] [demo: say That was the rest.]");
    forum.until("    That was the rest.\n");
    forum.ada(None, "[demo: say The next day's work.]");
    forum.until("Go on today all the same? /go does.\n    [ Go on ]");
    forum.press("Go on");
    forum.until("Going on.");
    let transcript = forum.until("    The next day's work.\n");
    assert_eq!(forum.office.prompts().len(), 3, "each was asked once");
    assert_eq!(transcript.matches("nearly spent").count(), 1);
    forum.close();
}

#[test]
fn what_nobody_asked_for_arrives_and_what_is_not_worth_a_word_does_not() {
    let mut forum = Forum::open_with(&[
        ("TINYCLAW_HEARTBEAT_ENABLED", "true"),
        ("TINYCLAW_HEARTBEAT_QUIET_HOURS", "00:00-00:00"),
    ]);
    forum.ada(None, "[demo: background 1s The build is green.]");
    forum.until("    Still running: wait for the build\n");
    forum.until("    wait for the build has ended:\n    \n    The build is green.\n");
    let file = forum.office.path("work/1/HEARTBEAT.md");
    // For one last time there is one heartbeat, so the second needs another.
    let last_at = |ms: u64| move |it: &mut serde_json::Value| it["1"]["lastBeat"] = ms.into();
    std::fs::write(&file, "- [ ] see whether the tests pass").unwrap();
    forum.office.restart_with(last_at(1));
    let lines = |office: &Office| office.lines("message-history.jsonl");
    forum.office.wait_for("the answer to the first heartbeat", || {
        lines(&forum.office).into_iter().find(|it| it["message"] == "[NO_UPDATES]")
    });
    std::fs::write(&file, "- [ ] [demo: say The report is due.]").unwrap();
    forum.office.restart_with(last_at(2));
    let transcript = forum.until("    The report is due.\n");
    assert!(!transcript.contains("NO_UPDATES"), "{transcript}");
    forum.close();
}

#[test]
fn a_question_is_answered_by_a_button_and_by_the_next_message() {
    let forum = Forum::open();
    forum.ada(
        None,
        "[demo: choose Which colour? | Red | Green | Blue; many Which fruits? | Apple | Pear]",
    );
    forum.until("Which colour?\n    1. Red\n    2. Green\n    3. Blue\n");
    forum.press("Green");
    forum.until("Which fruits?\n");
    forum.press("Pear");
    forum.until("[ ✓ Pear ]");
    forum.press("Other…");
    forum.until("The next message of Ada here is the answer.");
    forum.ada(None, "and figs");
    let transcript = forum.until("You chose: Which colour? Green. Which fruits? Pear, and figs.");
    assert_eq!(forum.office.prompts().len(), 1, "{transcript}");
    forum.close();
}

#[test]
fn words_behind_an_exclamation_mark_reach_the_running_turn_once() {
    let forum = Forum::open();
    forum.ada(None, "[demo: attend 50s]");
    forum.until("▸ Bash  wait for words\n");
    forum.ada(None, "[demo: say What waited in line.]");
    forum.ada(None, "!use the other folder");
    // One answer to both, past what waits in line.
    forum.until("I waited. You said meanwhile: use the other folder");
    let transcript = forum.until("    What waited in line.\n");
    // Where nothing runs it is a message like any other.
    forum.ada(None, "! Now [demo: say An answer of its own.]");
    forum.until("    An answer of its own.\n");
    let said = |it: &serde_json::Value| it["text"].as_str().unwrap_or_default().to_owned();
    let heard: Vec<String> = forum.office.prompts().iter().map(said).collect();
    assert_eq!(heard.len(), 4, "{heard:?}\n{transcript}");
    let words = heard.iter().filter(|it| it.contains("]: use the other folder")).count();
    assert_eq!(words, 1, "{heard:?}");
    forum.close();
}

#[test]
fn words_for_the_running_turn_are_heard_once_whoever_is_killed() {
    killed_with_words_on_their_way(false);
}

#[test]
fn words_for_a_turn_that_outlives_its_processor_are_heard_once() {
    killed_with_words_on_their_way(true);
}

/// A turn is cut off twice with words for it on their way, or goes on twice where there is a link.
fn killed_with_words_on_their_way(has_link: bool) {
    let mut forum = Forum::open_with(&[("TINYCLAW_ENGINE_LINK", &has_link.to_string())]);
    forum.ada(None, "[demo: cost 0.25] [demo: attend 120s]");
    let running = |forum: &Forum, attempt: u32| {
        let listed = forum.office.queue().view().list(Place::Processing, 10).expect("a list");
        let turn = listed.into_iter().find_map(|it| forum.office.progress(&it.key))?;
        // A turn that goes on is the same attempt.
        let is_it = turn.attempt == attempt || has_link;
        (is_it && !turn.tools.is_empty()).then_some(turn.key)
    };
    let turn = forum.office.wait_for("the turn", || running(&forum, 1));
    // Nobody knows how far these came: Telegram, a file of the service, the queue, Claude.
    forum.ada(None, "!the first words");
    forum.office.kill();
    forum.office.start();
    forum.office.wait_for("the second attempt, or the answer", || {
        running(&forum, 2).or_else(|| has_ended(&forum, &turn))
    });
    forum.ada(None, "!the second words");
    let said = |forum: &Forum, words: &str| {
        let view = forum.office.queue().view();
        let all = Place::ALL.into_iter().flat_map(|it| view.read_all(it, None, 100));
        all.flatten().any(|it| it.1.message == words).then_some(())
    };
    forum.office.wait_for("the second words in the queue", || said(&forum, "the second words"));
    forum.office.kill_service("tinyclaw-processor");
    forum.office.wait_for("the third attempt, or the answer", || {
        running(&forum, 3).or_else(|| has_ended(&forum, &turn))
    });
    // If Claude had all of them before it was killed, it waits for more.
    forum.ada(None, "!the last words");
    forum.office.wait_for("the last words in the queue", || said(&forum, "the last words"));
    forum.office.wait_for("the answers to all", || {
        let depth = forum.office.queue().view().depth().expect("a depth");
        let left = depth.incoming + depth.processing + depth.outgoing + depth.sending;
        (left + depth.dead == 0).then_some(())
    });
    let session = forum.office.seen(&turn).and_then(|it| it.message.checkpoint).expect("a session");
    let (_, heard) = transcript(&forum.office, "1", session.session_id.as_str());
    for words in ["the first words", "the second words", "the last words"] {
        let times = heard.lines().filter(|it| it.contains(&format!("]: {words}\""))).count();
        assert_eq!(times, 1, "{words}: {heard}\n{}", forum.transcript());
    }
    let lines = forum.office.lines("message-history.jsonl");
    let bills: Vec<f64> = lines.iter().filter_map(|it| it["costUsd"].as_f64()).collect();
    assert_eq!(bills.iter().filter(|it| **it >= 0.25).count(), 1, "{bills:?}");
    forum.close();
}

/// The turn, when its message is answered.
fn has_ended(forum: &Forum, turn: &Key) -> Option<Key> {
    forum.office.seen(turn).filter(|it| it.place == Place::Done).map(|_| turn.clone())
}

#[test]
fn a_status_shows_what_there_is_to_do_and_what_helpers_use() {
    let forum = Forum::open();
    forum.ada(None, "[demo: background 90s The build is green.] [demo: todo done: look | doing: write | test] [demo: helper 60s claim]");
    let shown = "1 of 3 done\n    → write\n    · test\n    ▸ Task  claim\n        ▸ Bash  grep claim\n    in the background: wait for the build\n";
    forum.until(shown);
    forum.press("Stop");
    forum.until("Stopped after ");
    forum.close();
}

#[test]
fn a_plan_is_changed_and_then_gone_on_with() {
    let forum = Forum::open_with(&[("TINYCLAW_ADMINS", "101")]);
    forum.ada(None, "/mode plan");
    forum.until("Claude looks around here and proposes a plan before it changes anything.");
    let input = r#"{"file_path":"a.txt","content":"one"}"#;
    let asks =
        format!("[demo: plan # Tidy up] [demo: plan # Write a.txt] [demo: ask Write {input}]");
    forum.ada(None, &asks);
    forum.until("has a plan\n    \n    Tidy up\n");
    forum.press("Change …");
    forum.until("The next message of Ada here says what shall be different.");
    forum.ada(None, "write a file instead");
    forum.until("has a plan\n    \n    Write a.txt\n");
    forum.press("Go, accept edits");
    let transcript = forum.until("I did not have to ask before I pretended to use Write.");
    assert!(transcript.contains("They say: write a file instead"), "{transcript}");
    assert!(
        transcript.contains("You said go: I work in the mode acceptEdits now."),
        "{transcript}"
    );
    let general = &forum.office.threads()[&tinyclaw_domain::ThreadId::topic(1)];
    assert_eq!(general.permission_mode, tinyclaw_domain::PermissionMode::AcceptEdits);
    forum.ada(None, &format!("[demo: ask Write {input}] once more"));
    let asked = "I did not have to ask before I pretended to use Write.";
    forum.office.wait_for("the mode is kept", || {
        (forum.transcript().matches(asked).count() == 2).then_some(())
    });
    forum.close();
}

#[test]
fn a_message_from_another_thread_is_shown_and_answered_in_its_topic() {
    let forum = Forum::open();
    forum.ada(None, "[demo: say This desk is taken.]");
    forum.until("    This desk is taken.\n");
    let number = forum.topic("website");
    let topic = Some(number);
    forum.ada(topic, "[demo: send 1 [demo: say Good morning from General.]]");
    forum.until("    Good morning from General.\n");
    until_still(&forum);
    // Shown and answered in General; the sender is told where. What was asked stands there once.
    let general = forum.part("General");
    assert_eq!(general.matches("[demo: say Good morning from General.]").count(), 1, "{general}");
    forum.until("It goes to thread 1 (General) when this turn ends, and is answered there.");
    forum.close();
}

#[test]
fn what_is_given_up_is_told_where_it_was_asked() {
    let forum = Forum::open();
    let topic = forum.topic("website");
    forum.ada(Some(topic), "[demo: crash] what now?");
    forum.until("Trying again in");
    forum.until("/retry tries again.");
    let part = forum.part("website");
    assert!(part.contains("This message could not be answered after 3 tries"), "{part}");
    // The operator is told in General.
    forum.until("1 message was given up");
    forum.close();
}

#[test]
fn who_stops_what_waits_has_got_what_they_wanted() {
    let forum = Forum::open();
    let topic = Some(forum.topic("website"));
    forum.ada(topic, "Think about it. [demo: hang]");
    forum.until("[ Stop ]");
    forum.bob(topic, "And the tests?");
    forum.until("Next here · busy since");
    forum.bob(topic, "/stop");
    forum.until("Stopped. /retry asks again.");
    forum.until("Bob [👌]:\n    And the tests?");
    forum.press("Stop");
    forum.until("The session is kept.");
    // What a person stopped was not given up: neither is it counted so, nor does it count with what was.
    forum.ada(topic, "/queue");
    let transcript = forum.until("0 waiting, 0 being answered");
    assert!(!transcript.contains("given up"), "{transcript}");
    forum.ada(topic, "[demo: crash] what now?");
    forum.until("1 message was given up.");
    forum.ada(topic, "/queue");
    forum.until("    1 given up; /retry in their topic takes one up again.");
    forum.close();
}

#[test]
fn a_plan_limit_is_told_in_general_and_so_is_its_end() {
    let forum = Forum::open();
    let topic = Some(forum.topic("website"));
    forum.ada(topic, "[demo: limit 2] hello");
    forum.found("the limit in General", |_| {
        forum.part("General").contains("Claude's plan limit is reached until").then_some(())
    });
    // What hits the limit each time must not be asked again.
    forum.ada(topic, "/stop");
    forum.until("Stopped");
    forum.ada(topic, "[demo: say I am back.]");
    forum.until("    I am back.\n");
    forum.found("its end in General", |_| {
        forum.part("General").contains("Claude answers again.").then_some(())
    });
    forum.close();
}

/// Operators of an office without a forum were told nothing.
#[test]
fn without_a_forum_operators_are_told_in_their_private_chats_once() {
    let office = Office::closed();
    office.set(&serde_json::json!({"admins": [ADA]}));
    let forum = Forum::private(office);
    let until = |chat: i64, words: &str| {
        forum.found(words, |it| Some(it.transcript(chat)).filter(|it| it.contains(words)))
    };
    let say = |from: i64, text: &str| forum.fake.say(from, None, from, text);
    say(ADA, "[demo: say Good morning, Ada.]");
    until(ADA, "    Good morning, Ada.\n");
    say(BOB, "[demo: limit 2] hello");
    until(BOB, "1 message waits and goes on by itself.");
    until(ADA, "What waits goes on by itself then.");
    say(BOB, "/stop");
    until(BOB, "Stopped");
    say(BOB, "[demo: say I am back.]");
    until(BOB, "    I am back.\n");
    until(ADA, "    Claude answers again.\n");
    // Who asked is told more than the operator, and once when they are the same.
    say(ADA, "[demo: crash] what now?");
    until(ADA, "This message could not be answered after 3 tries");
    say(ADA, "[demo: say That was all.]");
    let hers = until(ADA, "    That was all.\n");
    assert_eq!(hers.matches("Claude's plan limit is reached until").count(), 1, "{hers}");
    assert!(!hers.contains("was given up"), "{hers}");
    let his = forum.fake.transcript(BOB);
    assert!(
        !his.contains("Claude answers again.") && !his.contains("goes on by itself then"),
        "{his}"
    );
    forum.close();
}
