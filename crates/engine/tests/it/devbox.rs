//! A devbox to test against: this machine, over a real sshd, with another HOME. What every launcher and every look promises holds
//! there too; here is what only a devbox has to promise.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tinyclaw_devbox::{HostKey, Kind, Route, Trouble};
use tinyclaw_domain::{DevboxName, PermissionAnswer, Place, ThreadId};
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::testing::looks::Ground;
use tinyclaw_engine::{
    DevboxLauncher, DevboxWay, Devboxes, Engine, EngineConfig, GitAnswer, Trace, Turn, TurnEvent,
    TurnFailure, TurnOutcome, TurnRequest,
};
use tinyclaw_testkit::sshd::Sshd;

mod network;
mod there;

use crate::claude::real;
use crate::desk::{Desk, alive, eventually, until};

/// The one devbox of a test.
#[derive(Debug)]
pub(crate) struct Box {
    pub(crate) sshd: Sshd,
    route: Mutex<Route>,
    thread: ThreadId,
    dials: Mutex<Vec<Result<(), Trouble>>>,
    /// How long words took there and back.
    pings: Mutex<Vec<Duration>>,
    /// Of which repository git there may ask for tokens, and what it has asked.
    repository: Mutex<Option<String>>,
    asked: Mutex<Vec<String>>,
}

impl Devboxes for Box {
    fn way(&self, _name: &DevboxName) -> Result<DevboxWay, Trouble> {
        Ok(DevboxWay::Ssh(std::boxed::Box::new(self.route.lock().unwrap().clone())))
    }

    fn of_thread(&self, thread: &ThreadId) -> Option<DevboxName> {
        (*thread == self.thread).then(name)
    }

    fn note_dial(&self, _name: &DevboxName, dialled: Result<(), &Trouble>) {
        self.dials.lock().unwrap().push(dialled.map_err(Clone::clone));
    }

    fn note_ping(&self, _name: &DevboxName, took: Duration) {
        self.pings.lock().unwrap().push(took);
    }

    fn repository(&self, _name: &DevboxName) -> Option<String> {
        self.repository.lock().unwrap().clone()
    }

    /// The first question is never answered.
    fn git<'a>(&'a self, _name: &'a DevboxName, asked: &'a [u8]) -> GitAnswer<'a> {
        let mut all = self.asked.lock().unwrap();
        all.push(String::from_utf8_lossy(asked).into_owned());
        let is_first = all.len() == 1;
        std::boxed::Box::pin(async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            b"username=x-access-token\npassword=of-acme-site\n".to_vec()
        })
    }
}

impl Box {
    /// What came of the last dial.
    fn last(&self) -> Option<Result<(), Trouble>> {
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
fn found(desk: &Desk, more: &str) -> Option<Arc<Box>> {
    let home = &desk.config.claude_home;
    let sshd = Sshd::start_with("a devbox", home, more)?;
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
        cert_command: None,
    };
    let key: HostKey = sshd.host_key().parse().unwrap();
    std::fs::write(&route.known_hosts, key.known_hosts(&route.name)).unwrap();
    Some(Arc::new(Box {
        sshd,
        route: Mutex::new(route),
        thread: desk.spec.thread.clone(),
        dials: Mutex::default(),
        pings: Mutex::default(),
        repository: Mutex::default(),
        asked: Mutex::default(),
    }))
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
    moved_by(desk, "")
}

/// The same with more lines for the server.
fn moved_by(desk: &mut Desk, more: &str) -> Option<Arc<Box>> {
    let devbox = found(desk, more)?;
    let there = Arc::new(launcher(desk, &devbox));
    desk.engine = Engine::reaching(desk.config.clone(), false, Some(there), None);
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
    with_devbox_by(test, |_| String::new())
}

/// The same with more lines for the server.
fn with_devbox_by(test: &str, more: impl Fn(&Desk) -> String) -> Option<(Desk, Arc<Box>)> {
    if !can_be_had(test) {
        return None;
    }
    let mut desk = Desk::demo();
    let more = more(&desk);
    let devbox = moved_by(&mut desk, &more)?;
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

/// It stands in its Host block.
#[tokio::test]
async fn a_key_of_a_machines_own_is_offered_after_the_offices() {
    let Some((desk, devbox)) = with_devbox("a_key_of_a_machines_own") else { return };
    let (config, own) = (desk.path("ssh_config"), devbox.sshd.key());
    std::fs::write(&config, format!("Host 127.0.0.1\n  IdentityFile {}\n", own.display())).unwrap();
    devbox.change(|it| (it.key, it.config) = (devbox.sshd.other_key(), Some(config)));
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
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
async fn an_answer_that_was_given_in_a_cut_is_heard_once() {
    let Some((desk, devbox)) = with_devbox("an_answer_that_was_given_in_a_cut") else { return };
    let mut turn = desk.ask("[demo: ask]");
    let asking = |it| match it {
        TurnEvent::Asking { ask } => Some(ask.request_id),
        _ => None,
    };
    let id = until(&mut turn, asking).await;
    devbox.sshd.shut(true);
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    eventually("it was dialled in vain", || devbox.kind() == Some(Kind::NotSsh)).await;
    devbox.sshd.shut(false);
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    assert!(end.denials.is_empty(), "{end:?}");
    desk.engine.close().await;
}

/// A machine that wakes up, or a network, is not flooded.
#[tokio::test]
async fn many_devboxes_are_dialled_four_at_a_time() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let Some((desk, devbox)) = with_devbox("many_devboxes_are_dialled") else { return };
    let port = listener.local_addr().unwrap().port();
    devbox.change(|it| it.host = format!("127.0.0.1:{port}").parse().unwrap());
    let there = Arc::new(launcher(&desk, &devbox));
    let mut asked = tokio::task::JoinSet::new();
    const MANY: usize = 52;
    for number in 0..MANY {
        let there = there.clone();
        let name: DevboxName = format!("box{number}").parse().unwrap();
        asked.spawn(async move { there.health(&name, Path::new("/")).await.is_err() });
    }
    // Each is held until as many are there as come at once, and then all of them are let go.
    let (mut most, mut all) = (0, 0);
    while all < MANY {
        let mut held = Vec::new();
        while held.len() < 4 {
            held.push(listener.accept().await.unwrap());
        }
        let another = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        held.extend(another.ok().and_then(Result::ok));
        (most, all) = (most.max(held.len()), all + held.len());
    }
    assert_eq!((most, all), (4, MANY));
    while let Some(failed) = asked.join_next().await {
        assert!(failed.unwrap());
    }
}

/// A helper is named by its bytes, so an update puts another one beside it, and what runs below the old one goes on.
#[tokio::test]
async fn a_turn_below_an_older_helper_is_gone_on_with_after_an_update() {
    let Some((mut desk, devbox)) = with_devbox("a_turn_below_an_older_helper") else { return };
    let request = desk.request("[demo: ask]");
    let mut turn = desk.engine.turn(request.clone());
    let asking = |it| match it {
        TurnEvent::Asking { ask } => Some(ask.request_id),
        _ => None,
    };
    until(&mut turn, asking).await;
    desk.engine.leave().await;
    drop(turn);
    let newer = desk.path("newer-leash");
    let mut bytes = std::fs::read(&desk.config.leash).unwrap();
    bytes.push(0);
    std::fs::write(&newer, bytes).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&newer, std::fs::Permissions::from_mode(0o755)).unwrap();
    desk.config.leash = newer;
    let there = Arc::new(launcher(&desk, &devbox));
    let engine = Engine::reaching(desk.config.clone(), false, Some(there), None);
    let trace = engine.trace(&desk.at(), &desk.spec.id, &request.uuid).await.unwrap();
    assert_eq!(trace, Trace::Running);
    let mut turn = engine.turn(TurnRequest { content: Vec::new(), ..request });
    let id = until(&mut turn, asking).await;
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
    assert_eq!(helpers(&desk).len(), 2, "{:?}", helpers(&desk));
    engine.close().await;
}

/// What an earlier process left, and nobody waits for.
#[tokio::test]
async fn runs_that_nobody_waits_for_are_ended_at_the_next_start() {
    let Some((mut desk, devbox)) = with_devbox("runs_that_nobody_waits_for") else { return };
    let mut turn = desk.ask("[demo: spawn 600s] [demo: hang]");
    spawned(&mut turn).await;
    desk.engine.leave().await;
    drop(turn);
    assert!(!alive(&desk.lock()).is_empty(), "it goes on there");
    let there = Arc::new(launcher(&desk, &devbox));
    desk.engine = Engine::reaching(desk.config.clone(), false, Some(there), None);
    desk.engine.end_all_but(&[]).await;
    let lock = desk.lock();
    eventually("nobody is left", || alive(&lock).is_empty()).await;
}

/// With a key of its own there, as a person would have set it up, and nothing of the office's.
#[tokio::test]
async fn real_claude_answers_on_a_devbox_over_a_cut_and_hears_a_stop() {
    let (mut desk, api) = real!();
    if !can_be_had("real_claude_answers_on_a_devbox") {
        return;
    }
    let Some(devbox) = moved(&mut desk) else { return };
    let profile = format!(
        "PATH=\"$HOME/.local/bin:$PATH\"\nexport ANTHROPIC_API_KEY=of-the-devbox ANTHROPIC_BASE_URL={}\n",
        api.url()
    );
    std::fs::write(desk.config.claude_home.join(".profile"), profile).unwrap();
    let first = desk.say("hello").await;
    assert_eq!(first.outcome, TurnOutcome::Answered, "{first:?}");
    assert_eq!(first.text, "You said: hello");
    devbox.sshd.cut();
    let second = desk.say("[api: say short]").await;
    assert_eq!((second.text.as_str(), second.resumed), ("short", true), "{second:?}");
    let mut turn = desk.ask("[api: words 400 20ms]");
    until(&mut turn, |it| matches!(it, TurnEvent::TextDelta(_)).then_some(())).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    desk.engine.close().await;
}
