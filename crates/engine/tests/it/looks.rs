//! What every look promises, for this machine and over a link to it; and what a far end is not believed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tinyclaw_domain::frame::{BODY_BYTES_MAX, Call, Decoder, Told, encode};
use tinyclaw_domain::{Place, ThreadId};
use tinyclaw_engine::link::{Carrier, CarrierFuture, ChildCarrier, Connection, LinkLook};
use tinyclaw_engine::testing::looks::{self, Ground};
use tinyclaw_engine::{Desk, LocalLauncher, Look, LookError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

use crate::desk;

fn ground(look: fn(&desk::Desk) -> Arc<dyn Look>) -> (desk::Desk, Ground) {
    let desk = desk::Desk::demo();
    let beside = desk.path("beside");
    std::fs::create_dir_all(&beside).unwrap();
    let home = desk.path("state/home/7");
    let ground =
        Ground { look: look(&desk), desk: desk.at(), home, beside, settle: Box::new(|| {}) };
    (desk, ground)
}

fn here(desk: &desk::Desk) -> Arc<dyn Look> {
    Arc::new(LocalLauncher::of(&desk.config))
}

fn linked(desk: &desk::Desk) -> Arc<dyn Look> {
    Arc::new(LinkLook::new("ada", Arc::new(ChildCarrier::of(&desk.config)), None))
}

macro_rules! for_each_look {
    ($($name:ident),* $(,)?) => {
        mod here {
            $(#[tokio::test] async fn $name() {
                let (_desk, ground) = super::ground(super::here);
                super::looks::$name(&ground).await;
            })*
        }
        mod linked {
            $(#[tokio::test] async fn $name() {
                let (_desk, ground) = super::ground(super::linked);
                super::looks::$name(&ground).await;
            })*
        }
        mod devbox {
            $(#[tokio::test] async fn $name() {
                if let Some((_desk, ground)) = crate::devbox::ground(stringify!($name)) {
                    super::looks::$name(&ground).await;
                }
            })*
        }
        mod env {
            $(#[tokio::test] async fn $name() {
                let (_desk, ground) = crate::envs::ground();
                super::looks::$name(&ground).await;
            })*
        }
    };
}

for_each_look!(
    a_session_is_known_where_its_transcript_lies,
    a_long_answer_is_traced_whole,
    a_transcript_that_is_none_is_not_read,
    directories_are_told_apart,
    a_file_is_found_below_the_directory_only,
    a_file_is_fetched_whole_or_not_at_all,
    a_file_is_brought_whole,
    what_the_leash_cannot_promise_is_told,
);

#[tokio::test]
async fn a_home_of_its_own_is_looked_into() {
    let desk = desk::Desk::demo();
    let home = desk.path("elsewhere");
    std::fs::create_dir_all(&home).unwrap();
    let carrier = Arc::new(ChildCarrier::of(&desk.config));
    let beside = desk.path("beside");
    std::fs::create_dir_all(&beside).unwrap();
    let look = Arc::new(LinkLook::new("ada", carrier, Some(home.clone())));
    let ground = Ground { look, desk: desk.at(), home, beside, settle: Box::new(|| {}) };
    looks::a_session_is_known_where_its_transcript_lies(&ground).await;
    assert!(!desk.path("state/home").exists(), "nothing is made in the state folder");
}

/// What was asked with a name that leads elsewhere.
#[tokio::test]
async fn what_is_brought_goes_nowhere_else() {
    let desk = desk::Desk::demo();
    let carrier = ChildCarrier::of(&desk.config);
    let mut hub = Hub::reach(&carrier).await;
    for name in ["../../out", "/out", "..", ".", "", "a/b", "a\u{0}b"] {
        let asked = serde_json::json!({ "is": "put", "thread": "7", "name": name });
        let told = hub.ask(&format!("{asked}\nbytes")).await;
        assert!(told.starts_with(r#"{"is":"fault""#), "{name:?}: {told}");
    }
    assert!(!desk.path("out").exists() && !desk.path("state/out").exists());
    let asked = serde_json::json!({ "is": "put", "thread": "7", "name": "in" });
    let told = hub.ask(&format!("{asked}\nbytes")).await;
    assert!(told.starts_with(r#"{"is":"path""#), "{told}");
    assert_eq!(std::fs::read(desk.path("state/files/7/in")).unwrap(), b"bytes");
}

/// A hub that hears one of these says why, and leaves.
#[tokio::test]
async fn what_is_no_question_ends_the_connection() {
    let desk = desk::Desk::demo();
    let carrier = ChildCarrier::of(&desk.config);
    let long = format!("{}\n", "x".repeat(BODY_BYTES_MAX - 1));
    let has = r#"{"is":"has","of":{"thread":"../7"},"dir":"/","session":"x"}"#;
    for (asked, why) in [
        ("", "a question without a line"),
        ("{\"is\":\"runAway\"}\n", "not a question: unknown variant `runAway`"),
        ("{\"is\":\"get\"}\n", "not a question: missing field"),
        (&long, "not a question"),
        (&format!("{has}\n"), "not a question"),
    ] {
        let mut hub = Hub::reach(&carrier).await;
        hub.say(&Call::Look { ask: 1, more: false }, asked.as_bytes()).await;
        let Some((Told::Bad { why: told }, _)) = hub.next().await else { panic!("{why}") };
        assert!(told.contains(why), "{told}");
        assert_eq!(hub.next().await, None, "it has left");
    }
    let mut hub = Hub::reach(&carrier).await;
    hub.say(&Call::Look { ask: 1, more: true }, b"{").await;
    hub.say(&Call::Look { ask: 2, more: true }, b"{").await;
    let told = hub.next().await;
    let Some((Told::Bad { why }, _)) = told else { panic!("{told:?}") };
    assert_eq!(why, "question 2 within question 1");
}

/// A hub, spoken to by hand.
struct Hub {
    connection: Connection,
    decoder: Decoder,
}

impl Hub {
    async fn reach(carrier: &ChildCarrier) -> Hub {
        let connection = carrier.connect().await.unwrap();
        let mut hub = Hub { connection, decoder: Decoder::default() };
        hub.say(&Call::Hello { v: 1, nonce: "n1".to_owned(), office: "ada".to_owned() }, b"").await;
        while hub.connection.from.read_u8().await.unwrap() != b'\n' {}
        hub
    }

    async fn say(&mut self, call: &Call, body: &[u8]) {
        self.connection.to.write_all(&encode(call, body)).await.unwrap();
    }

    async fn next(&mut self) -> Option<(Told, Vec<u8>)> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.frame().unwrap() {
                return Some(frame);
            }
            let read = self.connection.from.read(&mut chunk).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.decoder.push(&chunk[..read]);
        }
    }

    async fn ask(&mut self, text: &str) -> String {
        self.say(&Call::Look { ask: 1, more: false }, text.as_bytes()).await;
        match self.next().await {
            Some((Told::Look { ask: 1, more: false }, body)) => String::from_utf8(body).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// Stands for the number of the question that is answered.
const ASKED: u64 = 0;

/// Frames for each question that is asked, whatever it is; then nothing more, or the end of the connection.
#[derive(Debug, Clone)]
struct Script {
    frames: Vec<(Told, Vec<u8>)>,
    then_closes: bool,
}

/// A far end that says what it was told to say.
#[derive(Debug)]
struct Liar {
    script: Mutex<Script>,
    dials: AtomicUsize,
}

impl Liar {
    fn new(frames: Vec<(Told, Vec<u8>)>, then_closes: bool) -> Arc<Liar> {
        let script = Mutex::new(Script { frames, then_closes });
        Arc::new(Liar { script, dials: AtomicUsize::new(0) })
    }
}

impl Carrier for Liar {
    fn connect(&self) -> CarrierFuture<'_> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let script = self.script.lock().unwrap().clone();
        Box::pin(async move {
            let (ours, theirs) = duplex(16 * 1024 * 1024);
            tokio::spawn(lie(theirs, script));
            let (from, to) = split(ours);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn lie(mut stream: DuplexStream, script: Script) {
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    loop {
        while let Ok(Some((call, _))) = decoder.frame::<Call>() {
            let (said, is_answer) = match call {
                Call::Hello { nonce, .. } => {
                    (format!("\x1e{{\"tinyclaw\":1,\"nonce\":\"{nonce}\"}}\n").into_bytes(), false)
                }
                Call::Look { ask, more: false } => {
                    let number = |told: &Told| match told {
                        Told::Look { ask: ASKED, more } => Told::Look { ask, more: *more },
                        other => other.clone(),
                    };
                    let frames = script.frames.iter();
                    (frames.flat_map(|(told, body)| encode(&number(told), body)).collect(), true)
                }
                _ => (Vec::new(), false),
            };
            if stream.write_all(&said).await.is_err() || (is_answer && script.then_closes) {
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => decoder.push(&chunk[..read]),
            _ => return,
        }
    }
}

fn api() -> Desk {
    let place = Place::Devbox("api".parse().unwrap());
    Desk { thread: ThreadId::topic(7), place, dir: "/srv/api".into() }
}

fn frame(more: bool, body: impl Into<Vec<u8>>) -> (Told, Vec<u8>) {
    (Told::Look { ask: ASKED, more }, body.into())
}

/// What a question comes to when the place says this.
async fn asked<T>(
    frames: Vec<(Told, Vec<u8>)>,
    then_closes: bool,
    ask: impl AsyncFn(&LinkLook, &Desk) -> Result<T, LookError>,
) -> String {
    let look = LinkLook::new("ada", Liar::new(frames, then_closes), None);
    match ask(&look, &api()).await {
        Ok(_) => "believed".to_owned(),
        Err(err) => err.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_not_believed_what_cannot_be() {
    let find = async |look: &LinkLook, desk: &Desk| look.find_file(desk, Path::new("x")).await;
    let real = async |look: &LinkLook, desk: &Desk| look.real_dir(desk).await;
    let get = async |look: &LinkLook, desk: &Desk| look.get(desk, Path::new("x"), 4).await;
    let lies = async |look: &LinkLook, desk: &Desk| {
        look.overlaps(desk, &[PathBuf::from("/a"), PathBuf::from("/b")]).await
    };
    let file = |path: &str, below: &str| {
        let told = serde_json::json!({ "is": "file", "path": path, "below": below, "size": 1 });
        vec![frame(false, format!("{told}\n"))]
    };
    let path = |path: &str| {
        let told = serde_json::json!({ "is": "path", "path": path });
        vec![frame(false, format!("{told}\n"))]
    };
    let no_path = "api gives an answer that cannot be one: a path that is none";
    let other = "api gives an answer that cannot be one: it answers another question";
    assert_eq!(asked(file("/srv/api/x", "x"), false, find).await, "believed");
    for (whole, below) in [
        ("/srv/api/x", "y"),
        ("x", "x"),
        ("/srv/api/../../etc/x", "x"),
        ("/srv/api/../x", "../x"),
        ("/srv/api/x\ny", "x\ny"),
        ("/srv/api/\u{1b}[2J", "\u{1b}[2J"),
        ("/srv/api", ""),
        ("/x", "/x"),
    ] {
        assert_eq!(asked(file(whole, below), false, find).await, no_path, "{whole:?} {below:?}");
    }
    assert_eq!(asked(path("/srv/real"), false, real).await, "believed");
    for it in ["srv", "", "/srv/../etc", "/a\u{7}b", &format!("/{}", "x".repeat(5000))] {
        assert_eq!(asked(path(it), false, real).await, no_path, "{it:?}");
    }
    assert_eq!(asked(path("/srv/real"), false, find).await, other);
    let one = r#"{"is":"overlaps","all":["apart"]}"#;
    assert_eq!(asked(vec![frame(false, format!("{one}\n"))], false, lies).await, other);
    let done = "{\"is\":\"done\"}\n";
    let long = vec![frame(true, done), frame(false, "12345")];
    let more = "api gives an answer that cannot be one: more than was asked for";
    assert_eq!(asked(long, false, get).await, more);
    let unknown = "api gives an answer that cannot be one: a word that nobody knows";
    assert_eq!(asked(vec![frame(false, "{\"is\":\"yes\"}\n")], false, get).await, unknown);
    let no_line = "api gives an answer that cannot be one: no line";
    assert_eq!(asked(vec![frame(false, "done")], false, get).await, no_line);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_does_not_come_to_an_answer_is_out_of_reach() {
    let get = async |look: &LinkLook, desk: &Desk| look.get(desk, Path::new("x"), 4).await;
    let body = vec![b'x'; BODY_BYTES_MAX];
    let endless: Vec<_> = (0..300).map(|_| frame(true, body.clone())).collect();
    let bad = Told::Bad { why: "no \u{1b}[31mroom\n".to_owned() };
    for (frames, then_closes, why) in [
        (vec![], false, "no word for 20 s"),
        (vec![], true, "the connection was closed"),
        (vec![frame(true, "{")], true, "the connection was closed"),
        (
            vec![(Told::Look { ask: 2, more: false }, b"{}\n".to_vec())],
            false,
            "an answer to what was not asked",
        ),
        // One is what was asked for before the question.
        (
            vec![(Told::Pong {}, vec![]), (Told::Pong {}, vec![])],
            false,
            "an answer to what was not asked",
        ),
        (vec![frame(true, "")], false, "an answer of nothing"),
        (endless, false, "an answer without end"),
        (vec![(bad, vec![])], false, "no (31mroom"),
    ] {
        let told = asked(frames, then_closes, get).await;
        assert_eq!(told, format!("api is out of reach: {why}"));
    }
}

/// A far end that packs for a minute and a half, and hears meanwhile that somebody waits.
#[derive(Debug, Default)]
struct Slow {
    pings: Arc<AtomicUsize>,
}

impl Carrier for Slow {
    fn connect(&self) -> CarrierFuture<'_> {
        let pings = self.pings.clone();
        Box::pin(async move {
            let (ours, theirs) = duplex(1024 * 1024);
            tokio::spawn(pack_slowly(theirs, pings));
            let (from, to) = split(ours);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}

async fn pack_slowly(stream: DuplexStream, pings: Arc<AtomicUsize>) {
    let (mut from, mut to) = split(stream);
    let (frames, mut late) = tokio::sync::mpsc::unbounded_channel::<(u64, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((seconds, frame)) = late.recv().await {
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            to.write_all(&frame).await.unwrap();
        }
    });
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        decoder.push(&chunk[..read]);
        while let Ok(Some((call, _))) = decoder.frame::<Call>() {
            let said = match call {
                Call::Hello { nonce, .. } => {
                    (0, format!("\x1e{{\"tinyclaw\":1,\"nonce\":\"{nonce}\"}}\n").into_bytes())
                }
                Call::Look { ask, more } => {
                    let packed = b"{\"is\":\"packed\",\"git\":null}\n";
                    (90, encode(&Told::Look { ask, more }, packed))
                }
                Call::Ping {} => {
                    pings.fetch_add(1, Ordering::SeqCst);
                    (0, encode(&Told::Pong {}, b""))
                }
                _ => continue,
            };
            frames.send(said).unwrap();
        }
    }
}

/// A hub leaves whoever says nothing for a minute.
#[tokio::test(start_paused = true)]
async fn whoever_waits_long_for_an_answer_says_so_meanwhile() {
    let slow = Arc::new(Slow::default());
    let look = LinkLook::new("ada", slow.clone(), None);
    assert_eq!(look.pack_up(&api(), None).await.unwrap(), tinyclaw_engine::Parcel::default());
    assert!(slow.pings.load(Ordering::SeqCst) >= 10, "{:?}", slow.pings);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_about_what_was_asked_for() {
    let get = async |look: &LinkLook, desk: &Desk| look.get(desk, Path::new("x"), 4).await;
    let check = async |look: &LinkLook, desk: &Desk| look.check_dir(desk).await;
    let fault = |is: &str| {
        let told = format!("{{\"is\":\"fault\",\"fault\":{{\"is\":\"{is}\"}}}}\n");
        vec![frame(false, told)]
    };
    assert_eq!(asked(fault("link"), false, get).await, "/srv/api/x is a link, or lies behind one");
    assert_eq!(asked(fault("tooLarge"), false, get).await, "/srv/api/x is larger than 4 bytes");
    assert_eq!(asked(fault("noDir"), false, check).await, "/srv/api is not a directory");
}

#[tokio::test(start_paused = true)]
async fn questions_that_come_together_go_over_one_connection() {
    let yes = vec![frame(false, "{\"is\":\"is\",\"yes\":true}\n")];
    let liar = Liar::new(yes, false);
    let look = LinkLook::new("ada", liar.clone(), None);
    let session = desk::new_session();
    let dials = || liar.dials.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert!(look.has_session(&api(), &session).await.unwrap());
    }
    assert_eq!(dials(), 1);
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    // The next one leaves after its answer, as a hub that is killed.
    liar.script.lock().unwrap().then_closes = true;
    for number in 2..5 {
        assert!(look.has_session(&api(), &session).await.unwrap());
        assert_eq!(dials(), number, "what is kept is not kept for long, and may be gone");
    }
}
