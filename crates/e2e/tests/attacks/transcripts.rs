//! What an agent makes of its transcript, which the office reads.

use std::time::Duration;

use tinyclaw_domain::Key;
use tinyclaw_testkit::hostile::Act;

use crate::den::{Den, Verdict};

/// Puts something in the transcript's place and dies, so that the office looks into it.
fn spoil(den: &mut Den, desk: &str, what: &str) -> Key {
    let script = format!(
        "for it in \"$CLAUDE_CONFIG_DIR\"/projects/*/*.jsonl; do rm -f \"$it\"; {what} \"$it\"; done\n\
         kill -9 $CLAUDE_PID"
    );
    let script = den.with_names(&script);
    den.send(desk, &[Act::Run(script)])
}

#[test]
fn a_pipe_for_a_transcript_takes_no_place_and_keeps_nobody_from_leaving() {
    let mut den = Den::open();
    // As many as may work at the same time, and one.
    let desks = ["21", "22", "23", "24", "25"];
    let keys: Vec<Key> = desks.iter().map(|it| spoil(&mut den, it, "mkfifo")).collect();
    keys.iter().for_each(|it| den.is_given_up(it));
    den.run("8", "echo fine").is_done();
    let time = den.stop();
    assert!(time < Duration::from_secs(30), "it took {time:?} to leave");
}

#[test]
fn a_huge_transcript_is_not_read() {
    let mut den = Den::open();
    let key = spoil(&mut den, "21", "truncate -s 1T");
    den.is_given_up(&key);
    den.run("8", "echo fine").is_done();
    den.stop();
    den.start();
    den.run("8", "echo fine").is_done();
    den.run("21", "echo fine").is_done();
}

#[test]
fn a_link_for_a_transcript_leads_nowhere() {
    let mut den = Den::open();
    let key = spoil(&mut den, "21", "ln -s \"$STATE/threads.json\"");
    den.is_given_up(&key);
    den.run("8", "echo fine").is_done();
    den.run(
        "21",
        "for it in \"$CLAUDE_CONFIG_DIR\"/projects/*/*.jsonl; do cat \"$it\"; done; false",
    )
    .is_refused();
}
