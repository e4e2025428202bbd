//! A place that is not this machine, for tests. Its files lie in a folder that stands for its disk: whoever takes one of its
//! paths for one of this machine finds nothing, and a test that goes well shows that nobody did.
//!
//! It goes out of reach and comes back, makes whoever asks wait, and lies. What runs there goes on while it is away, as it
//! would on another machine, and whatever it says then is lost.

pub mod looks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tinyclaw_disk::foreign;
use tinyclaw_domain::{Place, SessionId, ThreadId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::config::EngineConfig;
use crate::home::CLAUDE_DIR;
use crate::launch::{LaunchError, LaunchFuture, LaunchSpec, Launcher, Leash, LeashHand, Leashed};
use crate::local::LocalLauncher;
use crate::look::{Desk, FoundFile, Look, LookError, LookFuture, OutOfReach};
use crate::overlap::Overlap;
use crate::transcript::Trace;

/// What goes through a pipe at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// A file that is put there is not larger.
const PUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Another machine. Cheap to clone; the clones are one machine.
#[derive(Debug, Clone)]
pub struct FakePlace(Arc<Machine>);

#[derive(Debug)]
struct Machine {
    /// What stands for its `/`.
    root: PathBuf,
    looks: LocalLauncher,
    starts: Arc<dyn Launcher>,
    link: watch::Sender<Link>,
    lie: Mutex<Lie>,
    /// What was asked of it, by the name of the question, in order.
    asked: Mutex<Vec<&'static str>>,
}

/// How it can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Link {
    /// Whether it cannot.
    is_away: bool,
    /// Whether whoever asks has to wait.
    is_slow: bool,
    /// How often it went away, and why the last time. What was cut stays cut, also when the place is back.
    cuts: u64,
    why: String,
    /// Whether it stays away until a person acts.
    is_held: bool,
    /// Which office has every directory.
    taken_by: Option<String>,
}

/// What it says whatever is true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Lie {
    /// The truth.
    #[default]
    None,
    /// Every directory is there and may be given, and every session is known.
    Everything,
    /// Each turn has come to this, by the transcripts.
    Trace(Trace),
}

impl FakePlace {
    /// A machine whose disk is this folder, and where this launcher starts Claude. `config` says what the other one is told
    /// of.
    pub fn new(root: PathBuf, config: &EngineConfig, starts: Arc<dyn Launcher>) -> FakePlace {
        let there = EngineConfig {
            state: root.join("state"),
            claude_home: root.join("root"),
            ..config.clone()
        };
        let looks = LocalLauncher::of(&there);
        let (lie, asked) = (Mutex::default(), Mutex::default());
        FakePlace(Arc::new(Machine {
            root,
            looks,
            starts,
            link: watch::Sender::default(),
            lie,
            asked,
        }))
    }

    /// The same, where Claude is a process below a leash.
    pub fn of_processes(root: PathBuf, config: &EngineConfig) -> FakePlace {
        let there = EngineConfig { state: root.join("state"), ..config.clone() };
        FakePlace::new(root, config, Arc::new(LocalLauncher::of(&there)))
    }

    /// From now on it does not answer, and nothing is heard of what runs there.
    pub fn go_away(&self, why: &str) {
        self.0.link.send_modify(|it| {
            it.is_away = true;
            it.cuts += 1;
            it.why = why.to_owned();
            it.is_held = false;
        });
    }

    /// The same, until a person does something about it.
    pub fn wants_a_person(&self, why: &str) {
        self.go_away(why);
        self.0.link.send_modify(|it| it.is_held = true);
    }

    /// From now on another office works in every directory of it, or none does any more.
    pub fn be_taken_by(&self, office: Option<&str>) {
        self.0.link.send_modify(|it| it.taken_by = office.map(str::to_owned));
    }

    /// It answers again.
    pub fn come_back(&self) {
        self.0.link.send_modify(|it| it.is_away = false);
    }

    /// Whether whoever asks it something, or starts Claude there, waits until it is quick again.
    pub fn be_slow(&self, is_slow: bool) {
        self.0.link.send_modify(|it| it.is_slow = is_slow);
    }

    /// What it says from now on.
    pub fn lie(&self, lie: Lie) {
        *self.0.lie.lock().unwrap_or_else(PoisonError::into_inner) = lie;
    }

    /// What was asked of it so far.
    pub fn asked(&self) -> Vec<&'static str> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where something of its disk lies on this one.
    pub fn on_disk(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn there(&self, desk: &Desk) -> Desk {
        Desk { dir: self.on_disk(&desk.dir), ..desk.clone() }
    }

    /// The name there of what lies here.
    fn named(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0.root)
            .map_or_else(|_| path.to_owned(), |it| Path::new("/").join(it))
    }

    /// Asks it something: waits while it is slow, and fails while it is away.
    async fn ask(&self, what: &'static str, place: &Place) -> Result<Lie, OutOfReach> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        let mut link = self.0.link.subscribe();
        // The sender is ours.
        let link = link.wait_for(|it| !it.is_slow || it.is_away).await.map(|it| it.clone());
        if let Some(Link { why, is_held, .. }) = link.ok().filter(|it| it.is_away) {
            return Err(OutOfReach { place: place.clone(), why, is_held });
        }
        Ok(self.0.lie.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn start(&self, mut spec: LaunchSpec) -> Result<Leashed, LaunchError> {
        self.ask("launch", &spec.place).await?;
        let taken_by = self.0.link.borrow().taken_by.clone();
        if let Some(office) = taken_by {
            return Err(LaunchError::Taken { office, path: spec.cwd, held_s: Some(180) });
        }
        let home = self.0.root.join("state/home").join(spec.thread.as_str());
        let make = |source| LaunchError::Step { step: "make", path: home.clone(), source };
        std::fs::create_dir_all(home.join(CLAUDE_DIR)).map_err(make)?;
        // Its own login environment, which it adds to what it is told.
        for (name, value) in [
            ("HOME", home.display().to_string()),
            ("CLAUDE_CONFIG_DIR", home.join(CLAUDE_DIR).display().to_string()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ] {
            spec.env.insert(name.to_owned(), value);
        }
        spec.access.writable.push(home);
        spec.cwd = self.on_disk(&spec.cwd);
        let place = spec.place.clone();
        let Leashed { stdin, stdout, stderr, leash } = self.0.starts.launch(spec).await?;
        let (ours, hand) = Leash::pair();
        let ((our_in, their_in), (our_out, their_out)) =
            (tokio::io::duplex(CHUNK_BYTES), tokio::io::duplex(CHUNK_BYTES));
        let (our_err, their_err) = tokio::io::duplex(CHUNK_BYTES);
        // Counted here, not where it is waited for: a task may not have run once when the link is cut.
        let cuts = self.0.link.borrow().cuts;
        let cut = || Cut { link: self.0.link.subscribe(), cuts };
        tokio::spawn(hear(their_in, stdin, cut()));
        tokio::spawn(say(stdout, their_out, cut()));
        tokio::spawn(say(stderr, their_err, cut()));
        tokio::spawn(hold(leash, hand, cut(), place));
        let (stdin, stdout, stderr) = (Box::new(our_in), Box::new(our_out), Box::new(our_err));
        Ok(Leashed { stdin, stdout, stderr, leash: ours })
    }
}

impl Launcher for FakePlace {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(self.start(spec))
    }

    fn look(&self) -> &dyn Look {
        self
    }
}

/// The end of the link that a process was started over.
struct Cut {
    link: watch::Receiver<Link>,
    /// How often it had been cut before.
    cuts: u64,
}

impl Cut {
    /// Waits until it is cut, and says why. Cancel-safe.
    async fn made(&mut self) -> String {
        let cuts = self.cuts;
        let cut = self.link.wait_for(|it| it.cuts > cuts).await;
        cut.map(|it| it.why.clone()).unwrap_or_default()
    }

    /// Whether it is. To be asked of whatever looks like an end: that may be the doing of who heard of the cut first.
    fn is_made(&self) -> bool {
        self.link.borrow().cuts > self.cuts
    }
}

/// Carries what is said to Claude until the link is cut. Then nothing more comes, not even the end: that would be a word.
async fn hear(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut cut: Cut) {
    tokio::select! {
        _ = cut.made() => {}
        _ = tokio::io::copy(&mut from, &mut to) => {}
    }
    // A driver that has heard of the cut closes its end.
    if cut.is_made() {
        // Its end of the pipe is held for as long as there is anybody to hold it.
        std::future::pending::<()>().await;
    }
    let _ = to.shutdown().await;
}

/// Carries what Claude says until the link is cut, and then reads on for nobody, so that it is not held up.
async fn say(mut from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, mut cut: Cut) {
    let (mut to, mut chunk) = (Some(to), vec![0; CHUNK_BYTES]);
    loop {
        let read = tokio::select! {
            _ = cut.made(), if to.is_some() => {
                to = None;
                continue;
            }
            read = from.read(&mut chunk) => read,
        };
        let count = match read {
            Ok(count @ 1..) => count,
            _ => break,
        };
        if let Some(to) = &mut to
            && to.write_all(&chunk[..count]).await.is_err()
        {
            break;
        }
    }
    if let Some(mut to) = to {
        let _ = to.shutdown().await;
    }
}

/// Holds what runs there, for whoever holds the other end, until the link is cut: then it goes on by itself to its end.
async fn hold(mut leash: Leash, mut hand: LeashHand, mut cut: Cut, place: Place) {
    let why = loop {
        tokio::select! {
            why = cut.made() => break why,
            // How it ends after the cut is not heard of, nor what is ordered then.
            ended = leash.ended() => {
                let heard = match cut.is_made() {
                    true => Err(OutOfReach { place, why: cut.made().await, is_held: false }),
                    false => ended,
                };
                let _ = hand.exit.send(heard);
                return;
            }
            order = hand.orders.recv() => match order {
                _ if cut.is_made() => {}
                Some(order) => leash.order(order),
                None => leash.order(crate::launch::LeashOrder::End),
            },
        }
    };
    let _ = hand.exit.send(Err(OutOfReach { place, why, is_held: false }));
    let _ = leash.ended().await;
}

impl Look for FakePlace {
    fn has_session<'a>(&'a self, desk: &'a Desk, session: &'a SessionId) -> LookFuture<'a, bool> {
        Box::pin(async move {
            if self.ask("has_session", &desk.place).await? == Lie::Everything {
                return Ok(true);
            }
            self.0.looks.has_session(&self.there(desk), session).await
        })
    }

    fn trace<'a>(
        &'a self,
        desk: &'a Desk,
        session: &'a SessionId,
        turn_uuid: &'a str,
    ) -> LookFuture<'a, Trace> {
        Box::pin(async move {
            match self.ask("trace", &desk.place).await? {
                Lie::Trace(trace) => Ok(trace),
                _ => self.0.looks.trace(&self.there(desk), session, turn_uuid).await,
            }
        })
    }

    fn copy_session<'a>(
        &'a self,
        from: &'a Desk,
        to: &'a Path,
        session: &'a SessionId,
    ) -> LookFuture<'a, bool> {
        Box::pin(async move {
            self.ask("copy_session", &from.place).await?;
            self.0.looks.copy_session(&self.there(from), &self.on_disk(to), session).await
        })
    }

    fn real_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, PathBuf> {
        Box::pin(async move {
            if self.ask("real_dir", &desk.place).await? == Lie::Everything {
                return Ok(desk.dir.clone());
            }
            Ok(self.named(&self.0.looks.real_dir(&self.there(desk)).await?))
        })
    }

    fn check_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, ()> {
        Box::pin(async move {
            if self.ask("check_dir", &desk.place).await? == Lie::Everything {
                return Ok(());
            }
            self.0.looks.check_dir(&self.there(desk)).await
        })
    }

    fn overlaps<'a>(
        &'a self,
        desk: &'a Desk,
        others: &'a [PathBuf],
    ) -> LookFuture<'a, Vec<Overlap>> {
        Box::pin(async move {
            self.ask("overlaps", &desk.place).await?;
            let others: Vec<PathBuf> = others.iter().map(|it| self.on_disk(it)).collect();
            self.0.looks.overlaps(&self.there(desk), &others).await
        })
    }

    fn own_folder<'a>(&'a self, place: &'a Place, thread: &'a ThreadId) -> LookFuture<'a, PathBuf> {
        Box::pin(async move {
            self.ask("own_folder", place).await?;
            Ok(self.named(&self.0.looks.own_folder(place, thread).await?))
        })
    }

    fn find_file<'a>(&'a self, desk: &'a Desk, path: &'a Path) -> LookFuture<'a, FoundFile> {
        Box::pin(async move {
            self.ask("find_file", &desk.place).await?;
            let path = if path.is_absolute() { self.on_disk(path) } else { path.to_owned() };
            let found = self.0.looks.find_file(&self.there(desk), &path).await?;
            Ok(FoundFile { path: self.named(&found.path), ..found })
        })
    }

    fn get<'a>(
        &'a self,
        desk: &'a Desk,
        below: &'a Path,
        bytes_max: u64,
    ) -> LookFuture<'a, Vec<u8>> {
        Box::pin(async move {
            self.ask("get", &desk.place).await?;
            self.0.looks.get(&self.there(desk), below, bytes_max).await
        })
    }

    fn put<'a>(
        &'a self,
        desk: &'a Desk,
        root: &'a Path,
        below: &'a Path,
    ) -> LookFuture<'a, PathBuf> {
        Box::pin(async move {
            self.ask("put", &desk.place).await?;
            let bytes = foreign::read_below(root, below, PUT_BYTES_MAX).map_err(LookError::from)?;
            let folder = self.0.looks.own_folder(&desk.place, &desk.thread).await?;
            let name = Path::new(below.file_name().unwrap_or_default());
            foreign::replace_below(&folder, name, &bytes, 0o600)?;
            Ok(self.named(&folder.join(name)))
        })
    }

    fn unconfined<'a>(&'a self, place: &'a Place) -> LookFuture<'a, Option<String>> {
        Box::pin(async move {
            self.ask("unconfined", place).await?;
            Ok(None)
        })
    }
}
