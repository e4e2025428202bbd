//! The far end of a look: a hub answers what an office asks about its machine, with the rights of whoever runs it.
//!
//! The answers are those of [`LocalLauncher`], by the same rules: no link is followed that it does not follow. Nothing is
//! kept between two questions.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tinyclaw_disk::foreign::{ForeignError, replace_below};
use tinyclaw_domain::frame::{Told, encode};
use tinyclaw_domain::look::{
    ANSWER_BYTES_MAX, Answer, FolderOverlap, LookFault, MOVE_BYTES_MAX, PackedGit,
    QUESTION_BYTES_MAX, Question, Transcripts, TurnTrace,
};
use tinyclaw_domain::{Place, ThreadId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::account::Account;
use super::frames::parts;
use super::health::health;
use super::pin::Pin;
use crate::leash;
use crate::local::LocalLauncher;
use crate::look::{BadDir, Desk, Look, LookError};
use crate::moving::{GitState, Parcel, is_branch, is_commit};
use crate::overlap::Overlap;
use crate::transcript::{FinishedReply, Trace};

/// So many questions are answered at once; more, and the office waits to be heard.
const AT_ONCE: usize = 4;

/// The questions of one connection.
pub(super) struct Answers {
    looks: LocalLauncher,
    /// Whose machine it is, if it is not the office's.
    account: Option<Arc<Account>>,
    /// What the key is pinned to that the questions came by.
    pinned: Option<Arc<Pin>>,
    out: mpsc::Sender<Vec<u8>>,
    /// The question that is not whole yet.
    half: Option<(u64, Vec<u8>)>,
    answering: JoinSet<()>,
}

impl Answers {
    /// Answers by what this launcher sees, into these frames.
    pub(super) fn new(
        looks: LocalLauncher,
        account: Option<Arc<Account>>,
        pinned: Option<Arc<Pin>>,
        out: mpsc::Sender<Vec<u8>>,
    ) -> Answers {
        Answers { looks, account, pinned, out, half: None, answering: JoinSet::new() }
    }

    /// Takes a part of a question, and answers it when it is whole. An error is a question that no office asks.
    pub(super) async fn take(&mut self, ask: u64, more: bool, part: &[u8]) -> io::Result<()> {
        let (number, mut asked) = self.half.take().unwrap_or((ask, Vec::new()));
        if number != ask {
            return Err(io::Error::other(format!("question {ask} within question {number}")));
        }
        asked.extend_from_slice(part);
        if asked.len() > QUESTION_BYTES_MAX + MOVE_BYTES_MAX {
            return Err(io::Error::other("a question without end"));
        }
        if more {
            self.half = Some((ask, asked));
            return Ok(());
        }
        let (question, file) = parse(&asked)?;
        if self.pinned.as_ref().is_some_and(|it| !it.allows(&question)) {
            let why = "the key is pinned to another directory".to_owned();
            let fault = Answer::Fault { fault: LookFault::Pinned { why } };
            tell(&self.out, ask, &fault, b"").await;
            return Ok(());
        }
        let file = file.to_vec();
        while self.answering.len() >= AT_ONCE {
            self.answering.join_next().await;
        }
        let (looks, out) = (self.looks.clone(), self.out.clone());
        let account = self.account.clone();
        self.answering.spawn(async move {
            let (answer, bytes) = match answer(looks, account, question, file).await {
                Ok(it) => it,
                Err(err) => (Answer::Fault { fault: fault(err) }, Vec::new()),
            };
            tell(&out, ask, &answer, &bytes).await;
        });
        Ok(())
    }
}

/// A whole question: its line, and the bytes that follow.
fn parse(asked: &[u8]) -> io::Result<(Question, &[u8])> {
    let within = &asked[..asked.len().min(QUESTION_BYTES_MAX)];
    let end = within.iter().position(|it| *it == b'\n');
    let end = end.ok_or_else(|| io::Error::other("a question without a line"))?;
    let question = serde_json::from_slice(&asked[..end])
        .map_err(|err| io::Error::other(format!("not a question: {err}")))?;
    Ok((question, &asked[end + 1..]))
}

/// Says an answer in as many frames as it needs.
async fn tell(out: &mpsc::Sender<Vec<u8>>, ask: u64, answer: &Answer, bytes: &[u8]) {
    let line = match line_of(answer) {
        Ok(it) if it.len() <= ANSWER_BYTES_MAX => it,
        Ok(_) => line_of(&step("the answer is too long")).unwrap_or_default(),
        // The name of a file need not be text.
        Err(err) => line_of(&step(&format!("no answer in JSON: {err}"))).unwrap_or_default(),
    };
    let parts = parts(&line, bytes);
    for (number, part) in parts.iter().enumerate() {
        let more = number + 1 < parts.len();
        // Nobody takes it: the hub notices at its next read.
        if out.send(encode(&Told::Look { ask, more }, part)).await.is_err() {
            return;
        }
    }
}

fn step(why: &str) -> Answer {
    Answer::Fault { fault: LookFault::Step { why: why.to_owned() } }
}

/// One line of JSON, with its end.
pub(super) fn line_of(what: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(line)
}

async fn answer(
    looks: LocalLauncher,
    account: Option<Arc<Account>>,
    question: Question,
    file: Vec<u8>,
) -> Result<(Answer, Vec<u8>), LookError> {
    let path = |path: PathBuf| Answer::Path { path };
    let answer = match question {
        Question::Has { of, dir, session } => {
            let (looks, desk) = at(looks, of, dir);
            Answer::Is { yes: looks.has_session(&desk, &session).await? }
        }
        Question::Trace { of, dir, session, uuid } => {
            let (looks, desk) = at(looks, of, dir);
            Answer::Turn { turn: traced(looks.trace(&desk, &session, &uuid).await?) }
        }
        Question::Copy { of, dir, to, session } => {
            let (looks, desk) = at(looks, of, dir);
            Answer::Is { yes: looks.copy_session(&desk, &to, &session).await? }
        }
        Question::RealDir { dir } => path(looks.real_dir(&nobody_at(dir)).await?),
        Question::CheckDir { dir } => {
            looks.check_dir(&nobody_at(dir)).await?;
            Answer::Done {}
        }
        Question::Overlaps { dir, others } => {
            let all = looks.overlaps(&nobody_at(dir), &others).await?;
            Answer::Overlaps { all: all.into_iter().map(lies).collect() }
        }
        Question::OwnFolder { thread } => path(looks.own_folder(&Place::Here, &thread).await?),
        Question::FindFile { dir, path } => {
            let found = looks.find_file(&nobody_at(dir), &path).await?;
            Answer::File { path: found.path, below: found.below, size: found.bytes }
        }
        Question::Get { dir, below, bytes_max } => {
            let bytes = looks.get(&nobody_at(dir), &below, bytes_max).await?;
            return Ok((Answer::Done {}, bytes));
        }
        Question::Put { thread, name } => path(put(&looks, &thread, name, file).await?),
        Question::Clean {} => match account {
            Some(account) => Answer::Is { yes: on_disk(move || account.clean()).await? },
            None => step("that is asked of devboxes"),
        },
        Question::PackUp { of, dir, session } => {
            let (looks, desk) = at(with_leash(looks), of, dir);
            let Parcel { git, transcript } = looks.pack_up(&desk, session.as_ref()).await?;
            let told = git.as_ref().map(|it| PackedGit {
                head: it.head.clone(),
                branch: it.branch.clone(),
                changed: it.changed,
                bundle: it.bundle.len() as u64,
            });
            let mut bytes = git.map_or_else(Vec::new, |it| it.bundle);
            bytes.extend_from_slice(&transcript);
            if bytes.len() > MOVE_BYTES_MAX {
                let (path, bytes_max) = (desk.dir, MOVE_BYTES_MAX as u64);
                return Err(ForeignError::TooLarge { path, bytes_max }.into());
            }
            return Ok((Answer::Packed { git: told }, bytes));
        }
        Question::LayOut { of, dir, session, git } => {
            let (looks, desk) = at(with_leash(looks), of, dir);
            let Some(parcel) = parcel(git, &file) else {
                return Ok((step("that is no parcel"), Vec::new()));
            };
            looks.lay_out(&desk, session.as_ref(), &parcel).await?;
            Answer::Done {}
        }
        Question::Unconfined {} => {
            Answer::Unconfined { why: looks.unconfined(&Place::Here).await? }
        }
        Question::Health { dir } => match account {
            Some(account) => {
                Answer::Health { health: Box::new(health(&account, &looks, dir).await) }
            }
            None => step("that is asked of devboxes"),
        },
    };
    Ok((answer, Vec::new()))
}

async fn on_disk(
    work: impl FnOnce() -> io::Result<bool> + Send + 'static,
) -> Result<bool, LookError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    let path = PathBuf::from("the helper's own folders");
    done.map_err(|source| ForeignError::Io { step: "remove", path, source }.into())
}

/// What starts a program there: this one is a leash as well.
fn with_leash(looks: LocalLauncher) -> LocalLauncher {
    looks.with_leash("/proc/self/exe".into())
}

/// What came with an order or an answer; `None` where it does not fit together.
pub(super) fn parcel(git: Option<PackedGit>, bytes: &[u8]) -> Option<Parcel> {
    let Some(git) = git else { return Some(Parcel { git: None, transcript: bytes.to_vec() }) };
    let at = usize::try_from(git.bundle).ok().filter(|it| *it <= bytes.len())?;
    let (bundle, transcript) = bytes.split_at(at);
    let branch = git.branch.filter(|it| is_branch(it));
    let PackedGit { head, changed, .. } = git;
    is_commit(&head).then(|| Parcel {
        git: Some(GitState { head, branch, changed, bundle: bundle.to_vec() }),
        transcript: transcript.to_vec(),
    })
}

/// The looks into one thread's transcripts, and its desk.
fn at(looks: LocalLauncher, of: Transcripts, dir: PathBuf) -> (LocalLauncher, Desk) {
    let looks = match of.home {
        Some(home) => looks.with_home(home),
        None => looks,
    };
    (looks, Desk::here(&of.thread, dir))
}

/// A directory, whoever's it is: what is asked about it has nothing to do with a thread.
fn nobody_at(dir: PathBuf) -> Desk {
    Desk::here(&ThreadId::master(), dir)
}

/// Keeps what was brought, under its name, in the thread's own folder. What had the name is replaced.
async fn put(
    looks: &LocalLauncher,
    thread: &ThreadId,
    name: String,
    bytes: Vec<u8>,
) -> Result<PathBuf, LookError> {
    let folder = looks.own_folder(&Place::Here, thread).await?;
    let path = folder.join(&name);
    if Path::new(&name).file_name().is_none_or(|it| it != name.as_str()) {
        return Err(ForeignError::Outside(path).into());
    }
    let written = tokio::task::spawn_blocking(move || {
        replace_below(&folder, Path::new(&name), &bytes, 0o600).map(|()| folder.join(name))
    });
    match written.await {
        Ok(written) => Ok(written?),
        Err(err) => {
            let source = io::Error::other(err);
            Err(ForeignError::Io { step: "write", path, source }.into())
        }
    }
}

fn traced(trace: Trace) -> TurnTrace {
    match trace {
        Trace::Unseen => TurnTrace::Unseen {},
        Trace::Begun | Trace::Running => TurnTrace::Begun {},
        Trace::Finished(FinishedReply { text, said, model }) => {
            TurnTrace::Finished { text, said, model }
        }
    }
}

fn lies(overlap: Overlap) -> FolderOverlap {
    match overlap {
        Overlap::Apart => FolderOverlap::Apart,
        Overlap::Same => FolderOverlap::Same,
        Overlap::Inside => FolderOverlap::Inside,
        Overlap::Around => FolderOverlap::Around,
    }
}

fn fault(err: LookError) -> LookFault {
    match err {
        LookError::BadDir(BadDir::Missing(_)) => LookFault::NoDir {},
        LookError::BadDir(BadDir::Linked(_)) => LookFault::LinkedDir {},
        LookError::BadDir(BadDir::InState { .. }) => LookFault::InState {},
        LookError::BadDir(BadDir::HoldsState { .. }) => LookFault::HoldsState {},
        LookError::Foreign(ForeignError::Missing(_)) => LookFault::Missing {},
        LookError::Foreign(ForeignError::Link(_)) => LookFault::Link {},
        LookError::Foreign(ForeignError::NotAFile(_)) => LookFault::NotAFile {},
        LookError::Foreign(ForeignError::NotAFolder(_)) => LookFault::NotAFolder {},
        LookError::Foreign(ForeignError::Outside(_)) => LookFault::Outside {},
        LookError::Foreign(ForeignError::TooLarge { .. }) => LookFault::TooLarge {},
        other => LookFault::Step { why: leash::in_words(&other) },
    }
}
