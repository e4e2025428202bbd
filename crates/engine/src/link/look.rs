//! A look at a place at the far end of a link: every question goes to a hub there, over a connection of its own.
//!
//! Whatever comes back is a claim. A path that is not one, a name with control characters, a file that is longer than was
//! asked for and an answer to another question are refused, and nothing that is told is taken for a path of this machine.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tinyclaw_devbox::plain_words;
use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::frame::{Call, Told, encode};
use tinyclaw_domain::look::{
    ANSWER_BYTES_MAX, Answer, FarHealth, FolderOverlap, LookFault, MOVE_BYTES_MAX, PUT_BYTES_MAX,
    PackedGit, Question, Transcripts, TurnTrace,
};
use tinyclaw_domain::{Place, SessionId, ThreadId};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::answers::{line_of, parcel};
use super::carrier::{Carrier, Connection, Unreached, WORDS_MAX};
use super::dial::dial;
use super::frames::{Incoming, Reader, parts};
use crate::look::{BadDir, Desk, FoundFile, Look, LookError, LookFuture};
use crate::moving::Parcel;
use crate::overlap::Overlap;
use crate::transcript::{FinishedReply, Trace};

/// So many questions at once; more of them wait.
const AT_ONCE: usize = 4;
/// Without a word for this long nothing more comes: reading the longest transcript takes less.
const SILENCE: Duration = Duration::from_secs(20);
/// So often whoever waits for an answer shows that they are there.
const PING: Duration = Duration::from_secs(5);
/// No answer takes longer, however slowly it comes.
const ANSWER: Duration = Duration::from_secs(120);
/// The same of what a thread takes along: git packs and unpacks it, and it may be much.
const MOVE: Duration = Duration::from_secs(600);
/// A connection is kept this long for the next question: they come in groups.
const KEPT: Duration = Duration::from_secs(5);
/// No version is longer.
const VERSION_MAX: usize = 32;
/// No path is longer.
const PATH_BYTES_MAX: usize = 4096;

/// Looks around at a place through hubs that a carrier starts there.
#[derive(Debug)]
pub struct LinkLook {
    office: String,
    carrier: Arc<dyn Carrier>,
    home: Option<PathBuf>,
    at_once: Semaphore,
    idle: Arc<Mutex<Idle>>,
}

/// The connection that waits for the next question.
#[derive(Debug, Default)]
struct Idle {
    /// How many were kept so far.
    kept: u64,
    open: Option<Open>,
}

/// A connection to a hub that has nothing to answer.
struct Open {
    connection: Connection,
    incoming: Incoming<Reader>,
    asked: u64,
    /// How long the first word took there and back, until somebody is told.
    took: Option<Duration>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl LinkLook {
    /// Looks for this office (a name of letters and digits that is its own). `home` is the HOME of the Claudes there; without
    /// it each thread has one in the hub's state folder. It dials when something is asked.
    pub fn new(office: &str, carrier: Arc<dyn Carrier>, home: Option<PathBuf>) -> LinkLook {
        let (office, at_once) = (office.to_owned(), Semaphore::new(AT_ONCE));
        LinkLook { office, carrier, home, at_once, idle: Arc::default() }
    }

    /// How the machine is, and whether Claude could work in this directory of it.
    pub(crate) async fn health(&self, place: &Place, dir: &Path) -> Result<FarHealth, LookError> {
        let question = Question::Health { dir: dir.to_owned() };
        match self.ask_for(place, &question, dir).await? {
            Answer::Health { health } => Ok(plain(*health)),
            _ => Err(another(place)),
        }
    }

    /// How long a word takes there and back: the middle one of five, over one connection.
    pub(crate) async fn ping(&self, place: &Place) -> Result<Duration, LookError> {
        let measured = async {
            let _one = self.at_once.acquire().await;
            // A hub that waited may be gone by now.
            let mut kept = self.waiting();
            if let Some(open) = &mut kept
                && open.ping().await.is_err()
            {
                kept = None;
            }
            let mut open = match kept {
                Some(open) => open,
                None => self.open().await?,
            };
            let mut all = [Duration::ZERO; 5];
            for time in &mut all {
                *time = open.ping().await?;
            }
            self.keep(open);
            all.sort();
            Ok::<_, Unreached>(all[all.len() / 2])
        };
        let measured = match timeout(ANSWER, measured).await {
            Ok(measured) => measured,
            Err(_) => Err("it does not come to an end".to_owned().into()),
        };
        Ok(measured.map_err(|it| it.at(place))?)
    }

    /// Removes there what our helpers keep, and the helpers. `false`: something runs below one.
    pub(crate) async fn clean(&self, place: &Place) -> Result<bool, LookError> {
        self.ask_is(place, &Question::Clean {}, Path::new("")).await
    }

    fn transcripts(&self, desk: &Desk) -> Transcripts {
        Transcripts { thread: desk.thread.clone(), home: self.home.clone() }
    }

    /// Asks, and gives back the answer with the bytes that follow it, no more than `bytes_max`. A fault comes back as an
    /// error about `about`.
    async fn ask(
        &self,
        place: &Place,
        question: &Question,
        file: &[u8],
        bytes_max: u64,
        about: &Path,
    ) -> Result<(Answer, Vec<u8>), LookError> {
        let nonsense = |why| LookError::Nonsense { place: place.clone(), why };
        let line = line_of(question).map_err(|_| nonsense("a path that is not text"))?;
        let limit = ANSWER_BYTES_MAX as u64 + bytes_max;
        let is_move = matches!(question, Question::PackUp { .. } | Question::LayOut { .. });
        let (silence, whole) = if is_move { (MOVE, MOVE) } else { (SILENCE, ANSWER) };
        let answered = async {
            // A semaphore that is closed: nobody closes it.
            let _one = self.at_once.acquire().await;
            // A hub that waited may be gone by now. All that is asked may be asked twice.
            if let Some(mut open) = self.waiting()
                && let Ok(answered) = open.ask(&line, file, limit, silence).await
            {
                self.keep(open);
                return Ok(answered);
            }
            let mut open = self.open().await?;
            let answered = open.ask(&line, file, limit, silence).await?;
            if let Some(took) = open.took.take() {
                self.carrier.note_ping(took);
            }
            self.keep(open);
            Ok::<_, Unreached>(answered)
        };
        let answered = match timeout(whole, answered).await {
            Ok(answered) => answered,
            Err(_) => Err("it does not come to an end".to_owned().into()),
        };
        let answered = answered.map_err(|it| it.at(place))?;
        let end = answered.iter().position(|it| *it == b'\n');
        let end = end.filter(|it| *it <= ANSWER_BYTES_MAX).ok_or_else(|| nonsense("no line"))?;
        let answer = serde_json::from_slice(&answered[..end]);
        let bytes = answered[end + 1..].to_vec();
        match answer.map_err(|_| nonsense("a word that nobody knows"))? {
            Answer::Fault { fault } => Err(fault_about(fault, about, bytes_max)),
            _ if bytes.len() as u64 > bytes_max => Err(nonsense("more than was asked for")),
            answer => Ok((answer, bytes)),
        }
    }

    /// Asks what is answered without bytes.
    async fn ask_for(
        &self,
        place: &Place,
        question: &Question,
        about: &Path,
    ) -> Result<Answer, LookError> {
        Ok(self.ask(place, question, b"", 0, about).await?.0)
    }

    async fn ask_path(
        &self,
        place: &Place,
        question: &Question,
        file: &[u8],
        about: &Path,
    ) -> Result<PathBuf, LookError> {
        match self.ask(place, question, file, 0, about).await?.0 {
            Answer::Path { path } if is_absolute(&path) => Ok(path),
            Answer::Path { .. } => Err(not_a_path(place)),
            _ => Err(another(place)),
        }
    }

    async fn ask_is(
        &self,
        place: &Place,
        question: &Question,
        about: &Path,
    ) -> Result<bool, LookError> {
        match self.ask_for(place, question, about).await? {
            Answer::Is { yes } => Ok(yes),
            _ => Err(another(place)),
        }
    }

    async fn open(&self) -> Result<Open, Unreached> {
        let (connection, incoming) = dial(self.carrier.connect(), &self.office).await?;
        Ok(Open { connection, incoming, asked: 0, took: None })
    }

    fn waiting(&self) -> Option<Open> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).open.take()
    }

    /// Keeps a connection for a while. Of two the one that was used last stays.
    fn keep(&self, open: Open) {
        let number = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.kept += 1;
            idle.open = Some(open);
            idle.kept
        };
        let idle = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            sleep(KEPT).await;
            let Some(idle) = idle.upgrade() else { return };
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.kept == number {
                idle.open = None;
            }
        });
    }
}

impl Open {
    /// How long a word takes there and back.
    async fn ping(&mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        let ping = encode(&Call::Ping {}, b"");
        heard_in(SILENCE, self.connection.to.write_all(&ping)).await?;
        heard_in(SILENCE, self.connection.to.flush()).await?;
        match timeout(SILENCE, self.incoming.next::<Told>()).await {
            Ok(Ok(Some((Told::Pong {}, _)))) => Ok(begun.elapsed()),
            Ok(Ok(Some((Told::Bad { why }, _)))) => Err(why),
            Ok(Ok(Some(_))) => Err("an answer to what was not asked".to_owned()),
            Ok(Ok(None)) => Err("the connection was closed".to_owned()),
            Ok(Err(err)) => Err(err.to_string()),
            Err(_) => Err(format!("no word for {} s", SILENCE.as_secs())),
        }
    }

    /// Asks one question and reads all that is answered. After an error the connection is of no use.
    async fn ask(
        &mut self,
        line: &[u8],
        file: &[u8],
        limit: u64,
        silence: Duration,
    ) -> Result<Vec<u8>, String> {
        self.asked += 1;
        let number = self.asked;
        let (mut answered, mut waited, mut pings) = (Vec::new(), Duration::ZERO, 0_u32);
        // Before the first question, whose answer may take its time: that word is answered at once.
        let pinged = (number == 1 && file.is_empty()).then(Instant::now);
        if pinged.is_some() {
            pings += 1;
            let ping = encode(&Call::Ping {}, b"");
            heard_in(silence, self.connection.to.write_all(&ping)).await?;
        }
        let parts = parts(line, file);
        for (index, part) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            let frame = encode(&Call::Look { ask: number, more }, part);
            heard_in(silence, self.connection.to.write_all(&frame)).await?;
        }
        heard_in(silence, self.connection.to.flush()).await?;
        loop {
            let Ok(heard) = timeout(PING, self.incoming.next::<Told>()).await else {
                waited += PING;
                if waited >= silence {
                    return Err(format!("no word for {} s", silence.as_secs()));
                }
                // A hub leaves whoever says nothing, and an answer may take longer than that.
                pings += 1;
                let ping = encode(&Call::Ping {}, b"");
                heard_in(silence, self.connection.to.write_all(&ping)).await?;
                heard_in(silence, self.connection.to.flush()).await?;
                continue;
            };
            let Some((told, part)) = heard.map_err(|err| err.to_string())? else {
                return Err("the connection was closed".to_owned());
            };
            match told {
                Told::Pong {} if pings > 0 => {
                    pings -= 1;
                    if let (Some(at), None) = (pinged, self.took) {
                        self.took = Some(at.elapsed());
                    }
                }
                Told::Look { ask, more } if ask == number => {
                    waited = Duration::ZERO;
                    answered.extend_from_slice(&part);
                    if answered.len() as u64 > limit {
                        return Err("an answer without end".to_owned());
                    }
                    if more && part.is_empty() {
                        return Err("an answer of nothing".to_owned());
                    }
                    if !more {
                        return Ok(answered);
                    }
                }
                Told::Bad { why } => return Err(why),
                _ => return Err("an answer to what was not asked".to_owned()),
            }
        }
    }
}

/// Waits for the hub, and not for ever.
async fn heard_in<T>(
    silence: Duration,
    what: impl Future<Output = std::io::Result<T>>,
) -> Result<T, String> {
    match timeout(silence, what).await {
        Ok(done) => done.map_err(|err| err.to_string()),
        Err(_) => Err(format!("no word for {} s", silence.as_secs())),
    }
}

impl Look for LinkLook {
    fn has_session<'a>(&'a self, desk: &'a Desk, session: &'a SessionId) -> LookFuture<'a, bool> {
        Box::pin(async move {
            let (of, dir) = (self.transcripts(desk), desk.dir.clone());
            let question = Question::Has { of, dir, session: session.clone() };
            self.ask_is(&desk.place, &question, &desk.dir).await
        })
    }

    fn trace<'a>(
        &'a self,
        desk: &'a Desk,
        session: &'a SessionId,
        turn_uuid: &'a str,
    ) -> LookFuture<'a, Trace> {
        Box::pin(async move {
            let (of, dir) = (self.transcripts(desk), desk.dir.clone());
            let (session, uuid) = (session.clone(), turn_uuid.to_owned());
            let question = Question::Trace { of, dir, session, uuid };
            match self.ask_for(&desk.place, &question, &desk.dir).await? {
                Answer::Turn { turn: TurnTrace::Unseen {} } => Ok(Trace::Unseen),
                Answer::Turn { turn: TurnTrace::Begun {} } => Ok(Trace::Begun),
                Answer::Turn { turn: TurnTrace::Finished { text, said, model } } => {
                    let model = model.map(|it| words(&it));
                    Ok(Trace::Finished(FinishedReply { text, said, model }))
                }
                _ => Err(another(&desk.place)),
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
            let (of, dir) = (self.transcripts(from), from.dir.clone());
            let (to, session) = (to.to_owned(), session.clone());
            let question = Question::Copy { of, dir, to, session };
            self.ask_is(&from.place, &question, &from.dir).await
        })
    }

    fn real_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, PathBuf> {
        Box::pin(async move {
            let question = Question::RealDir { dir: desk.dir.clone() };
            self.ask_path(&desk.place, &question, b"", &desk.dir).await
        })
    }

    fn check_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, ()> {
        Box::pin(async move {
            let question = Question::CheckDir { dir: desk.dir.clone() };
            match self.ask_for(&desk.place, &question, &desk.dir).await? {
                Answer::Done {} => Ok(()),
                _ => Err(another(&desk.place)),
            }
        })
    }

    fn overlaps<'a>(
        &'a self,
        desk: &'a Desk,
        others: &'a [PathBuf],
    ) -> LookFuture<'a, Vec<Overlap>> {
        Box::pin(async move {
            let (dir, others) = (desk.dir.clone(), others.to_vec());
            let count = others.len();
            let question = Question::Overlaps { dir, others };
            match self.ask_for(&desk.place, &question, &desk.dir).await? {
                Answer::Overlaps { all } if all.len() == count => {
                    Ok(all.into_iter().map(overlap_of).collect())
                }
                _ => Err(another(&desk.place)),
            }
        })
    }

    fn own_folder<'a>(&'a self, place: &'a Place, thread: &'a ThreadId) -> LookFuture<'a, PathBuf> {
        Box::pin(async move {
            let question = Question::OwnFolder { thread: thread.clone() };
            self.ask_path(place, &question, b"", Path::new(thread.as_str())).await
        })
    }

    fn find_file<'a>(&'a self, desk: &'a Desk, path: &'a Path) -> LookFuture<'a, FoundFile> {
        Box::pin(async move {
            let question = Question::FindFile { dir: desk.dir.clone(), path: path.to_owned() };
            match self.ask_for(&desk.place, &question, &desk.dir.join(path)).await? {
                Answer::File { path, below, size } => {
                    let is_path = is_absolute(&path) && is_below(&below) && path.ends_with(&below);
                    let found = FoundFile { path, below, bytes: size };
                    is_path.then_some(found).ok_or_else(|| not_a_path(&desk.place))
                }
                _ => Err(another(&desk.place)),
            }
        })
    }

    fn get<'a>(
        &'a self,
        desk: &'a Desk,
        below: &'a Path,
        bytes_max: u64,
    ) -> LookFuture<'a, Vec<u8>> {
        Box::pin(async move {
            let (dir, at) = (desk.dir.clone(), desk.dir.join(below));
            let question = Question::Get { dir, below: below.to_owned(), bytes_max };
            match self.ask(&desk.place, &question, b"", bytes_max, &at).await? {
                (Answer::Done {}, bytes) => Ok(bytes),
                _ => Err(another(&desk.place)),
            }
        })
    }

    fn put<'a>(
        &'a self,
        desk: &'a Desk,
        root: &'a Path,
        below: &'a Path,
    ) -> LookFuture<'a, PathBuf> {
        Box::pin(async move {
            let (root, file) = (root.to_owned(), below.to_owned());
            let read = tokio::task::spawn_blocking(move || {
                foreign::read_below(&root, &file, PUT_BYTES_MAX as u64)
            });
            let bytes = read.await.map_err(|err| failed(below, &err.to_string()))??;
            let name = below.file_name().and_then(|it| it.to_str());
            let name = name.ok_or_else(|| failed(below, "its name is not text"))?.to_owned();
            let question = Question::Put { thread: desk.thread.clone(), name };
            self.ask_path(&desk.place, &question, &bytes, below).await
        })
    }

    fn pack_up<'a>(
        &'a self,
        desk: &'a Desk,
        session: Option<&'a SessionId>,
    ) -> LookFuture<'a, Parcel> {
        Box::pin(async move {
            let (of, dir) = (self.transcripts(desk), desk.dir.clone());
            let question = Question::PackUp { of, dir, session: session.cloned() };
            let most = MOVE_BYTES_MAX as u64;
            match self.ask(&desk.place, &question, b"", most, &desk.dir).await? {
                (Answer::Packed { git }, bytes) => {
                    let nonsense = || LookError::Nonsense {
                        place: desk.place.clone(),
                        why: "a parcel that does not fit together",
                    };
                    parcel(git, &bytes).ok_or_else(nonsense)
                }
                _ => Err(another(&desk.place)),
            }
        })
    }

    fn lay_out<'a>(
        &'a self,
        desk: &'a Desk,
        session: Option<&'a SessionId>,
        parcel: &'a Parcel,
    ) -> LookFuture<'a, ()> {
        Box::pin(async move {
            let (of, dir) = (self.transcripts(desk), desk.dir.clone());
            let git = parcel.git.as_ref().map(|it| PackedGit {
                head: it.head.clone(),
                branch: it.branch.clone(),
                changed: it.changed,
                bundle: it.bundle.len() as u64,
            });
            let mut bytes = parcel.git.as_ref().map_or_else(Vec::new, |it| it.bundle.clone());
            bytes.extend_from_slice(&parcel.transcript);
            if bytes.len() > MOVE_BYTES_MAX {
                let (path, bytes_max) = (desk.dir.clone(), MOVE_BYTES_MAX as u64);
                return Err(ForeignError::TooLarge { path, bytes_max }.into());
            }
            let question = Question::LayOut { of, dir, session: session.cloned(), git };
            match self.ask(&desk.place, &question, &bytes, 0, &desk.dir).await?.0 {
                Answer::Done {} => Ok(()),
                _ => Err(another(&desk.place)),
            }
        })
    }

    fn unconfined<'a>(&'a self, place: &'a Place) -> LookFuture<'a, Option<String>> {
        Box::pin(async move {
            match self.ask_for(place, &Question::Unconfined {}, Path::new("")).await? {
                Answer::Unconfined { why } => Ok(why.map(|it| words(&it))),
                _ => Err(another(place)),
            }
        })
    }
}

fn another(place: &Place) -> LookError {
    LookError::Nonsense { place: place.clone(), why: "it answers another question" }
}

fn not_a_path(place: &Place) -> LookError {
    LookError::Nonsense { place: place.clone(), why: "a path that is none" }
}

fn failed(path: &Path, why: &str) -> LookError {
    let source = std::io::Error::other(why.to_owned());
    ForeignError::Io { step: "look at", path: path.to_owned(), source }.into()
}

/// Whether it can be the name of something: absolute, without detours, and fit to be shown.
fn is_absolute(path: &Path) -> bool {
    let plain = |it| matches!(it, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(plain) && is_shown(path)
}

fn is_below(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|it| matches!(it, Component::Normal(_))) && is_shown(path)
}

fn is_shown(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.len() <= PATH_BYTES_MAX && !text.contains(char::is_control)
}

/// What a stranger says, fit to be shown.
fn words(text: &str) -> String {
    plain_words(text, WORDS_MAX)
}

fn words_of(path: &Path) -> String {
    plain_words(&path.to_string_lossy(), PATH_BYTES_MAX)
}

/// What is told of a machine, fit to be shown.
fn plain(health: FarHealth) -> FarHealth {
    let is_version = |it: &char| it.is_ascii_alphanumeric() || ".+-".contains(*it);
    let version = |it: String| -> Option<String> {
        let word = it.split_whitespace().next()?;
        let word: String = word.chars().filter(is_version).take(VERSION_MAX).collect();
        (!word.is_empty()).then_some(word)
    };
    FarHealth {
        platform: words(&health.platform),
        // Shown between backticks, and in which direction it likes.
        claude: health.claude.filter(|it| is_absolute(it) && it.to_str() == Some(&words_of(it))),
        version: health.version.and_then(version),
        branch: health.branch.map(|it| words(&it)),
        origin: health.origin.map(|it| words(&it)),
        unconfined: health.unconfined.map(|it| words(&it)),
        ..health
    }
}

fn overlap_of(told: FolderOverlap) -> Overlap {
    match told {
        FolderOverlap::Apart => Overlap::Apart,
        FolderOverlap::Same => Overlap::Same,
        FolderOverlap::Inside => Overlap::Inside,
        FolderOverlap::Around => Overlap::Around,
    }
}

/// A fault is about what was asked for, whatever the place calls it.
fn fault_about(fault: LookFault, about: &Path, bytes_max: u64) -> LookError {
    let path = about.to_owned();
    // Where the helper's state lies there is nothing to anybody here.
    let state = PathBuf::from("the helper's own folder");
    match fault {
        LookFault::Missing {} => ForeignError::Missing(path).into(),
        LookFault::Link {} => ForeignError::Link(path).into(),
        LookFault::NotAFile {} => ForeignError::NotAFile(path).into(),
        LookFault::NotAFolder {} => ForeignError::NotAFolder(path).into(),
        LookFault::Outside {} => ForeignError::Outside(path).into(),
        LookFault::TooLarge {} => ForeignError::TooLarge { path, bytes_max }.into(),
        LookFault::NoDir {} => BadDir::Missing(path).into(),
        LookFault::LinkedDir {} => BadDir::Linked(path).into(),
        LookFault::InState {} => BadDir::InState { dir: path, state }.into(),
        LookFault::HoldsState {} => BadDir::HoldsState { dir: path, state }.into(),
        LookFault::Pinned { why } => BadDir::Refused { dir: path, why: words(&why) }.into(),
        LookFault::Step { why } => failed(&path, &words(&why)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Escapes, another direction, hidden letters, the end of a code span, a link that says it leads elsewhere, a second line.
    const EVIL: &str =
        "\u{1b}[31mx\u{202e}y\u{200b}z` [ours](https://theirs.example)\n# two\r\u{7}";

    #[test]
    fn what_a_machine_says_of_itself_is_plain_text_in_each_field() {
        let evil = || Some(EVIL.to_owned());
        let told = FarHealth {
            platform: EVIL.to_owned(),
            claude: Some(PathBuf::from("/bin/claude")),
            version: evil(),
            branch: evil(),
            origin: evil(),
            unconfined: evil(),
            ..FarHealth::default()
        };
        let FarHealth { platform, claude, version, branch, origin, unconfined, .. } = plain(told);
        expect![[r#"
            (
                "(31mxyz (ours)(https://theirs.example)# two",
                Some(
                    "/bin/claude",
                ),
                Some(
                    "31mxyz",
                ),
                Some(
                    "(31mxyz (ours)(https://theirs.example)# two",
                ),
                Some(
                    "(31mxyz (ours)(https://theirs.example)# two",
                ),
                Some(
                    "(31mxyz (ours)(https://theirs.example)# two",
                ),
            )
        "#]]
        .assert_debug_eq(&(platform, claude, version, branch, origin, unconfined));
        for path in ["/bin/\u{202e}edualc", "/bin/x`y", "/bin/[a](b)", "/bin/\u{1b}c", "claude"] {
            let told = FarHealth { claude: Some(path.into()), ..FarHealth::default() };
            assert_eq!(plain(told).claude, None, "{path:?}");
        }
        let why = Unreached::from(EVIL.to_owned()).at(&Place::Here).why;
        assert_eq!(why, "(31mxyz (ours)(https://theirs.example)# two");
    }
}
