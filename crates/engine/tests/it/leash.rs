//! What the leash promises: one owner a session, nothing left behind, `.tinyclaw/` out of reach.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tinyclaw_domain::Place;
use tinyclaw_engine::{
    Engine, EngineConfig, Landlock, TurnEvent, TurnFailure, TurnOutcome, find_sibling,
};

use crate::desk::{Desk, alive, eventually, is_unconfined, until};

/// A tool leaves a process in a session of its own behind, and Claude says no more.
const ORPHAN: &str = "[demo: spawn 600s] [demo: hang]";
const DEAF_ORPHAN: &str = "[demo: spawn 600s] [demo: deaf]";

/// Waits until the tool has left its process behind.
async fn spawned(turn: &mut tinyclaw_engine::Turn) {
    until(turn, |it| matches!(it, TurnEvent::ToolFinished { .. }).then_some(())).await;
}

fn leash_of(desk: &Desk) -> Pid {
    let text = std::fs::read_to_string(desk.lock()).unwrap();
    let pid = text.split(' ').nth(1).unwrap();
    Pid::from_raw(pid.parse().unwrap())
}

async fn nobody_is_left(desk: &Desk) {
    let lock = desk.lock();
    eventually("nobody is left", || alive(&lock).is_empty()).await;
}

#[tokio::test]
async fn nothing_survives_the_end_of_its_leash() {
    let desk = Desk::demo();
    let mut turn = desk.ask(ORPHAN);
    spawned(&mut turn).await;
    // A process is not told by its environment while it becomes another program.
    let three = || alive(&desk.lock()).len() == 3;
    eventually("the leash, its Claude, and what the tool left behind are there", three).await;
    desk.engine.close().await;
    assert_eq!(alive(&desk.lock()), [] as [u32; 0]);
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Failed(TurnFailure::Closing));
    let after = desk.say("hello").await;
    assert_eq!(after.outcome, TurnOutcome::Failed(TurnFailure::Closing));
}

#[tokio::test]
async fn nothing_survives_the_end_of_its_turn_when_claude_dies() {
    let desk = Desk::demo();
    let end = desk.say("[demo: spawn 600s] [demo: crash]").await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    nobody_is_left(&desk).await;
}

#[tokio::test]
async fn nothing_survives_a_stop_that_had_to_go_to_the_end() {
    let desk = Desk::demo_with(|it| {
        it.times.interrupt = Duration::from_millis(100);
        it.times.sigint = Duration::from_millis(100);
    });
    let mut turn = desk.ask(DEAF_ORPHAN);
    spawned(&mut turn).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    nobody_is_left(&desk).await;
}

#[tokio::test]
async fn nothing_survives_a_time_out() {
    let desk = Desk::demo_with(|it| {
        it.times.silence = Duration::from_secs(2);
        it.times.interrupt = Duration::from_millis(100);
        it.times.sigint = Duration::from_millis(100);
    });
    let end = desk.say(DEAF_ORPHAN).await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Hung(_))), "{end:?}");
    nobody_is_left(&desk).await;
}

#[tokio::test]
async fn nothing_survives_when_the_machine_stops() {
    let desk = Desk::demo();
    let mut turn = desk.ask(DEAF_ORPHAN);
    spawned(&mut turn).await;
    kill(leash_of(&desk), Signal::SIGTERM).unwrap();
    let end = turn.end().await.unwrap();
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    nobody_is_left(&desk).await;
}

#[tokio::test]
async fn nothing_survives_an_owner_that_is_killed() {
    let desk = Desk::demo();
    let mut owner = owner_of(&desk, DEAF_ORPHAN);
    let lock = desk.lock();
    eventually("the owner's Claude works", || alive(&lock).len() == 3).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    nobody_is_left(&desk).await;
    // And the session is free at once for whoever comes next.
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
}

/// Whoever is killed, at whatever moment: the next owner gets the session, and in the end nobody is left.
#[tokio::test]
async fn campaign_nothing_is_left_behind_whoever_dies() {
    const ROUNDS: u32 = 24;
    let desk = Desk::demo();
    let lock = desk.lock();
    for round in 0..ROUNDS {
        let mut owner = owner_of(&desk, ORPHAN);
        // From before there is a leash until all of it runs.
        tokio::time::sleep(Duration::from_millis(u64::from(round * 7 % 90))).await;
        let found = alive(&lock);
        let victim = match round % 3 {
            0 => None,
            1 => found.first(),
            _ => found.last(),
        };
        if let Some(victim) = victim {
            let _ = kill(Pid::from_raw((*victim).try_into().unwrap()), Signal::SIGKILL);
        }
        owner.kill().unwrap();
        owner.wait().unwrap();
        let next = desk.say("hello").await;
        assert_eq!(next.outcome, TurnOutcome::Answered, "round {round}: {next:?}");
        assert_eq!(alive(&lock).len(), 2, "round {round}");
        assert!(desk.engine.evict(&desk.spec.thread).await);
        assert_eq!(alive(&lock), [] as [u32; 0], "round {round}");
    }
}

/// Another process that has an engine of its own over this desk's state, and asks this.
fn owner_of(desk: &Desk, prompt: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["leash::an_owner_of_its_own", "--exact", "--ignored", "--nocapture"])
        .env("OWNED_ROOT", desk.path(""))
        .env("OWNED_PROMPT", prompt)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What [`owner_of`] starts: not a test of its own.
#[tokio::test]
#[ignore = "a helper process of the tests above"]
async fn an_owner_of_its_own() {
    let Ok(root) = std::env::var("OWNED_ROOT").map(PathBuf::from) else { return };
    let demo = env!("CARGO_BIN_EXE_tinyclaw-demo-engine");
    let leash = env!("CARGO_BIN_EXE_tinyclaw-leash");
    let config = EngineConfig::new(demo, leash, root.join("state"), root.join("home"));
    let mut desk = Desk::demo();
    desk.engine = Engine::new(config);
    desk.spec.cwd = root.join("work");
    desk.say(&std::env::var("OWNED_PROMPT").unwrap()).await;
}

#[tokio::test]
async fn what_a_killed_leash_left_behind_is_swept_by_the_next_one() {
    let desk = Desk::demo();
    let mut turn = desk.ask(DEAF_ORPHAN);
    spawned(&mut turn).await;
    kill(leash_of(&desk), Signal::SIGKILL).unwrap();
    let end = turn.end().await.unwrap();
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    let lock = desk.lock();
    // Claude dies with its leash; the tool's process does not know that it should.
    eventually("claude is gone", || alive(&lock).len() == 1).await;
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    assert_eq!(alive(&lock).len(), 2);
}

#[tokio::test]
async fn a_session_has_one_owner_and_the_last_one_wins() {
    let desk = Desk::demo();
    let mut other = Desk::demo();
    let root = desk.path("");
    let demo = env!("CARGO_BIN_EXE_tinyclaw-demo-engine");
    let leash = env!("CARGO_BIN_EXE_tinyclaw-leash");
    other.engine =
        Engine::new(EngineConfig::new(demo, leash, root.join("state"), root.join("home")));
    other.spec = desk.spec.clone();
    let mut first = desk.ask(ORPHAN);
    spawned(&mut first).await;
    assert_eq!(other.say("mine now").await.outcome, TurnOutcome::Answered);
    let lost = first.end().await.unwrap();
    assert!(matches!(lost.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{lost:?}");
    assert_eq!(alive(&desk.lock()).len(), 2);
}

#[tokio::test]
async fn claude_gets_its_desk_and_nothing_of_the_state_but_its_files() {
    let desk = Desk::demo_with(|it| it.landlock = Landlock::On);
    std::fs::create_dir_all(desk.path("state/queue/incoming")).unwrap();
    std::fs::write(desk.path("state/queue/incoming/cli-1.json"), "{}").unwrap();
    std::fs::write(desk.path("work/notes.md"), "mine").unwrap();
    for it in ["state/files/8", "state/home/8", "home/.claude", "home/.ssh"] {
        std::fs::create_dir_all(desk.path(it)).unwrap();
    }
    let open = |path: &str| format!("[demo: open {}]", desk.path(path).display());
    let touch = |path: &str| format!("[demo: touch {}]", desk.path(path).display());

    let first = desk.say(&open("work/notes.md")).await;
    if is_unconfined(&first) {
        return;
    }
    assert!(first.text.ends_with("can be read"), "{first:?}");
    for allowed in [
        touch("work/new.md"),
        touch("state/files/7/photo.png"),
        touch("state/home/7/.claude/x"),
        touch("state/home/7/.bashrc"),
        touch("work/.git"),
    ] {
        let end = desk.say(&allowed).await;
        assert!(end.text.ends_with("can be written"), "{allowed}: {}", end.text);
    }
    for refused in [
        open("state/queue/incoming/cli-1.json"),
        open("state/queue"),
        touch("state/threads.json"),
        touch("state/files/8/not-mine"),
        touch("state/home/8/.gitconfig"),
        touch("home/.gitconfig"),
        touch("home/.claude/settings.json"),
        open("home/.ssh"),
        touch("state/locks/session-8"),
        touch("elsewhere"),
        "[demo: open /proc/1/environ]".to_owned(),
    ] {
        let end = desk.say(&refused).await;
        assert!(end.text.contains("ermission denied"), "{refused}: {}", end.text);
    }
}

#[tokio::test]
async fn a_desk_that_holds_the_state_is_refused_by_name() {
    let mut desk = Desk::demo();
    desk.spec.cwd = desk.path("");
    let here = desk.engine.look(&Place::Here).unwrap();
    assert!(here.check_dir(&desk.at()).await.is_err());
    assert!(here.check_dir(&desk.at().with_dir(desk.path("work"))).await.is_ok());
    let end = desk.say("hello").await;
    let TurnOutcome::Failed(failure) = &end.outcome else { panic!("{end:?}") };
    assert!(failure.to_string().contains("choose a directory beside it"), "{failure}");
}

#[test]
fn binaries_are_found_beside_the_running_one() {
    // The test's own binary lies in `deps/`, one folder below them.
    assert!(find_sibling("tinyclaw-leash").is_some());
    assert!(find_sibling("tinyclaw-no-such-thing").is_none());
}
