//! Sending, and waiting for what comes back.

use std::fs;

use serde_json::Value;

use crate::Office;

#[test]
fn a_question_is_answered_at_the_terminal() {
    let office = Office::open();
    assert_eq!(office.run(&["send", "--wait", "[demo: say forty two]"]).ok(), "forty two\n");
    assert_eq!(
        office.run_with(&["send", "--wait"], "[demo: say from a pipe]\n").ok(),
        "from a pipe\n"
    );
    let told = office.run(&["send", "--wait", "--json", "--model", "opus", "hello"]).json();
    assert_eq!(told["reply"]["model"], "opus");
    assert_eq!(told["threadId"], "cli");
}

#[test]
fn an_answer_cannot_move_the_cursor_but_json_has_every_byte() {
    let office = Office::open();
    let evil = "[demo: say a\u{1b}]0;title\u{7}b]";
    assert!(!office.run(&["send", "--wait", evil]).ok().contains('\u{1b}'));
    let told = office.run(&["send", "--wait", "--json", evil]).json();
    assert!(told["reply"]["text"].as_str().expect("text").contains('\u{1b}'));
}

#[test]
fn an_answer_is_told_while_it_is_written_and_told_once() {
    let office = Office::open();
    let asked = "[demo: say Let me look.] [demo: tool Bash] [demo: say forty two]";
    let said = office.run(&["send", "--stream", asked]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let waited = office.run(&["send", "--wait", asked]).ok();
    assert_eq!(said.out, waited, "as if it had been waited for");
    assert!(said.err.contains("▸ "), "tools go to stderr: {}", said.err);
    let lines = office.run(&["send", "--stream", "--json", "[demo: say forty two]"]).ok();
    let lines: Vec<Value> =
        lines.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    let types: Vec<&str> = lines.iter().filter_map(|it| it["type"].as_str()).collect();
    assert_eq!((types.first(), types.last()), (Some(&"begun"), Some(&"end")), "{types:?}");
    let ids: Vec<(u64, u64)> =
        lines.iter().filter_map(|it| Some((it["gen"].as_u64()?, it["seq"].as_u64()?))).collect();
    assert!(ids.is_sorted() && ids.len() == types.len(), "{ids:?}");
    assert_eq!(lines.last().expect("the reply")["reply"]["text"], "forty two");
}

#[test]
fn a_stream_whose_claude_dies_begins_again_and_ends_with_the_answer() {
    let office = Office::open();
    let said = office.run(&["send", "--stream", "--json", "[demo: crash] what is the answer?"]);
    let lines: Vec<Value> =
        said.out.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    let types: Vec<&str> = lines.iter().filter_map(|it| it["type"].as_str()).collect();
    let restart = types.iter().position(|it| *it == "restart").expect("another attempt");
    assert!(
        types[..restart].contains(&"begun") && types[restart..].contains(&"begun"),
        "{types:?}"
    );
    assert_eq!(types.iter().filter(|it| **it == "end").count(), 1, "{types:?}");
}

#[test]
fn a_long_answer_arrives_whole() {
    let office = Office::open();
    let text = office.run(&["send", "--wait", "[demo: long 270000]"]).ok();
    assert!(text.len() >= 270_000, "{}", text.len());
}

#[test]
fn a_message_that_is_given_up_exits_1_with_the_reason() {
    let office = Office::closed();
    let waiting = office.command(&["send", "--wait", "hello"]).spawn().expect("tinyclaw runs");
    let key = office.wait_for("the message", || {
        let all: Value = office.run(&["queue", "ls", "--json"]).json();
        all[0]["key"].as_str().map(str::to_owned)
    });
    office.run(&["queue", "bury", &key, "--reason", "Ada changed her mind"]).ok();
    let said = crate::Said::of(waiting.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(1));
    assert!(said.err.ends_with("tinyclaw: Ada changed her mind\n"), "{}", said.err);
}

#[test]
fn a_message_nobody_works_on_is_kept_and_the_sender_told() {
    let office = Office::closed();
    let said = office.run(&["send", "--wait", "--timeout", "0", "hello"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("no processor works on"), "{}", said.err);
    let all = office.run(&["queue", "ls", "--json"]).json();
    assert_eq!(all[0]["message"]["message"], "hello");
    assert_eq!(all[0]["message"]["sender"], "Ada");
}

#[test]
fn with_telegram_an_answer_goes_to_the_topic_unless_one_waits_for_it() {
    let office = Office::closed();
    // The token is telegram's alone, and says nothing about where a thread is.
    office.settings(r#"{"telegram": {"chatId": -100123}}"#);
    for (arguments, thread, channel) in [
        (&["send", "a"][..], Value::from(1), "telegram"),
        (&["send", "--thread", "7", "b"], Value::from(7), "telegram"),
        (&["send", "--thread", "7", "--wait", "--timeout", "0", "c"], Value::from(7), "cli"),
        (&["send", "--thread", "u101", "private"], Value::from("u101"), "telegram"),
        (&["send", "--thread", "cli-notes", "d"], Value::from("cli-notes"), "cli"),
    ] {
        office.run(arguments);
        let all = office.run(&["queue", "ls", "--json"]).json();
        let all = all.as_array().expect("an array");
        let it = &all.last().expect("a message")["message"];
        assert_eq!((&it["threadId"], &it["channel"]), (&thread, &channel.into()), "{arguments:?}");
    }
}

#[test]
fn a_file_goes_along_as_a_copy_in_the_threads_folder() {
    let office = Office::closed();
    fs::write(office.place.path("work/a b.txt"), "contents").expect("file");
    let path = office.place.path("work/a b.txt").display().to_string();
    office.run(&["send", "--file", &path, "look"]).ok();
    let all = office.run(&["queue", "ls", "--json"]).json();
    let file = &all[0]["message"]["files"][0];
    assert_eq!((&file["name"], &file["mime"]), (&"a b.txt".into(), &"text/plain".into()));
    let kept = office.place.state().join(file["path"].as_str().expect("path"));
    assert_eq!(fs::read_to_string(kept).expect("copy"), "contents");
    assert_eq!(office.run(&["send", "--file", "/nowhere", "look"]).code, Some(1));
}

#[test]
fn nothing_is_sent_that_says_nothing_and_no_office_is_made_by_accident() {
    let office = Office::closed();
    assert_eq!(office.run_with(&["send"], " \n").code, Some(1));
    assert_eq!(office.run(&["send", "--thread", "../x", "hello"]).code, Some(2));
    let elsewhere = office.place.path("elsewhere");
    let said = office.command(&["send", "hello"]).env("TINYCLAW_DIR", &elsewhere).output();
    assert_eq!(said.expect("tinyclaw runs").status.code(), Some(1));
    assert!(!elsewhere.exists());
}
