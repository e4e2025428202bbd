//! Files of the office and of other desks.

use std::fs;

use crate::den::{Den, Verdict};

#[test]
fn the_state_is_neither_read_nor_written() {
    let mut den = Den::open();
    den.run("7", "echo mine > mine && cat mine").is_done();
    for script in [
        "ls \"$STATE\"",
        "cat \"$STATE/threads.json\"",
        "cat \"$STATE/message-history.jsonl\"",
        "echo '{}' > \"$STATE/settings.json\"",
        "echo '{}' > \"$STATE/queue/incoming/cli-99.json\"",
        "mv \"$STATE/queue\" \"$STATE/elsewhere\"",
        "ln -s /etc \"$STATE/files/8\"",
    ] {
        den.run("7", script).is_refused();
    }
}

#[test]
fn what_acts_before_the_first_message_reaches_no_more() {
    let mut den = Den::open_prepared(&[], |den| {
        let script = format!("cat '{}/state/threads.json' > at-start.out 2>&1\n", den.display());
        fs::write(den.join("bin/at-start"), script).expect("script");
    });
    let ran = den.run("7", "cat at-start.out; false");
    ran.is_refused();
}
