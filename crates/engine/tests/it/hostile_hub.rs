//! A machine whose hub is not ours: what it says ends what it says it of, in bounded time and memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tinyclaw_domain::Place;
use tinyclaw_domain::frame::{BODY_BYTES_MAX, Call, Decoder, Told, encode};
use tinyclaw_engine::link::{Carrier, CarrierFuture, Connection, KnownRuns, Lease, LinkLauncher};
use tinyclaw_engine::{Access, EngineConfig, LaunchSpec, Launcher, LocalLauncher};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

use crate::desk::eventually;

/// Begins each run, and then writes output without end, each piece exactly the next.
#[derive(Debug, Default)]
struct Flooding {
    dials: AtomicUsize,
    sent: Arc<AtomicU64>,
}

impl Carrier for Flooding {
    fn connect(&self) -> CarrierFuture<'_> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let sent = self.sent.clone();
        Box::pin(async move {
            let (ours, theirs) = duplex(256 * 1024);
            tokio::spawn(flood(theirs, sent));
            let (from, to) = split(ours);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn flood(mut stream: DuplexStream, sent: Arc<AtomicU64>) {
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        decoder.push(&chunk[..read]);
        while let Ok(Some((call, _))) = decoder.frame::<Call>() {
            let said = match call {
                Call::Hello { nonce, .. } => {
                    format!("\x1e{{\"tinyclaw\":1,\"nonce\":\"{nonce}\"}}\n").into_bytes()
                }
                Call::Start { run, .. } => encode(&Told::Started { run }, b""),
                Call::Attach { run, offset, .. } => {
                    let (at, kept, seq, taken, torn) = (offset, 0, 0, 0, false);
                    let told = Told::Adopted { run: run.clone(), at, kept, seq, taken, torn };
                    let _ = stream.write_all(&encode(&told, b"")).await;
                    let mut at = offset;
                    loop {
                        let out =
                            encode(&Told::Out { run: run.clone(), at }, &[b'x'; BODY_BYTES_MAX]);
                        if stream.write_all(&out).await.is_err() {
                            return;
                        }
                        at += BODY_BYTES_MAX as u64;
                        sent.fetch_add(BODY_BYTES_MAX as u64, Ordering::SeqCst);
                    }
                }
                _ => continue,
            };
            let _ = stream.write_all(&said).await;
        }
    }
}

/// What nobody had read lay in the office's memory, as much as a machine cared to send.
#[tokio::test]
async fn output_that_nobody_asked_for_is_not_kept_and_after_three_times_nobody_listens() {
    let place = tinyclaw_testkit::state::Place::new().unwrap();
    let config = EngineConfig::new("/nowhere", "/nowhere", place.state(), place.home());
    let (carrier, look) = (Arc::new(Flooding::default()), Arc::new(LocalLauncher::of(&config)));
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
    // Its output is read to the end by nobody.
    let mut leashed = launcher.launch(spec).await.unwrap();
    eventually("it was dialled three times", || carrier.dials.load(Ordering::SeqCst) == 3).await;
    let mut rest = Vec::new();
    let read = leashed.stdout.read_to_end(&mut rest).await;
    assert!(read.is_ok_and(|it| it < 40 * 1024 * 1024), "{} bytes were kept", rest.len());
    assert_eq!(carrier.dials.load(Ordering::SeqCst), 3, "and no more");
    let sent = carrier.sent.load(Ordering::SeqCst);
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes were taken");
}
