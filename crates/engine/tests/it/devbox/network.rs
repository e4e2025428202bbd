//! What networks and servers do to a turn on a devbox: a slow line, packets that are lost, a session that stands still, a server
//! that is started anew. None of it is the turn's trouble.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use tinyclaw_engine::TurnEnd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::*;

/// A line to a devbox: what is said arrives a hundred milliseconds later. Gone when dropped.
struct SlowLine {
    port: u16,
    relay: AbortHandle,
}

impl SlowLine {
    const ONE_WAY: Duration = Duration::from_millis(100);

    /// From now on the devbox is reached over it.
    async fn to(devbox: &Box) -> SlowLine {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, far) = (listener.local_addr().unwrap().port(), devbox.sshd.port());
        devbox.change(|it| it.host = format!("127.0.0.1:{port}").parse().unwrap());
        let relay = tokio::spawn(async move {
            loop {
                let (ours, _) = listener.accept().await.unwrap();
                let theirs = TcpStream::connect(("127.0.0.1", far)).await.unwrap();
                let ((our_in, our_out), (their_in, their_out)) =
                    (ours.into_split(), theirs.into_split());
                tokio::spawn(carry(our_in, their_out));
                tokio::spawn(carry(their_in, our_out));
            }
        });
        SlowLine { port, relay: relay.abort_handle() }
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (pieces, mut late) = tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(4096);
    let read = async move {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let due = tokio::time::Instant::now() + SlowLine::ONE_WAY;
            if pieces.send((due, chunk[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = late.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|it| it.status.success())
}

/// Gives this thread, and whatever it starts, a network of its own, which only root can have. `false`: that is not to be had,
/// which is said.
fn own_network(test: &str) -> bool {
    let is_had = run("iptables", &["--version"])
        && unshare(CloneFlags::CLONE_NEWNET).is_ok()
        && run("ip", &["link", "set", "lo", "up"]);
    if !is_had {
        eprintln!("{test} is skipped: no network of its own can be had here");
    }
    is_had
}

/// From now on three of ten packets to this port and from it are lost.
fn lose_packets(port: u16) -> bool {
    let port = port.to_string();
    let lose = ["-m", "statistic", "--mode", "random", "--probability", "0.3", "-j", "DROP"];
    ["--dport", "--sport"].into_iter().all(|side| {
        let of_it = ["-A", "INPUT", "-p", "tcp", side, &port];
        run("iptables", &[&of_it[..], &lose[..]].concat())
    })
}

/// Asks until the devbox was reached, as an office does.
async fn say_when_reached(desk: &Desk, text: &str) -> TurnEnd {
    loop {
        let end = desk.say(text).await;
        if !matches!(end.outcome, TurnOutcome::Failed(TurnFailure::OutOfReach(_))) {
            return end;
        }
    }
}

fn asking(event: TurnEvent) -> Option<String> {
    match event {
        TurnEvent::Asking { ask } => Some(ask.request_id),
        _ => None,
    }
}

/// Two hundred milliseconds there and back.
#[tokio::test]
async fn a_slow_line_costs_time_and_nothing_else() {
    let Some((desk, devbox)) = with_devbox("a_slow_line_costs_time") else { return };
    let line = SlowLine::to(&devbox).await;
    let end = desk.say("[demo: long 100000]").await;
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert!(end.text.len() >= 100_000, "{}", end.text.len());
    let pings = devbox.pings.lock().unwrap().clone();
    assert!(pings.iter().all(|it| *it >= SlowLine::ONE_WAY * 2), "{pings:?}");
    let there = launcher(&desk, &devbox);
    let ping = there.ping(&name()).await.unwrap();
    assert!((SlowLine::ONE_WAY * 2..Duration::from_secs(5)).contains(&ping), "{ping:?}");
    desk.engine.close().await;
    drop(line);
}

/// The same, and three of ten packets are lost, in each direction.
#[tokio::test]
async fn lost_packets_cost_time_and_nothing_else() {
    let test = "lost_packets_cost_time";
    if !own_network(test) {
        return;
    }
    let Some((desk, devbox)) = with_devbox(test) else { return };
    let line = SlowLine::to(&devbox).await;
    // The helper is brought over a good line.
    let whole = desk.say("[demo: long 20000]").await;
    if !lose_packets(line.port) {
        eprintln!("{test} is skipped: no packet can be lost here");
        return;
    }
    devbox.sshd.cut();
    let end = say_when_reached(&desk, "[demo: long 20000]").await;
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert_eq!(end.text, whole.text);
    let mut turn = desk.ask("[demo: ask]");
    let id = until(&mut turn, asking).await;
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    assert!(end.denials.is_empty(), "{end:?}");
    desk.engine.close().await;
}

/// Nothing is closed and nothing refused: nobody says a word. After fifteen seconds that is a lost connection.
#[tokio::test]
async fn a_session_that_stands_still_is_left_for_another_and_the_turn_goes_on() {
    let Some((desk, devbox)) = with_devbox("a_session_that_stands_still") else { return };
    let mut turn = desk.ask("[demo: ask]");
    let id = until(&mut turn, asking).await;
    let before = devbox.sshd.accepted();
    devbox.sshd.stall(true);
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    assert!(end.denials.is_empty(), "the answer was heard once: {end:?}");
    assert_eq!(devbox.sshd.accepted(), before + 1, "one connection more");
    // Whoever stands still hears no end.
    devbox.sshd.stall(false);
    desk.engine.close().await;
}

/// A server that reads its configuration anew, or is replaced by another, keeps the connections that it has.
#[tokio::test]
async fn a_server_that_is_reloaded_or_started_anew_takes_no_connection_away() {
    let Some((desk, devbox)) = with_devbox("a_server_that_is_reloaded") else { return };
    let mut daemon = devbox.sshd.daemon().unwrap();
    devbox.change(|it| it.host = format!("127.0.0.1:{}", daemon.port()).parse().unwrap());
    let route = devbox.route.lock().unwrap().clone();
    let mut turn = desk.ask("[demo: ask]");
    let id = until(&mut turn, asking).await;
    let dials = || devbox.dials.lock().unwrap().len();
    let before = dials();
    // What it reads anew shows when it has.
    let known = HostKey::learn(&route).await.unwrap();
    devbox.sshd.change_host_key().unwrap();
    daemon.reload().unwrap();
    while HostKey::learn(&route).await.ok().is_none_or(|it| it == known) {
        tokio::task::yield_now().await;
    }
    daemon.restart().unwrap();
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    assert_eq!(dials(), before, "over the connection that it had");
    // Whoever comes now meets the server that is there now.
    let other = launcher(&desk, &devbox).health(&name(), &desk.spec.cwd).await.unwrap_err();
    assert!(format!("{other}").contains("the key of box has changed"), "{other}");
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

/// The link says by itself how long a word takes, and so does whoever asks a question over it.
#[tokio::test]
async fn a_ping_is_the_way_there_and_back_and_not_the_login() {
    let Some((desk, devbox)) = with_devbox("a_ping_is_the_way") else { return };
    let begun = std::time::Instant::now();
    let there = launcher(&desk, &devbox);
    there.health(&name(), &desk.spec.cwd).await.unwrap();
    let all = begun.elapsed();
    let pings = || devbox.pings.lock().unwrap().clone();
    let of_look = pings();
    assert_eq!(of_look.len(), 1, "{of_look:?}");
    assert!(of_look[0] < all / 2, "a login is most of {all:?}, and no part of {of_look:?}");
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    eventually("the link has said it", || pings().len() > 1).await;
    desk.engine.close().await;
}
