//! The processor is killed, stopped and started again: nothing lost, nothing asked twice, no process left behind.
//!
//! Where Claude is to die with its processor, that is said: an office without a link, or one whose holds are killed as well.
//! What goes on is in `adopted.rs`.

use std::time::Duration;

use tinyclaw_e2e::{Office, processes_of, signal};

/// An office whose Claudes end with its processor.
fn without_link() -> Office {
    Office::open_with(&[("TINYCLAW_ENGINE_LINK", "false")])
}

/// What is killed with the processor.
type Death = fn(&mut Office);

/// Both ways in which a Claude dies with its processor: there is no link, or its hold dies too.
fn deaths() -> [(Office, Death); 2] {
    let with_hold: Death = |office| {
        office.kill();
        let holds = holds_of(office);
        assert!(!holds.is_empty(), "a Claude at the far end of a link has a hold");
        holds.into_iter().for_each(|it| signal(it, "KILL"));
        // It is its hold's leash that ends Claude.
        let home = office.path("state/home");
        office.wait_for("the end of everything", || processes_of(&home).is_empty().then_some(()));
    };
    [(without_link(), Office::kill), (Office::open(), with_hold)]
}

/// The holds below this office, found by the leashes that they started: a hold's own command line names no folder.
fn holds_of(office: &Office) -> Vec<u32> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let parent = |pid: u32| stat(pid)?.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    let is_hold = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"\0hold\0")
    };
    let below = processes_of(&office.path("state"));
    let pids = below.iter().filter_map(|it| it.split_once(':')?.0.parse().ok());
    let mut holds: Vec<u32> = pids.filter_map(parent).filter(is_hold).collect();
    holds.sort_unstable();
    holds.dedup();
    holds
}

#[test]
fn a_killed_processor_takes_its_message_up_again_with_a_word_about_it() {
    for (mut office, kill) in deaths() {
        office.ask("7", "hello");
        let key = office.say("7", "[demo: slow 30s] a long story");
        let begun = || office.progress(&key).filter(|it| !it.text.is_empty());
        office.wait_for("the first words", begun);
        kill(&mut office);
        office.start();
        office.wait_for("the second attempt", || (office.prompts().len() == 3).then_some(()));
        let prompts = office.lines("logs/prompts.jsonl");
        let again = prompts.last().expect("a prompt");
        assert_eq!(again["attempt"], 2);
        let said = again["userMessage"].as_str().expect("text");
        assert!(said.contains("was interrupted. Continue it"), "{said}");
    }
}

#[test]
fn tools_that_claude_forgot_are_told_to_it() {
    for (mut office, kill) in deaths() {
        office.ask("7", "hello");
        let key = office.say("7", "[demo: tool] [demo: hang] tidy up");
        let used = || office.seen(&key)?.message.checkpoint.filter(|it| it.used_tools);
        let checkpoint = office.wait_for("the tool", used);
        kill(&mut office);
        // Claude writes its transcript a moment behind what it does: nothing of this turn is in it yet.
        let (path, text) = transcript(&office, "7", checkpoint.session_id.as_str());
        let knows = |it: &&str| !it.contains(&checkpoint.turn_uuid);
        let before: Vec<&str> = text.lines().take_while(knows).collect();
        assert!(!before.is_empty() && before.len() < text.lines().count(), "{text}");
        std::fs::write(&path, before.join("\n") + "\n").expect("write");
        office.start();
        office.wait_for("the second attempt", || (office.prompts().len() == 3).then_some(()));
        let prompts = office.lines("logs/prompts.jsonl");
        let again = prompts.last().and_then(|it| it["userMessage"].as_str()).expect("a prompt");
        assert!(again.contains("It had begun to use tools"), "{again}");
    }
}

#[test]
fn words_that_claude_forgot_are_handed_to_the_turn_that_goes_on() {
    for (mut office, kill) in deaths() {
        office.ask("7", "hello");
        let turn = office.say("7", "[demo: attend 90s] [demo: attend 90s] tidy up");
        office.wait_for("the tool", || office.progress(&turn).filter(|it| !it.tools.is_empty()));
        let steer = |office: &mut Office, text: &str| {
            let mut message = office.message("7", text);
            message.steer = true;
            office.publish(message)
        };
        let words = steer(&mut office, "the other folder");
        let taken = |office: &Office, key| office.seen(key)?.message.handed.filter(|it| it.taken);
        let handed = office.wait_for("Claude has the words", || taken(&office, &words));
        kill(&mut office);
        // Claude writes its transcript a moment behind what it hears: the words are not in it yet.
        let (path, text) = transcript(&office, "7", handed.session_id.as_str());
        let knows = |it: &&str| !it.contains(&handed.turn_uuid);
        let before: Vec<&str> = text.lines().take_while(knows).collect();
        assert!(before.len() < text.lines().count(), "{text}");
        std::fs::write(&path, before.join("\n") + "\n").expect("write");
        office.start();
        // The second attempt hears them in its first pause, and in its second what is said to it now.
        let heard = |office: &Office| {
            let tools = office.progress(&turn).filter(|it| it.attempt == 2)?.tools;
            (tools.iter().filter(|it| it.name == "Bash").count() == 2).then_some(())
        };
        office.wait_for("the second pause", || heard(&office));
        let more = steer(&mut office, "and no tests");
        let reply = office.answer(&turn);
        let told =
            "You said meanwhile: the other folder\n\nI waited. You said meanwhile: and no tests";
        assert!(reply.text.contains(told), "{}", reply.text);
        assert!(
            office.answer(&words).silent && office.answer(&more).silent,
            "the turn has answered"
        );
    }
}

/// A thread's Claude transcript: where it lies, and what is in it.
pub(crate) fn transcript(
    office: &Office,
    thread: &str,
    session: &str,
) -> (std::path::PathBuf, String) {
    let projects = office.path("state/home").join(thread).join(".claude/projects");
    let folders = std::fs::read_dir(projects).expect("projects");
    let name = format!("{session}.jsonl");
    let mut found = folders.map(|it| it.expect("folder").path().join(&name));
    let path = found.find(|it| it.is_file()).expect("transcript");
    let text = std::fs::read_to_string(&path).expect("text");
    (path, text)
}

#[test]
fn an_answer_in_the_transcript_is_used_and_not_asked_for_again() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: crash after] what is the answer?");
    let reply = office.answer(&key);
    assert!(!reply.text.is_empty());
    assert_eq!(office.prompts().len(), 1, "asked once");
}

#[test]
fn what_a_turn_sends_on_survives_claude_and_goes_out_once() {
    let mut office = Office::open();
    std::fs::create_dir(office.path("work/7")).expect("folder");
    std::fs::write(office.path("work/7/report.md"), "# Report").expect("file");
    office.ask("8", "hello");
    let text = r#"[demo: send 8 good morning] [demo: call send_file {"path":"report.md"}] [demo: crash after]"#;
    let reply = office.ask("7", text);
    assert_eq!(reply.files.len(), 1, "{}", reply.text);
    // A message is noted before it is asked: only its answer says that everything about it has happened.
    let there = |direction: &str| {
        let lines = office.lines("message-history.jsonl");
        let of_8 = |it: &&serde_json::Value| it["threadId"] == 8 && it["direction"] == direction;
        lines.iter().filter(of_8).count()
    };
    office.wait_for("the answer in the other thread", || (there("out") == 2).then_some(()));
    assert_eq!((there("in"), office.prompts().len()), (2, 3), "neither is asked again");
}

#[test]
fn what_claude_believes_to_be_sent_is_on_disk_before_the_turn_ends() {
    let mut office = Office::open();
    office.ask("8", "hello");
    let key = office.say("7", "[demo: send 8 good morning] [demo: hang]");
    let kept = office.wait_for("the message on disk", || {
        let checkpoint = office.seen(&key)?.message.checkpoint?;
        checkpoint.follow_ups.first().cloned()
    });
    assert_eq!(kept.message, "good morning");
}

#[test]
fn a_stop_lets_the_turn_end_and_loses_nothing() {
    let mut office = Office::open();
    let running = office.say("7", "[demo: slow 2s] one");
    let waiting = office.say("7", "two");
    office.wait_for("the turn", || office.prompts().first().cloned());
    assert!(office.stop() < Duration::from_secs(30));
    office.answer(&running);
    assert!(office.seen(&waiting).is_some_and(|it| it.place == tinyclaw_queue::Place::Incoming));
    office.start();
    office.answer(&waiting);
    assert_eq!(office.prompts().len(), 2);
}

#[test]
fn nothing_is_left_running_when_the_processor_is_killed() {
    for (mut office, kill) in deaths() {
        let key = office.say("7", "[demo: spawn 600s]");
        office.answer(&key);
        office.say("7", "[demo: hang]");
        office.wait_for("the turn", || (office.prompts().len() == 2).then_some(()));
        let home = office.path("state/home");
        // Who is looked for afterwards is found before.
        office.wait_for("what it started", || (!processes_of(&home).is_empty()).then_some(()));
        kill(&mut office);
        office.wait_for("the end of everything", || processes_of(&home).is_empty().then_some(()));
    }
}

#[test]
fn a_second_processor_waits_and_takes_over() {
    let mut office = Office::open();
    office.ask("7", "hello");
    let first = office.pid();
    let mut second =
        Office::open_with(&[("TINYCLAW_DIR", &office.path("state").display().to_string())]);
    assert_ne!(first, second.pid());
    office.kill();
    let key = office.say("7", "and again");
    office.answer(&key);
    second.kill();
}
