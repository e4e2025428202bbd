//! Files of the office and of other desks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tinyclaw_testkit::hostile::Act;

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

#[test]
fn files_and_capabilities_of_another_desk_are_not_reached() {
    let mut den = Den::open();
    den.run("8", "echo hush > \"$STATE/files/8/.capability\"").is_done();
    den.run("7", "echo mine > \"$STATE/files/7/mine\" && cat \"$STATE/files/7/mine\"").is_done();
    for script in [
        "cat \"$STATE/files/8/.capability\"",
        "ls \"$STATE/files\"",
        "ls \"$STATE/files/8\"",
        "echo forged > \"$STATE/files/8/.capability\"",
        "ln \"$STATE/files/8/.capability\" \"$STATE/files/7/linked\"",
        "mv \"$STATE/files/7\" \"$STATE/files/9\"",
    ] {
        den.run("7", script).is_refused();
    }
}

#[test]
fn a_directory_that_became_a_link_into_the_state_gives_nothing() {
    let mut den = Den::open();
    den.run("8", "true").is_done();
    let site = den.path("work/acme/site");
    fs::create_dir_all(&site).expect("folder");
    fs::create_dir(den.path("state/site")).expect("folder");
    // The directory, or a folder above it, is replaced as an agent can who has the folder above: before the desk's
    // Claude is started, and while it runs.
    for (link, to) in [("work/acme/site", "state/queue"), ("work/acme", "state")] {
        for is_warm in [false, true] {
            den.restart_with(|threads| set_cwd(threads, "8", &site));
            // Whoever is answered was asked after the start.
            den.run("9", "true").is_done();
            if is_warm {
                let ran = den.run("8", "pwd");
                assert!(ran.out.contains("work/acme/site"), "{ran:?}");
            }
            let (link, kept) = (den.path(link), den.path("work/kept"));
            fs::rename(&link, &kept).expect("moved away");
            symlink(den.path(to), &link).expect("link");
            is_no_desk(&mut den, "8", "is a link or lies behind one");
            // At its next start the thread is moved out.
            den.stop();
            den.start();
            is_moved_out(&mut den, "8", &site);
            fs::remove_file(&link).expect("the link");
            fs::rename(&kept, &link).expect("moved back");
        }
    }
}

#[test]
fn a_stored_directory_inside_the_state_or_around_it_is_refused() {
    let mut den = Den::open();
    for desk in ["8", "9"] {
        den.run(desk, "true").is_done();
    }
    for (below, why) in [
        ("state/queue", "lies in TinyClaw's own state"),
        ("state", "lies in TinyClaw's own state"),
        ("state/files/7", "lies in TinyClaw's own state"),
        (".", "contains TinyClaw's own state"),
    ] {
        let cwd = den.path(below);
        fs::create_dir_all(&cwd).expect("folder");
        // Written while the processor runs, which reads it before its next change. A change that it has begun, such as
        // the status after an answer, may write over it: then it is written again.
        let is_taken = (0..20).any(|_| {
            let mut threads = stored(&den);
            set_cwd(&mut threads, "8", &cwd);
            let edited = den.path("threads.json.edited");
            fs::write(&edited, threads.to_string()).expect("threads");
            fs::rename(&edited, den.state().threads()).expect("threads");
            den.run("9", "true").is_done();
            stored(&den)["8"]["cwd"] == threads["8"]["cwd"]
        });
        assert!(is_taken, "{}", stored(&den));
        is_no_desk(&mut den, "8", why);
        // There at a start, the thread is moved out.
        den.restart_with(|threads| set_cwd(threads, "8", &cwd));
        is_moved_out(&mut den, "8", &cwd);
    }
}

#[test]
fn a_files_folder_that_is_a_link_gives_nothing() {
    let mut den = Den::open_prepared(&[], |den| {
        fs::create_dir_all(den.join("state/files")).expect("folder");
        fs::create_dir_all(den.join("state/queue/incoming")).expect("folder");
        symlink(den.join("state/queue"), den.join("state/files/7")).expect("link");
    });
    is_no_desk(&mut den, "7", "is a link or lies behind one");
    den.run("8", "echo fine").is_done();
}

fn stored(den: &Den) -> serde_json::Value {
    let text = fs::read(den.state().threads()).expect("threads");
    serde_json::from_slice(&text).expect("threads")
}

fn set_cwd(threads: &mut serde_json::Value, desk: &str, cwd: &Path) {
    threads[desk]["cwd"] = cwd.display().to_string().into();
}

/// The desk's agent is not even started, and people are told why.
#[track_caller]
fn is_no_desk(den: &mut Den, desk: &str, why: &str) {
    let script =
        den.with_names("echo '{}' > incoming/cli-99.json; echo '{}' > queue/incoming/cli-99.json");
    let key = den.send(desk, &[Act::Run(script)]);
    let reply = den.answer(&key);
    assert!(reply.text.contains(why), "{reply:?}");
    assert!(!den.path("state/queue/incoming/cli-99.json").exists());
}

/// The desk works in a folder of its own, is told so once, and reaches nothing of the state.
#[track_caller]
fn is_moved_out(den: &mut Den, desk: &str, from: &Path) {
    let forge = "echo '{}' > incoming/cli-99.json; echo '{}' > queue/incoming/cli-99.json; ";
    let ran = den.run(desk, &format!("{forge} pwd"));
    ran.is_done();
    let own = den.path("work").join(desk).display().to_string();
    assert!(ran.out.lines().any(|it| it == own), "{ran:?}");
    den.run(desk, "cat \"$STATE/threads.json\"").is_refused();
    den.run(desk, "echo '{}' > \"$STATE/queue/incoming/cli-99.json\"").is_refused();
    assert!(!den.path("state/queue/incoming/cli-99.json").exists());
    let told = format!("This thread worked in {},", from.display());
    let prompts = den.lines("logs/prompts.jsonl");
    let is_told = |it: &serde_json::Value| it["userMessage"].to_string().contains(&told);
    let last: Vec<bool> = prompts[prompts.len() - 3..].iter().map(is_told).collect();
    assert_eq!(last, [true, false, false], "{prompts:#?}");
}
