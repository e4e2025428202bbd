//! A devbox to test against: this machine, over a real sshd, with another HOME. What every launcher and every look promises holds
//! there too; here is what only a devbox has to promise.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tinyclaw_devbox::{HostKey, Kind, Route, Trouble};
use tinyclaw_domain::{DevboxName, Place, ThreadId};
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::testing::looks::Ground;
use tinyclaw_engine::{
    DevboxLauncher, DevboxWay, Devboxes, Engine, EngineConfig, Turn, TurnEvent, TurnFailure,
    TurnOutcome,
};
use tinyclaw_testkit::sshd::Sshd;

use crate::desk::{Desk, alive, eventually, until};

/// The one devbox of a test.
#[derive(Debug)]
pub(crate) struct Box {
    pub(crate) sshd: Sshd,
    route: Mutex<Route>,
    thread: ThreadId,
    dials: Mutex<Vec<Result<Duration, Trouble>>>,
}

impl Devboxes for Box {
    fn way(&self, _name: &DevboxName) -> Result<DevboxWay, String> {
        Ok(DevboxWay::Ssh(std::boxed::Box::new(self.route.lock().unwrap().clone())))
    }

    fn of_thread(&self, thread: &ThreadId) -> Option<DevboxName> {
        (*thread == self.thread).then(name)
    }

    fn note_dial(&self, _name: &DevboxName, dialled: Result<Duration, &Trouble>) {
        self.dials.lock().unwrap().push(dialled.map_err(Clone::clone));
    }
}

impl Box {
    /// What came of the last dial.
    fn last(&self) -> Option<Result<Duration, Trouble>> {
        self.dials.lock().unwrap().last().cloned()
    }

    fn kind(&self) -> Option<Kind> {
        Some(self.last()?.err()?.kind)
    }

    fn change(&self, change: impl FnOnce(&mut Route)) {
        change(&mut self.route.lock().unwrap());
    }
}

fn name() -> DevboxName {
    "box".parse().unwrap()
}

/// Where the helper of a desk's devbox keeps what it keeps.
pub(crate) fn state(config: &EngineConfig) -> PathBuf {
    config.claude_home.join(".local/state/tinyclaw")
}

/// Whether there can be one here; if not, that is said.
pub(crate) fn can_be_had(test: &str) -> bool {
    let nowhere = tempfile::tempdir().unwrap();
    Sshd::start(test, nowhere.path()).is_some()
}

/// A devbox whose HOME is this desk's, with the desk's program as its Claude.
fn found(desk: &Desk) -> Option<Arc<Box>> {
    let home = &desk.config.claude_home;
    let sshd = Sshd::start("a devbox", home)?;
    let bin = home.join(".local/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let claude = bin.join("claude");
    if claude.symlink_metadata().is_err() {
        std::os::unix::fs::symlink(&desk.config.program, claude).unwrap();
        std::fs::write(home.join(".profile"), "PATH=\"$HOME/.local/bin:$PATH\"\n").unwrap();
    }
    let route = Route {
        name: name(),
        host: format!("127.0.0.1:{}", sshd.port()).parse().unwrap(),
        user: sshd.user().parse().unwrap(),
        key: sshd.key(),
        config: None,
        known_hosts: desk.path("known_hosts"),
    };
    let key: HostKey = sshd.host_key().parse().unwrap();
    std::fs::write(&route.known_hosts, key.known_hosts(&route.name)).unwrap();
    let (thread, dials) = (desk.spec.thread.clone(), Mutex::default());
    Some(Arc::new(Box { sshd, route: Mutex::new(route), thread, dials }))
}

fn launcher(desk: &Desk, devbox: &Arc<Box>) -> DevboxLauncher {
    // What a failed test leaves behind ends by itself.
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let (helper, landlock) = (desk.config.leash.clone(), desk.config.landlock);
    // Two engines of one desk's configuration are one office.
    let known = desk.config.claude_home.with_file_name("known-runs.json");
    DevboxLauncher::new(devbox.clone(), helper, landlock, lease, known)
}

/// Has a desk work on a devbox from now on.
fn moved(desk: &mut Desk) -> Option<Arc<Box>> {
    let devbox = found(desk)?;
    let there = Arc::new(launcher(desk, &devbox));
    desk.engine = Engine::reaching(desk.config.clone(), false, Some(there));
    desk.spec.place = Place::Devbox(name());
    Some(devbox)
}

/// The same for the cases of all launchers, to which a devbox is a launcher like any other.
pub(crate) fn move_there(desk: &mut Desk) {
    // The engine keeps the devbox as long as it is there itself.
    moved(desk).expect("it can be had");
}

/// A look at one, for the cases of all looks.
pub(crate) fn ground(test: &str) -> Option<(Desk, Ground)> {
    if !can_be_had(test) {
        return None;
    }
    let mut desk = Desk::demo();
    let devbox = moved(&mut desk)?;
    let beside = desk.path("beside");
    std::fs::create_dir_all(&beside).unwrap();
    let look = Arc::new(launcher(&desk, &devbox));
    let home = desk.config.claude_home.clone();
    let ground =
        Ground { look, desk: desk.at(), home, beside, settle: std::boxed::Box::new(|| {}) };
    Some((desk, ground))
}

fn with_devbox(test: &str) -> Option<(Desk, Arc<Box>)> {
    if !can_be_had(test) {
        return None;
    }
    let mut desk = Desk::demo();
    let devbox = moved(&mut desk)?;
    Some((desk, devbox))
}

fn out_of_reach(outcome: &TurnOutcome) -> &str {
    match outcome {
        TurnOutcome::Failed(TurnFailure::OutOfReach(why)) => &why.why,
        other => panic!("{other:?}"),
    }
}

async fn spawned(turn: &mut Turn) {
    until(turn, |it| matches!(it, TurnEvent::ToolFinished { .. }).then_some(())).await;
}

fn helpers(desk: &Desk) -> Vec<PathBuf> {
    let bin = desk.config.claude_home.join(".local/share/tinyclaw/bin");
    let listed = std::fs::read_dir(bin).into_iter().flatten().flatten();
    listed.map(|it| it.path()).collect()
}

#[tokio::test]
async fn the_helper_is_brought_once_and_nothing_else_is_left() {
    let Some((desk, devbox)) = with_devbox("the_helper_is_brought_once") else { return };
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    let brought = helpers(&desk);
    assert_eq!(brought.len(), 1, "{brought:?}");
    let written = brought[0].metadata().unwrap().modified().unwrap();
    devbox.sshd.cut();
    assert_eq!(desk.say("again").await.outcome, TurnOutcome::Answered);
    assert_eq!(helpers(&desk), brought);
    assert_eq!(brought[0].metadata().unwrap().modified().unwrap(), written);
    desk.engine.close().await;
}

#[tokio::test]
async fn half_a_helper_is_not_kept() {
    let Some((desk, devbox)) = with_devbox("half_a_helper_is_not_kept") else { return };
    // A folder that cannot be written stands for a disk that is full.
    let share = desk.config.claude_home.join(".local/share");
    std::fs::write(&share, "in the way").unwrap();
    let end = desk.say("hello").await;
    assert!(out_of_reach(&end.outcome).contains("the helper cannot be put there"), "{end:?}");
    assert_eq!(devbox.kind(), Some(Kind::NoHelper));
    std::fs::remove_file(&share).unwrap();
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

#[tokio::test]
async fn nothing_runs_there_for_who_shows_another_key() {
    let Some((desk, devbox)) = with_devbox("nothing_runs_there_for_who_shows_another_key") else {
        return;
    };
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.evict(&desk.spec.thread).await;
    devbox.sshd.change_host_key().unwrap();
    devbox.sshd.cut();
    let end = desk.say("again").await;
    assert!(out_of_reach(&end.outcome).contains("the key of box has changed"), "{end:?}");
    assert_eq!(devbox.kind(), Some(Kind::KeyChanged));
    desk.engine.close().await;
}

#[tokio::test]
async fn a_key_that_others_may_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let Some((desk, devbox)) = with_devbox("a_key_that_others_may_read_is_not_used") else {
        return;
    };
    let open = desk.path("open");
    std::fs::copy(devbox.sshd.key(), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    devbox.change(|it| it.key = open);
    let before = devbox.sshd.accepted();
    let end = desk.say("hello").await;
    assert!(out_of_reach(&end.outcome).contains("may be read by others"), "{end:?}");
    assert_eq!(devbox.sshd.accepted(), before, "it was not even dialled");
}

#[tokio::test]
async fn a_turn_does_not_notice_that_its_ssh_is_cut() {
    let Some((desk, devbox)) = with_devbox("a_turn_does_not_notice_that_its_ssh_is_cut") else {
        return;
    };
    let whole = desk.say("[demo: long 40000]").await;
    let mut turn = desk.ask("[demo: long 40000] [demo: slow 2s]");
    let (mut end, mut cuts) = (None, 0);
    let mut clock = tokio::time::interval(Duration::from_millis(300));
    while end.is_none() {
        tokio::select! {
            event = turn.next() => if let Some(TurnEvent::Ended(it)) = event { end = Some(it) },
            // Not for ever: on a slow machine each would come before the next connection stands.
            _ = clock.tick(), if cuts < 3 => {
                devbox.sshd.cut();
                cuts += 1;
            }
        }
    }
    let end = end.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert!(end.text.len() >= 40_000 && whole.text.len() >= 40_000, "{}", end.text.len());
    assert!(
        cuts > 0 && devbox.sshd.accepted() > 1,
        "{cuts} cuts, {} dials",
        devbox.sshd.accepted()
    );
    desk.engine.close().await;
}

#[tokio::test]
async fn claude_goes_on_there_while_nobody_can_reach_it() {
    let Some((desk, devbox)) = with_devbox("claude_goes_on_there_while_nobody_can_reach_it") else {
        return;
    };
    let mut turn = desk.ask("[demo: spawn 600s] [demo: sleep 1s]");
    spawned(&mut turn).await;
    devbox.sshd.shut(true);
    eventually("it was dialled in vain", || devbox.kind() == Some(Kind::NotSsh)).await;
    assert!(!alive(&desk.lock()).is_empty(), "Claude is there");
    devbox.sshd.shut(false);
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

#[tokio::test]
async fn a_machine_without_claude_is_told_apart_from_one_that_is_out_of_reach() {
    let Some((desk, _devbox)) = with_devbox("a_machine_without_claude") else { return };
    let home = &desk.config.claude_home;
    std::fs::remove_file(home.join(".local/bin/claude")).unwrap();
    std::fs::write(home.join(".profile"), "PATH=/nowhere\n").unwrap();
    let end = desk.say("hello").await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::NotStarted { .. })), "{end:?}");
}

#[tokio::test]
async fn a_profile_that_talks_and_dawdles_holds_up_nothing_for_long() {
    let Some((desk, _devbox)) = with_devbox("a_profile_that_talks_and_dawdles") else { return };
    let home = &desk.config.claude_home;
    let mut profile = std::fs::read_to_string(home.join(".profile")).unwrap();
    profile.push_str("echo Welcome; printf 'x\\036y\\n'; sleep 600 &\n");
    std::fs::write(home.join(".profile"), profile).unwrap();
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

#[tokio::test]
async fn how_a_machine_is_is_asked_in_one_question() {
    let Some((desk, devbox)) = with_devbox("how_a_machine_is_is_asked_in_one_question") else {
        return;
    };
    let home = &desk.config.claude_home;
    std::fs::create_dir(desk.spec.cwd.join(".git")).unwrap();
    std::fs::write(desk.spec.cwd.join(".git/HEAD"), "ref: refs/heads/mai\x1bn\n").unwrap();
    let health = launcher(&desk, &devbox).health(&name(), &desk.spec.cwd).await.unwrap();
    assert_eq!(health.claude.as_deref(), Some(home.join(".local/bin/claude").as_path()));
    assert!(health.has_dir && health.version.is_some() && health.clock_ms > 0, "{health:?}");
    assert_eq!(health.branch.as_deref(), Some("main"), "what is told is fit to be shown");
    let gone = launcher(&desk, &devbox).health(&name(), Path::new("/nowhere")).await.unwrap();
    assert!(!gone.has_dir && gone.branch.is_none());
}
