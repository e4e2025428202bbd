//! A processor is killed in the middle of a turn, and the next one goes on with it: Claude is at the far end of a link.

use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Ask, Command, Key, Outcome, PermissionAnswer, PermissionMode};
use tinyclaw_e2e::{Office, processes_of, signal};

/// The question that the processor of this moment asks.
fn question(office: &Office, key: &Key) -> Ask {
    office.wait_for("the question", || office.progress(key).and_then(|it| it.asks))
}

/// Kills the processor and starts another one. What the first one showed is gone.
fn replace(office: &mut Office, key: &Key) {
    office.kill();
    // None is there when the turn was over by then.
    let _ = std::fs::remove_file(office.state().progress(key));
    office.start();
}

fn allow(office: &mut Office, ask: &Ask) {
    let shown = Question::of(ask).digest;
    let (request_id, answer) = (ask.request_id.clone(), PermissionAnswer::Allow);
    let mut order = office.message("7", "");
    order.command = Some(Command::Permission { request_id, answer, shown, admin: false });
    let order = office.publish(order);
    office.answer(&order);
}

fn nothing_is_left(office: &mut Office) {
    office.stop();
    let state = office.path("state");
    office.wait_for("the end of everything", || processes_of(&state).is_empty().then_some(()));
    // What could not be cleared away in the time that a stop has is, at the next start.
    office.start();
    let runs = || std::fs::read_dir(office.path("state/runs")).expect("runs").count();
    office.wait_for("the end of every spool", || (runs() == 0).then_some(()));
}

#[test]
fn twenty_processors_are_killed_in_a_turn_and_it_is_asked_billed_and_answered_once() {
    let mut office = Office::open();
    office.ask("7", "hello");
    let text = "[demo: say Let me look.] [demo: tool] [demo: ask] [demo: cost 0.25] tidy up";
    let key = office.say("7", text);
    let first = question(&office, &key);
    for _ in 0..20 {
        replace(&mut office, &key);
        assert_eq!(question(&office, &key).request_id, first.request_id, "the same question");
    }
    allow(&mut office, &first);
    let reply = office.answer(&key);
    assert_eq!(reply.outcome, Outcome::Answered);
    let message = office.seen(&key).expect("message").message;
    assert_eq!((message.attempts.run, message.attempts.deaths), (1, 0), "no attempt was lost");
    assert_eq!(office.prompts().len(), 2, "asked once");
    assert_eq!(office.lines("logs/prompts.jsonl").len(), 2, "and noted once");
    let lines = office.lines("message-history.jsonl");
    let answers = lines.iter().filter(|it| it["key"] == key.as_str() && it["direction"] == "out");
    let costs: Vec<f64> = answers.filter_map(|it| it["costUsd"].as_f64()).collect();
    assert_eq!(costs, [0.25], "billed once");
    let again = office.ask("7", "and now?");
    assert_eq!(again.outcome, Outcome::Answered);
    nothing_is_left(&mut office);
}

/// It waits 25 seconds for its turns, as a container does.
#[test]
fn campaign_a_turn_that_outlasts_the_stop_of_its_processor_goes_on_in_the_next() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: ask] [demo: cost 0.25] tidy up");
    let first = question(&office, &key);
    office.stop();
    let progress = office.state().progress(&key);
    let _ = std::fs::remove_file(progress);
    office.start();
    let second = question(&office, &key);
    assert_eq!(second.request_id, first.request_id, "the same question");
    allow(&mut office, &second);
    assert_eq!(office.answer(&key).outcome, Outcome::Answered);
    let message = office.seen(&key).expect("message").message;
    assert_eq!((message.attempts.run, message.attempts.deaths), (1, 0), "no attempt was lost");
    assert_eq!(office.prompts().len(), 1, "asked once");
    let lines = office.lines("message-history.jsonl");
    let answers = lines.iter().filter(|it| it["key"] == key.as_str() && it["direction"] == "out");
    let costs: Vec<f64> = answers.filter_map(|it| it["costUsd"].as_f64()).collect();
    assert_eq!(costs, [0.25], "billed once");
    nothing_is_left(&mut office);
}

#[test]
fn a_story_that_is_being_told_goes_on_to_its_end() {
    let mut office = Office::open();
    office.ask("7", "hello");
    let whole = office.ask("8", "[demo: long 20000]").text;
    let key = office.say("7", "[demo: long 20000] [demo: slow 3s]");
    office.wait_for("the first words", || office.progress(&key).filter(|it| !it.text.is_empty()));
    replace(&mut office, &key);
    let reply = office.answer(&key);
    assert_eq!((reply.outcome, reply.text.len()), (Outcome::Answered, whole.len()));
    assert_eq!(office.prompts().len(), 3, "each was asked once");
    nothing_is_left(&mut office);
}

#[test]
fn what_a_turn_sent_on_before_the_death_goes_out_once() {
    let mut office = Office::open();
    office.ask("8", "hello");
    let key = office.say("7", "[demo: send 8 good morning] [demo: ask]");
    question(&office, &key);
    replace(&mut office, &key);
    let ask = question(&office, &key);
    allow(&mut office, &ask);
    assert_eq!(office.answer(&key).outcome, Outcome::Answered);
    let there = |direction: &str| {
        let lines = office.lines("message-history.jsonl");
        lines.iter().filter(|it| it["threadId"] == 8 && it["direction"] == direction).count()
    };
    office.wait_for("the answer in the other thread", || (there("out") == 2).then_some(()));
    assert_eq!((there("in"), office.prompts().len()), (2, 3), "neither is asked again");
    nothing_is_left(&mut office);
}

#[test]
fn words_for_a_turn_whose_processor_dies_are_answered_by_it_and_asked_once() {
    let mut office = Office::open();
    // It asks when it has them, so that it does not end before the death.
    let key = office.say("7", "[demo: attend 50s] [demo: ask] [demo: cost 0.25]");
    office.wait_for("the tool", || office.progress(&key).filter(|it| !it.tools.is_empty()));
    let mut words = office.message("7", "use the other folder");
    words.steer = true;
    let words = office.publish(words);
    let handed = || office.seen(&words)?.message.handed;
    office.wait_for("that they are handed over", handed);
    replace(&mut office, &key);
    let ask = question(&office, &key);
    allow(&mut office, &ask);
    let reply = office.answer(&key);
    assert!(reply.text.contains("You said meanwhile: use the other folder"), "{}", reply.text);
    assert!(office.answer(&words).silent, "the turn has answered");
    let said = |it: &serde_json::Value| it["text"].as_str().unwrap_or_default().to_owned();
    let heard: Vec<String> = office.prompts().iter().map(said).collect();
    let times = heard.iter().filter(|it| it.contains("use the other folder")).count();
    assert_eq!((heard.len(), times), (2, 1), "{heard:?}");
    let lines = office.lines("message-history.jsonl");
    let costs: f64 = lines.iter().filter_map(|it| it["costUsd"].as_f64()).sum();
    assert!((costs - 0.25).abs() < 1e-9, "billed once: {costs}");
    nothing_is_left(&mut office);
}

#[test]
fn a_process_whose_turn_was_gone_on_with_stays_warm() {
    let mut office = Office::open();
    let claudes = |office: &Office| -> Vec<String> {
        let all = processes_of(&office.path("state/home"));
        let claudes = all.iter().filter_map(|it| it.split_once(": "));
        let claudes = claudes.filter(|it| it.1.contains("tinyclaw-demo-engine -p"));
        claudes.filter(|it| !it.1.contains("tinyclaw-leash")).map(|it| it.0.to_owned()).collect()
    };
    let key = office.say("7", "[demo: ask] tidy up");
    question(&office, &key);
    let before = claudes(&office);
    assert_eq!(before.len(), 1, "{before:?}");
    replace(&mut office, &key);
    let ask = question(&office, &key);
    allow(&mut office, &ask);
    assert_eq!(office.answer(&key).outcome, Outcome::Answered);
    assert_eq!(office.ask("7", "hello").outcome, Outcome::Answered);
    assert_eq!(claudes(&office), before, "the same process answers");
    // Another way of starting it is another process.
    let mut order = office.message("7", "");
    order.command = Some(Command::Mode { mode: PermissionMode::AcceptEdits, admin: true });
    let order = office.publish(order);
    office.answer(&order);
    assert_eq!(office.ask("7", "hello again").outcome, Outcome::Answered);
    assert_ne!(claudes(&office), before, "it is started otherwise");
    nothing_is_left(&mut office);
}

#[test]
fn the_story_of_a_turn_goes_on_where_the_dead_processor_left_it() {
    let mut office = Office::open();
    let text = "[demo: say Let me look.] [demo: tool] [demo: ask]";
    let key = office.say("7", text);
    let story = |office: &Office| office.lines(&format!("jobs/{key}.jsonl"));
    for _ in 0..3 {
        question(&office, &key);
        let asked = || story(&office).iter().any(|it| it["type"] == "ask").then_some(());
        office.wait_for("the question in the story", asked);
        replace(&mut office, &key);
    }
    let ask = question(&office, &key);
    allow(&mut office, &ask);
    office.answer(&key);
    let ended = || story(&office).last().filter(|it| it["type"] == "end").map(drop);
    office.wait_for("its end", ended);
    let told = story(&office);
    let count = |kind: &str| told.iter().filter(|it| it["type"] == kind).count();
    assert_eq!((count("begun"), count("restart"), count("ask")), (1, 0, 1), "{told:#?}");
    assert_eq!(count("ask.closed"), 1, "{told:#?}");
    let generations: std::collections::BTreeSet<u64> =
        told.iter().filter_map(|it| it["gen"].as_u64()).collect();
    assert_eq!(generations.len(), 1, "one story");
    let numbers: Vec<u64> = told.iter().filter_map(|it| it["seq"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    nothing_is_left(&mut office);
}

#[test]
fn a_process_that_waited_for_its_next_turn_ends_with_its_processor() {
    let mut office = Office::open();
    office.ask("7", "[demo: spawn 600s]");
    let state = office.path("state");
    office.kill();
    assert!(!processes_of(&state).is_empty(), "it outlives it");
    office.start();
    office.wait_for("the end of everything but the processor", || {
        let left = processes_of(&state);
        let of_claude = left.iter().filter(|it| !it.contains("tinyclaw-processor"));
        (of_claude.filter(|it| !it.contains("tinyclaw-leash hub")).count() == 0).then_some(())
    });
    assert_eq!(office.ask("7", "hello").outcome, Outcome::Answered);
    nothing_is_left(&mut office);
}

/// An idle Claude waited for the end of its lease, five minutes, since nobody was there any more to end it.
#[test]
fn who_is_told_to_stop_twice_leaves_its_turn_and_no_claude_that_waits_for_one() {
    let mut office = Office::open();
    office.ask("8", "hello");
    let key = office.say("7", "[demo: ask] tidy up");
    let first = question(&office, &key);
    let home = office.path("state/home");
    let works = |desk: &str| processes_of(&home.join(desk)).len();
    assert!(works("7") > 0 && works("8") > 0);
    let processor = office.pid();
    signal(processor, "INT");
    office.wait_for("the end of who waits", || (works("8") == 0).then_some(()));
    assert!(office.progress(&key).is_some() && works("7") > 0, "the turn goes on for now");
    signal(processor, "INT");
    office.wait_for("the end of the processor", || {
        let stat = std::fs::read_to_string(format!("/proc/{processor}/stat")).ok()?;
        stat.contains(") Z ").then_some(())
    });
    assert!(works("7") > 0, "its turn is for the next one");
    replace(&mut office, &key);
    let ask = question(&office, &key);
    assert_eq!(ask.request_id, first.request_id, "the same question");
    allow(&mut office, &ask);
    assert_eq!(office.answer(&key).outcome, Outcome::Answered);
    assert_eq!(office.prompts().len(), 2, "each was asked once");
    nothing_is_left(&mut office);
}
