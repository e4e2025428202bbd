//! What a link does where its carrier is at its worst: words that get lost, answers that come late, a far end that understands
//! nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tinyclaw_domain::frame::{Decoder, Told, encode};
use tinyclaw_domain::{Place, ThreadId};
use tinyclaw_engine::link::{
    Carrier, CarrierFuture, ChildCarrier, Connection, KnownRuns, Lease, LinkLauncher,
};
use tinyclaw_engine::{
    Access, EngineConfig, LaunchSpec, Launcher, Leashed, LocalLauncher, TurnEvent, TurnFailure,
    TurnOutcome,
};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, duplex, split,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::desk::{Desk, until};
use crate::launchers::linked_by;

/// How the carrier is at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Weather {
    #[default]
    Fine,
    /// What the office says arrives nowhere.
    LosesWords,
    /// What the hub says after its greeting is kept back.
    KeepsAnswers,
    /// What the office says after its greeting arrives as something else.
    Garbles,
    /// The hub greets, and the connection is closed.
    Closes,
    /// The hub adopts its run, and says then that it understands nothing.
    BreaksOff,
}

/// What came of the connections.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    greetings: usize,
    lost_inputs: usize,
}

/// A hub of this machine, behind a carrier whose weather the test makes.
#[derive(Debug)]
struct Disturbed {
    inner: ChildCarrier,
    weather: watch::Sender<Weather>,
    seen: watch::Sender<Seen>,
    pumps: Mutex<JoinSet<()>>,
}

impl Disturbed {
    fn new(config: &EngineConfig) -> Arc<Disturbed> {
        Arc::new(Disturbed {
            inner: ChildCarrier::of(config),
            weather: watch::Sender::default(),
            seen: watch::Sender::default(),
            pumps: Mutex::default(),
        })
    }

    fn becomes(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    fn cut(&self) {
        self.pumps.lock().unwrap().abort_all();
    }

    async fn until(&self, is_it: impl FnMut(&Seen) -> bool) {
        self.seen.subscribe().wait_for(is_it).await.unwrap();
    }
}

impl Carrier for Disturbed {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let Connection { to, from, guard } = self.inner.connect().await?;
            let (ours, theirs) = duplex(64 * 1024);
            let (read, write) = split(ours);
            let (weather, seen) = (self.weather.subscribe(), self.seen.clone());
            self.pumps.lock().unwrap().spawn(async move {
                let _guard = guard;
                tokio::select! {
                    () = say(read, to, weather.clone(), &seen) => {}
                    () = hear(from, write, weather, &seen) => {}
                }
            });
            let (from, to) = split(theirs);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn say(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: watch::Receiver<Weather>,
    seen: &watch::Sender<Seen>,
) {
    let (mut chunk, mut is_greeting) = (vec![0; 64 * 1024], true);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let now = *weather.borrow();
        let said = match now {
            Weather::LosesWords => {
                let is_input = chunk[..read].windows(9).any(|it| it == b"\"op\":\"in\"");
                seen.send_modify(|it| it.lost_inputs += usize::from(is_input));
                continue;
            }
            Weather::Garbles if !is_greeting => b"{\"op\":\"garbled\"}\n",
            _ => &chunk[..read],
        };
        is_greeting = false;
        if to.write_all(said).await.is_err() {
            return;
        }
    }
}

async fn hear(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    seen: &watch::Sender<Seen>,
) {
    while let Ok(byte) = from.read_u8().await {
        let _ = to.write_u8(byte).await;
        if byte == b'\n' {
            break;
        }
    }
    seen.send_modify(|it| it.greetings += 1);
    if *weather.borrow() == Weather::Closes {
        // Not before whoever was greeted has gone on.
        return go_on().await;
    }
    if *weather.borrow() == Weather::BreaksOff {
        return break_off(from, to).await;
    }
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if weather.wait_for(|it| *it != Weather::KeepsAnswers).await.is_err()
            || to.write_all(&chunk[..read]).await.is_err()
        {
            return;
        }
    }
}

/// Passes on what the hub says up to the first run that it has.
async fn break_off(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        decoder.push(&chunk[..read]);
        while let Ok(Some((told, body))) = decoder.frame::<Told>() {
            let _ = to.write_all(&encode(&told, &body)).await;
            if matches!(told, Told::Adopted { .. }) {
                let bad = Told::Bad { why: "what was that?".to_owned() };
                let _ = to.write_all(&encode(&bad, b"")).await;
                // Until whoever hears it hangs up.
                return drop(from.read_to_end(&mut chunk).await);
            }
        }
    }
}

/// Lets all others of this runtime do what they can do now.
async fn go_on() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// New input was said to a new connection before the old gap was filled; the hold took that for nonsense, and after the third
/// cut every run of the place was ended.
#[tokio::test]
async fn what_is_said_while_a_link_is_cut_is_heard_once_and_in_its_order() {
    let place = tinyclaw_testkit::state::Place::below(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let parrot = place.path("bin/parrot");
    std::fs::create_dir_all(place.path("bin")).unwrap();
    std::fs::write(&parrot, "#!/bin/sh\necho begun >> started\nexec cat\n").unwrap();
    std::fs::set_permissions(&parrot, std::fs::Permissions::from_mode(0o755)).unwrap();
    let leash = env!("CARGO_BIN_EXE_tinyclaw-leash");
    let config = EngineConfig::new(parrot, leash, place.state(), place.home());
    let carrier = Disturbed::new(&config);
    let look = Arc::new(LocalLauncher::of(&config));
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let known = Arc::new(KnownRuns::unkept());
    let launcher = LinkLauncher::new(Place::Here, "ada", carrier.clone(), look, lease, known);
    let spec = LaunchSpec {
        thread: ThreadId::topic(7),
        place: Place::Here,
        cwd: place.work(),
        args: Vec::new(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        access: Access { writable: vec![], readable: vec![place.path("bin")] },
    };
    let Leashed { mut stdin, stdout, leash: _leash, .. } = launcher.launch(spec).await.unwrap();
    let mut lines = BufReader::new(stdout).lines();
    stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("hello"));
    for round in 1..=4 {
        let (lost, meanwhile) = (format!("lost in cut {round}"), format!("said in cut {round}"));
        carrier.becomes(Weather::LosesWords);
        stdin.write_all(format!("{lost}\n").as_bytes()).await.unwrap();
        carrier.until(|it| it.lost_inputs == round).await;
        carrier.becomes(Weather::KeepsAnswers);
        let greeted = carrier.seen.borrow().greetings;
        carrier.cut();
        carrier.until(|it| it.greetings > greeted).await;
        stdin.write_all(format!("{meanwhile}\n").as_bytes()).await.unwrap();
        // Whoever passes it on has done so before anything is answered. Were it later, it would be no worse.
        go_on().await;
        carrier.becomes(Weather::Fine);
        for wanted in [lost, meanwhile] {
            assert_eq!(lines.next_line().await.unwrap(), Some(wanted), "in cut {round}");
        }
    }
    drop(stdin);
    assert_eq!(lines.next_line().await.unwrap(), None, "nothing was said twice");
    let started = std::fs::read_to_string(place.work().join("started")).unwrap();
    assert_eq!(started, "begun\n");
}

async fn running() -> (Desk, Arc<Disturbed>, tinyclaw_engine::Turn) {
    let mut desk = Desk::demo_with(|it| it.times.lost = Duration::from_millis(600));
    let carrier = Disturbed::new(&desk.config);
    desk.engine = linked_by(desk.config.clone(), carrier.clone());
    let mut turn = desk.ask("[demo: ask]");
    until(&mut turn, |it| matches!(it, TurnEvent::Asking { .. }).then_some(())).await;
    (desk, carrier, turn)
}

/// Patience stands still while a link is lost, so nothing ended the turn.
#[tokio::test]
async fn a_far_end_that_understands_nothing_is_given_up_after_three_connections() {
    let (desk, carrier, turn) = running().await;
    carrier.becomes(Weather::Garbles);
    carrier.cut();
    let end = turn.end().await.unwrap();
    let TurnOutcome::Failed(TurnFailure::OutOfReach(why)) = &end.outcome else { panic!("{end:?}") };
    assert!(why.is_held && why.why.contains("does not understand this office"), "{why:?}");
    carrier.until(|it| it.greetings >= 4).await;
    carrier.becomes(Weather::Fine);
    desk.engine.close().await;
}

/// Each time it was back, so it was dialled again at once, for ever.
#[tokio::test]
async fn a_far_end_that_adopts_and_breaks_off_is_given_up_by_name_after_five_connections() {
    let (desk, carrier, turn) = running().await;
    let before = carrier.seen.borrow().greetings;
    carrier.becomes(Weather::BreaksOff);
    carrier.cut();
    let end = turn.end().await.unwrap();
    let TurnOutcome::Failed(TurnFailure::OutOfReach(why)) = &end.outcome else { panic!("{end:?}") };
    assert_eq!(why.why, "it breaks off every connection: what was that?");
    assert!(why.is_held && why.place == Place::Here, "{why:?}");
    assert_eq!(carrier.seen.borrow().greetings, before + 5);
    carrier.becomes(Weather::Fine);
    desk.engine.close().await;
}

/// Each greeting counted as the link's return, so nobody was ever told that it was lost.
#[tokio::test]
async fn a_far_end_that_only_greets_is_not_back() {
    let (desk, carrier, mut turn) = running().await;
    carrier.becomes(Weather::Closes);
    carrier.cut();
    until(&mut turn, |it| matches!(it, TurnEvent::LinkLost { .. }).then_some(())).await;
    carrier.until(|it| it.greetings >= 2).await;
    carrier.becomes(Weather::Fine);
    until(&mut turn, |it| matches!(it, TurnEvent::LinkBack).then_some(())).await;
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    desk.engine.close().await;
}
