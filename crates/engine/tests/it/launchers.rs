//! What every launcher promises: the same cases for Claude here, and for Claude at the far end of a link.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tinyclaw_domain::frame::{Call, Decoder, Told, encode};
use tinyclaw_domain::{PermissionAnswer, PermissionMode, Place, ThreadId};
use tinyclaw_engine::link::{
    Carrier, CarrierFuture, ChildCarrier, Connection, KnownRuns, Lease, LinkLauncher,
};
use tinyclaw_engine::{
    Access, Engine, EngineConfig, LaunchSpec, Launcher, Launchers, LocalLauncher, Turn, TurnEvent,
    TurnFailure, TurnOutcome,
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, copy, duplex, split,
};
use tokio::task::JoinSet;

use crate::claude::{asking, bash, real};
use crate::desk::{Desk, alive, eventually, new_session, until};

type Change = fn(&mut EngineConfig);
type Make = fn(&mut Desk);

const ORPHAN: &str = "[demo: spawn 600s] [demo: hang]";
const DEAF_ORPHAN: &str = "[demo: spawn 600s] [demo: deaf]";
const NOTHING: Change = |_| {};

fn here(desk: &mut Desk) {
    desk.engine = Engine::new(desk.config.clone());
}

fn linked(desk: &mut Desk) {
    let carrier = Arc::new(ChildCarrier::of(&desk.config));
    desk.engine = linked_by(desk.config.clone(), carrier);
}

/// Claude at the far end of a link to this machine.
pub(crate) fn linked_by(config: EngineConfig, carrier: Arc<dyn Carrier>) -> Engine {
    let look = Arc::new(LocalLauncher::of(&config));
    // What a failed test leaves behind ends by itself.
    let known = Arc::new(KnownRuns::unkept());
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let launcher = LinkLauncher::new(Place::Here, "ada", carrier, look, lease, known);
    Engine::with_launchers(config, Launchers::here(Arc::new(launcher)))
}

fn desk(make: Make, change: Change) -> Desk {
    let mut desk = Desk::demo_with(change);
    make(&mut desk);
    desk
}

macro_rules! for_each_launcher {
    ($($name:ident),* $(,)?) => {
        mod here {
            $(#[tokio::test] async fn $name() { super::$name(super::here).await; })*
        }
        mod linked {
            $(#[tokio::test] async fn $name() { super::$name(super::linked).await; })*
        }
        mod devbox {
            $(#[tokio::test] async fn $name() {
                if crate::devbox::can_be_had(stringify!($name)) {
                    super::$name(crate::devbox::move_there).await;
                }
            })*
        }
        mod env {
            $(#[tokio::test] async fn $name() { super::$name(crate::envs::move_there).await; })*
        }
    };
}

for_each_launcher!(
    turns_are_answered_by_one_process,
    a_long_answer_is_whole,
    nothing_survives_the_end_of_its_leash,
    nothing_survives_when_claude_dies,
    nothing_survives_a_stop_that_had_to_go_to_the_end,
    a_stop_is_heard,
    a_directory_has_the_last_of_its_owners,
);

/// The main ones with the real CLI. What it is on a devbox, `devbox` says.
macro_rules! for_each_launcher_of_the_real_cli {
    ($($name:ident),* $(,)?) => {
        mod here_with_claude {
            $(#[tokio::test] async fn $name() { super::$name(super::here).await; })*
        }
        mod linked_with_claude {
            $(#[tokio::test] async fn $name() { super::$name(super::linked).await; })*
        }
    };
}

for_each_launcher_of_the_real_cli!(
    real_claude_asks_is_answered_and_stays_one_process,
    real_claude_is_stopped_with_its_tool_and_leaves_nobody,
);

async fn real_claude_asks_is_answered_and_stays_one_process(make: Make) {
    let (mut desk, _api) = real!();
    make(&mut desk);
    assert_eq!(desk.say("hello").await.text, "You said: hello");
    let lock = desk.lock();
    let first = alive(&lock);
    let mut turn = desk.ask(&bash("touch asked"));
    let (id, _) = asking(&mut turn).await;
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
    assert!(desk.path("work/asked").is_file());
    eventually("it is the same process", || alive(&lock) == first).await;
    assert!(desk.engine.evict(&desk.spec.thread).await);
    nobody_is_left(&desk).await;
    let end = desk.say("and again?").await;
    assert!(end.outcome == TurnOutcome::Answered && end.resumed, "{end:?}");
    desk.engine.close().await;
    nobody_is_left(&desk).await;
}

async fn real_claude_is_stopped_with_its_tool_and_leaves_nobody(make: Make) {
    let (mut desk, _api) = real!();
    desk.spec.permission_mode = PermissionMode::Bypass;
    make(&mut desk);
    // Its tool may be gone a moment before itself, and what it then asks for must not be answered at once.
    let endless = bash("sleep 600 & tail -f /dev/null") + " [api: words 60 1000ms]";
    let mut turn = desk.ask(&endless);
    until(&mut turn, |it| matches!(it, TurnEvent::ToolStarted { .. }).then_some(())).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
    let mut turn = desk.ask(&endless);
    until(&mut turn, |it| matches!(it, TurnEvent::ToolStarted { .. }).then_some(())).await;
    desk.engine.close().await;
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Failed(TurnFailure::Closing));
    nobody_is_left(&desk).await;
}

// Elsewhere the office's state is a folder like any other.
#[tokio::test]
async fn what_may_not_be_given_is_refused_here() {
    what_may_not_be_given_is_refused(here).await;
}

#[tokio::test]
async fn what_may_not_be_given_is_refused_over_a_link() {
    what_may_not_be_given_is_refused(linked).await;
}

async fn spawned(turn: &mut Turn) {
    until(turn, |it| matches!(it, TurnEvent::ToolFinished { .. }).then_some(())).await;
}

async fn nobody_is_left(desk: &Desk) {
    let lock = desk.lock();
    eventually("nobody is left", || alive(&lock).is_empty()).await;
}

async fn turns_are_answered_by_one_process(make: Make) {
    let desk = desk(make, NOTHING);
    for _ in 0..3 {
        assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
        assert_eq!(alive(&desk.lock()).len(), 2, "a leash and its claude");
    }
    desk.engine.close().await;
    nobody_is_left(&desk).await;
}

async fn a_long_answer_is_whole(make: Make) {
    let desk = desk(make, NOTHING);
    let end = desk.say("[demo: long 300000]").await;
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert!(end.text.len() >= 300_000, "{}", end.text.len());
    desk.engine.close().await;
}

async fn nothing_survives_the_end_of_its_leash(make: Make) {
    let desk = desk(make, NOTHING);
    let mut turn = desk.ask(ORPHAN);
    spawned(&mut turn).await;
    // Somebody who is becoming another program at this moment has no environment to be known by.
    let lock = desk.lock();
    let all = || alive(&lock).len() == 3;
    eventually("the leash, its claude, and what a tool left behind are there", all).await;
    desk.engine.close().await;
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Failed(TurnFailure::Closing));
    nobody_is_left(&desk).await;
}

async fn nothing_survives_when_claude_dies(make: Make) {
    let desk = desk(make, NOTHING);
    let end = desk.say("[demo: spawn 600s] [demo: crash]").await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    nobody_is_left(&desk).await;
}

async fn nothing_survives_a_stop_that_had_to_go_to_the_end(make: Make) {
    let desk = desk(make, |it| {
        it.times.interrupt = Duration::from_millis(100);
        it.times.sigint = Duration::from_millis(100);
    });
    let mut turn = desk.ask(DEAF_ORPHAN);
    spawned(&mut turn).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    nobody_is_left(&desk).await;
}

async fn a_stop_is_heard(make: Make) {
    let desk = desk(make, NOTHING);
    let mut turn = desk.ask(ORPHAN);
    spawned(&mut turn).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    desk.engine.close().await;
    nobody_is_left(&desk).await;
}

/// Two owners of one session, such as a bot that was restarted before the old one had ended.
async fn a_directory_has_the_last_of_its_owners(make: Make) {
    let desk = desk(make, NOTHING);
    let mut first = desk.ask(ORPHAN);
    spawned(&mut first).await;
    let mut other = Desk::demo();
    other.config = desk.config.clone();
    make(&mut other);
    other.spec = desk.spec.clone();
    assert_eq!(other.say("mine now").await.outcome, TurnOutcome::Answered);
    let lost = first.end().await.unwrap();
    assert!(matches!(lost.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{lost:?}");
    assert_eq!(alive(&desk.lock()).len(), 2);
    other.engine.close().await;
    nobody_is_left(&desk).await;
}

async fn what_may_not_be_given_is_refused(make: Make) {
    let mut desk = desk(make, NOTHING);
    let work = desk.spec.cwd.clone();
    std::os::unix::fs::symlink(&work, desk.path("link")).unwrap();
    for dir in [desk.path("nowhere"), desk.path("link"), desk.path("state"), desk.path("")] {
        desk.spec.cwd = dir.clone();
        let end = desk.say("hello").await;
        let refused = matches!(end.outcome, TurnOutcome::Failed(TurnFailure::NoDesk { .. }));
        assert!(refused, "{}: {:?}", dir.display(), end.outcome);
    }
    desk.spec.cwd = work;
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

/// Says how it was started.
const MIRROR: &str = "#!/bin/sh\nexec cat /proc/self/status\n";

/// A leash blocks signals that it waits for, and a hold catches some: Claude has all of them as anybody has.
#[tokio::test]
async fn claude_begins_with_no_signal_blocked_or_ignored_by_us() {
    let signals = |status: &str, name: &str| {
        let line = status.lines().find_map(|it| it.strip_prefix(name)).expect("a line");
        // Above these are those that a C library keeps for itself.
        u64::from_str_radix(line.trim(), 16).expect("a mask") & 0x7fff_ffff
    };
    // What whoever started the tests ignores is ignored below them.
    let own = signals(&std::fs::read_to_string("/proc/self/status").unwrap(), "SigIgn:");
    let desk = Desk::demo();
    let program = desk.path("bin/mirror");
    std::fs::create_dir_all(desk.path("bin")).unwrap();
    std::fs::write(&program, MIRROR).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = EngineConfig { program, ..desk.config.clone() };
    let look = Arc::new(LocalLauncher::of(&config));
    let carrier = Arc::new(ChildCarrier::of(&config));
    let known = Arc::new(KnownRuns::unkept());
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let linked = LinkLauncher::new(Place::Here, "ada", carrier, look, lease, known);
    let local = LocalLauncher::of(&config);
    for launcher in [&local as &dyn Launcher, &linked] {
        let launched = launcher.launch(LaunchSpec {
            thread: desk.spec.thread.clone(),
            place: Place::Here,
            cwd: desk.spec.cwd.clone(),
            args: Vec::new(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            access: Access { writable: Vec::new(), readable: vec![desk.path("bin")] },
        });
        let mut leashed = launched.await.unwrap();
        let mut status = String::new();
        leashed.stdout.read_to_string(&mut status).await.unwrap();
        assert_eq!(signals(&status, "SigBlk:"), 0, "{launcher:?}");
        assert_eq!(signals(&status, "SigIgn:") & !own, 0, "{launcher:?}");
        assert_eq!(signals(&status, "SigCgt:"), 0, "{launcher:?}");
    }
}

/// A carrier whose connections can be cut, and which can be out of order.
#[derive(Debug)]
struct Cuttable {
    inner: ChildCarrier,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pumps: JoinSet<()>,
    dials: usize,
    out_of_order: Option<String>,
}

impl Cuttable {
    fn cut(&self) {
        // The hub goes with its pumps.
        self.state.lock().unwrap().pumps.abort_all();
    }

    fn dials(&self) -> usize {
        self.state.lock().unwrap().dials
    }

    fn break_down(&self, why: Option<&str>) {
        self.state.lock().unwrap().out_of_order = why.map(str::to_owned);
    }
}

impl Carrier for Cuttable {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            if let Some(why) = &self.state.lock().unwrap().out_of_order {
                return Err(why.clone().into());
            }
            let Connection { to, from, guard } = self.inner.connect().await?;
            let (ours, theirs) = duplex(16 * 1024);
            let (read, write) = split(ours);
            let mut state = self.state.lock().unwrap();
            state.dials += 1;
            state.pumps.spawn(async move {
                let _guard = guard;
                tokio::select! {
                    () = pump(read, to) => {}
                    () = pump(from, write) => {}
                }
            });
            let (from, to) = split(theirs);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let _ = copy(&mut from, &mut to).await;
}

fn cuttable() -> (Desk, Arc<Cuttable>) {
    let mut desk = Desk::demo();
    let inner = ChildCarrier::of(&desk.config);
    let carrier = Arc::new(Cuttable { inner, state: Mutex::default() });
    desk.engine = linked_by(desk.config.clone(), carrier.clone());
    (desk, carrier)
}

#[tokio::test]
async fn a_turn_does_not_notice_that_its_link_is_cut() {
    let (desk, carrier) = cuttable();
    let whole = desk.say("[demo: long 40000]").await;
    let mut turn = desk.ask("[demo: long 40000] [demo: slow 2s]");
    let mut end = None;
    let mut cuts = 0;
    let mut clock = tokio::time::interval(Duration::from_millis(60));
    while end.is_none() {
        tokio::select! {
            event = turn.next() => if let Some(TurnEvent::Ended(it)) = event { end = Some(it) },
            _ = clock.tick() => {
                carrier.cut();
                cuts += 1;
            }
        }
    }
    let end = end.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert!(end.text.len() >= 40_000 && whole.text.len() >= 40_000, "{}", end.text.len());
    assert!(cuts > 0 && carrier.dials() > 1, "{cuts} cuts, {} dials", carrier.dials());
    // The same process answers on.
    assert_eq!(alive(&desk.lock()).len(), 2);
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
    nobody_is_left(&desk).await;
}

#[tokio::test]
async fn a_place_that_cannot_be_reached_is_out_of_reach_and_its_reason_is_told() {
    let (desk, carrier) = cuttable();
    carrier.break_down(Some("api:22 refuses connections"));
    let end = desk.say("hello").await;
    let TurnOutcome::Failed(TurnFailure::OutOfReach(why)) = &end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert_eq!(why.why, "api:22 refuses connections");
    carrier.break_down(None);
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

/// A far end that begins a run and says nothing more.
#[derive(Debug, Default)]
struct Silent {
    dials: AtomicUsize,
}

impl Carrier for Silent {
    fn connect(&self) -> CarrierFuture<'_> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let is_first = self.dials.load(Ordering::SeqCst) == 1;
        Box::pin(async move {
            let (ours, theirs) = duplex(1024 * 1024);
            tokio::spawn(begin_and_be_silent(theirs, is_first));
            let (from, to) = split(ours);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn begin_and_be_silent(mut stream: DuplexStream, is_first: bool) {
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        decoder.push(&chunk[..read]);
        while let Ok(Some((call, _))) = decoder.frame::<Call>() {
            let said = match call {
                Call::Hello { nonce, .. } => {
                    format!("\x1e{{\"tinyclaw\":1,\"nonce\":\"{nonce}\"}}\n").into_bytes()
                }
                Call::Start { run, .. } if is_first => encode(&Told::Started { run }, b""),
                Call::Attach { run, .. } if is_first => {
                    let (at, kept, seq, taken, torn) = (0, 0, 0, 0, false);
                    encode(&Told::Adopted { run, at, kept, seq, taken, torn }, b"")
                }
                _ => continue,
            };
            stream.write_all(&said).await.unwrap();
        }
    }
}

/// By the clock of the test, which stands still while anything is done.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_silent_is_made_anew() {
    let place = tinyclaw_testkit::state::Place::new().unwrap();
    let config = EngineConfig::new("/nowhere", "/nowhere", place.state(), place.home());
    let (carrier, look) = (Arc::new(Silent::default()), Arc::new(LocalLauncher::of(&config)));
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let known = Arc::new(KnownRuns::unkept());
    let launcher = LinkLauncher::new(Place::Here, "ada", carrier.clone(), look, lease, known);
    let spec = LaunchSpec {
        thread: "7".parse().unwrap(),
        place: Place::Here,
        cwd: place.work(),
        args: Vec::new(),
        env: BTreeMap::new(),
        access: Access::default(),
    };
    let _held = launcher.launch(spec).await.unwrap();
    let begun = tokio::time::Instant::now();
    while carrier.dials.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let noticed = begun.elapsed().as_secs();
    assert!((15..=16).contains(&noticed), "{noticed} s");
}

/// A far end that says of each piece of output that it is from elsewhere.
#[derive(Debug)]
struct Tampering(ChildCarrier);

impl Carrier for Tampering {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let Connection { to, from, guard } = self.0.connect().await?;
            let (ours, theirs) = duplex(1024 * 1024);
            let (read, write) = split(ours);
            tokio::spawn(async move {
                let _guard = guard;
                tokio::select! {
                    () = pump(read, to) => {}
                    () = tamper(from, write) => {}
                }
            });
            let (from, to) = split(theirs);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn tamper(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    while let Ok(byte) = from.read_u8().await {
        let _ = to.write_u8(byte).await;
        if byte == b'\n' {
            break;
        }
    }
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        decoder.push(&chunk[..read]);
        while let Ok(Some((told, body))) = decoder.frame::<Told>() {
            let told = match told {
                Told::Out { run, at } => Told::Out { run, at: at + 1 },
                told => told,
            };
            let _ = to.write_all(&encode(&told, &body)).await;
        }
    }
}

/// Nothing is guessed and nothing put together; and whoever says it again and again is left to a person.
#[tokio::test]
async fn output_that_is_not_the_next_is_not_taken_and_after_three_times_nobody_listens() {
    let mut desk = Desk::demo();
    let carrier = Arc::new(Tampering(ChildCarrier::of(&desk.config)));
    desk.engine = linked_by(desk.config.clone(), carrier);
    let end = desk.say("hello").await;
    let TurnOutcome::Failed(TurnFailure::OutOfReach(why)) = &end.outcome else { panic!("{end:?}") };
    assert!(
        why.is_held && why.why.contains("cannot be: output from 1 on, where 0 is next"),
        "{why:?}"
    );
    assert!(end.text.is_empty());
}

#[tokio::test]
async fn a_lost_link_is_told_of_and_so_is_a_stop_that_nobody_hears_there() {
    let (mut desk, carrier) = cuttable();
    desk.config.times.lost = Duration::from_millis(50);
    desk.engine = linked_by(desk.config.clone(), carrier.clone());
    let mut turn = desk.ask("[demo: spawn 600s] [demo: hang]");
    spawned(&mut turn).await;
    carrier.break_down(Some("api:22 refuses connections"));
    carrier.cut();
    let lost = |it| match it {
        TurnEvent::LinkLost { at, why, is_stopping } => Some((at, why, is_stopping)),
        _ => None,
    };
    let (at, why, is_stopping) = until(&mut turn, lost).await;
    assert!(at > 0 && !is_stopping && !why.is_empty(), "{why}");
    turn.control().interrupt();
    let (again, _, is_stopping) = until(&mut turn, lost).await;
    assert!(is_stopping && again == at, "one loss, however often it is told of");
    carrier.break_down(None);
    until(&mut turn, |it| matches!(it, TurnEvent::LinkBack).then_some(())).await;
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    desk.engine.close().await;
    nobody_is_left(&desk).await;
}

#[tokio::test]
async fn a_turn_waits_while_its_place_is_out_of_reach() {
    let (desk, carrier) = cuttable();
    let mut turn = desk.ask("[demo: spawn 600s] [demo: sleep 1s]");
    spawned(&mut turn).await;
    carrier.break_down(Some("api:22 refuses connections"));
    carrier.cut();
    // Claude goes on there, and is heard of when the place is back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    carrier.break_down(None);
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
    assert_eq!(carrier.dials(), 2);
    desk.engine.close().await;
    nobody_is_left(&desk).await;
}

/// Each connection of the place was closed again and again, and its other threads waited as well.
#[tokio::test]
async fn who_takes_away_its_own_output_fails_its_own_turn_and_disturbs_nobody() {
    let (desk, carrier) = cuttable();
    let mut elsewhere = desk.request("[demo: ask]");
    (elsewhere.session.thread, elsewhere.session.id) = (ThreadId::topic(8), new_session());
    let mut bystander = desk.engine.turn(elsewhere);
    until(&mut bystander, |it| matches!(it, TurnEvent::Asking { .. }).then_some(())).await;
    let known: Vec<PathBuf> = runs(&desk);
    let mut turn = desk.ask("[demo: ask] [demo: long 4000]");
    let ask = until(&mut turn, |it| match it {
        TurnEvent::Asking { ask } => Some(ask),
        _ => None,
    })
    .await;
    let own: Vec<PathBuf> = runs(&desk).into_iter().filter(|it| !known.contains(it)).collect();
    std::fs::remove_file(own[0].join("out.0")).unwrap();
    turn.control().answer_permission(&ask.request_id, PermissionAnswer::Allow);
    let end = turn.end().await.unwrap();
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    nobody_is_left(&desk).await;
    assert_eq!(carrier.dials(), 1, "no connection was closed");
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    bystander.control().interrupt();
    assert_eq!(bystander.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    desk.engine.close().await;
}

/// The folders of all runs.
fn runs(desk: &Desk) -> Vec<PathBuf> {
    let all = std::fs::read_dir(desk.path("state/runs")).into_iter().flatten().flatten();
    all.map(|it| it.path()).collect()
}
