//! Desks: what an agent can do to another one's folder, home and session, and what it is told of others.

use std::fs;

use crate::den::{Den, Verdict};

#[test]
fn what_is_left_in_a_home_no_other_desk_meets() {
    let mut den = Den::open();
    let script = "git config --global alias.st '!touch owned' && echo 'touch owned' > ~/.bashrc \
                  && mkdir -p ~/.claude && echo '{}' > ~/.claude/settings.json && git st && [ -e owned ]";
    den.run("7", script).is_done();
    den.run("8", "! git config --global --get alias.st && ! [ -e ~/.bashrc ] && ! [ -e ~/.claude/settings.json ]")
        .is_done();
}

#[test]
fn another_desks_transcript_is_neither_read_nor_continued() {
    let mut den = Den::open();
    // As Claude does: its transcript lies in its home.
    let own = "mkdir -p ~/.claude/projects/x && echo hush > ~/.claude/projects/x/7.jsonl";
    den.run("7", own).is_done();
    let home = den.run("7", "printf %s \"$HOME\"").out;
    den.run("8", "echo mine >> ~/.claude/projects/x/7.jsonl || mkdir -p ~/.claude/projects")
        .is_done();
    for script in [
        format!("cat '{home}/.claude/projects/x/7.jsonl'"),
        format!("echo more >> '{home}/.claude/projects/x/7.jsonl'"),
        format!("ls '{home}'"),
    ] {
        den.run("8", &script).is_refused();
    }
    let text = fs::read_to_string(format!("{home}/.claude/projects/x/7.jsonl"));
    assert_eq!(text.expect("transcript"), "hush\n");
}

#[test]
fn what_claude_reads_in_a_folder_no_other_desk_writes() {
    let mut den = Den::open();
    den.run("8", "echo mine > CLAUDE.md && mkdir .claude && echo '{}' > .claude/settings.json")
        .is_done();
    let other = den.run("8", "pwd").out;
    let other = other.trim();
    for script in [
        "echo owned > \"$WORK/CLAUDE.md\"".to_owned(),
        "mkdir -p \"$WORK/.claude\"".to_owned(),
        "mkdir -p \"$WORK/9\"".to_owned(),
        format!("echo owned > '{other}/CLAUDE.md'"),
        format!("echo owned > '{other}/.claude/settings.json'"),
        format!("cat '{other}/CLAUDE.md'"),
    ] {
        den.run("7", &script).is_refused();
    }
}

/// It replaced another desk's folder by a link to the queue, and the next Claude there was let in.
#[test]
fn a_link_in_place_of_a_folder_lets_nobody_into_the_queue() {
    let mut den = Den::open();
    den.run("9", "true").is_done();
    den.run("7", "ln -s \"$STATE/queue\" here && [ -L here ]").is_done();
    let script = "mv \"$WORK/9\" \"$WORK/away\"; ln -sfn \"$STATE/queue\" \"$WORK/9\"";
    den.run("7", script).is_refused();
    den.run("7", "ln -s \"$STATE/queue\" \"$WORK/10\"").is_refused();
    den.run("10", "ls incoming").is_missing();
}

#[test]
fn a_thread_that_was_put_into_the_state_gets_nothing_of_it() {
    let mut den = Den::open();
    den.run("7", "true").is_done();
    let queue = den.path("state/queue").display().to_string();
    den.restart_with(|it| it["7"]["cwd"] = queue.into());
    let script = "cd \"$STATE/queue\"; echo '{}' > \"$STATE/queue/incoming/cli-99.json\"";
    den.run("7", script).is_refused();
    assert!(!den.path("state/queue/incoming/cli-99.json").exists());
}

#[test]
fn a_thread_that_had_the_whole_workspace_has_its_own_folder() {
    let mut den = Den::open();
    den.run("7", "true").is_done();
    den.run("8", "echo mine > mine").is_done();
    let work = den.path("work").display().to_string();
    den.restart_with(|it| it["7"]["cwd"] = work.into());
    let other = den.run("8", "pwd").out;
    den.run("7", "echo mine > mine").is_done();
    den.run("7", &format!("cat '{}/mine'", other.trim())).is_refused();
    den.run("7", "echo x > \"$WORK/x\"").is_refused();
}
