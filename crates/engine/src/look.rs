//! A look at the machine that a thread's Claude runs on: its transcripts, its directories, its files.
//!
//! Whoever wants to know anything about a thread's directory or session asks here, and is answered by the launcher of the
//! thread's place. A path of a [`Desk`] means something at its place only; nobody opens it on this machine's disk.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tinyclaw_disk::foreign::ForeignError;
use tinyclaw_domain::{Place, SessionId, Thread, ThreadId};

use crate::moving::Parcel;
use crate::overlap::Overlap;
use crate::transcript::Trace;

/// Whose directory, and where that is: what every look is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Desk {
    /// The thread, whose home the transcripts lie in.
    pub thread: ThreadId,
    /// Where its Claude runs.
    pub place: Place,
    /// The directory there, absolute.
    pub dir: PathBuf,
}

impl Desk {
    /// Where a thread works, as its entry says.
    pub fn of(id: &ThreadId, thread: &Thread) -> Desk {
        let (place, dir) = thread.place();
        Desk { thread: id.clone(), place, dir }
    }

    /// A directory of this machine, for a thread.
    pub fn here(id: &ThreadId, dir: impl Into<PathBuf>) -> Desk {
        Desk { thread: id.clone(), place: Place::Here, dir: dir.into() }
    }

    /// The same thread and place with another directory.
    pub fn with_dir(&self, dir: impl Into<PathBuf>) -> Desk {
        Desk { dir: dir.into(), ..self.clone() }
    }
}

/// As it is written in `threads.json`: `/srv/api`, or `api:/srv/api` elsewhere.
impl fmt::Display for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_here() {
            write!(f, "{}:", self.place)?;
        }
        self.dir.display().fmt(f)
    }
}

/// What [`Look`]'s questions return.
pub type LookFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LookError>> + Send + 'a>>;

/// What can be asked about a place. Every answer is what was true a moment ago: Claude and people work there meanwhile.
///
/// A place that does not answer is [`LookError::OutOfReach`] within seconds; no question waits for it to come back.
/// Nothing follows a link that an agent could have made, but where it says so.
pub trait Look: Send + Sync + fmt::Debug + 'static {
    /// Whether there is a transcript of this session: whether Claude would continue it in this directory.
    fn has_session<'a>(&'a self, desk: &'a Desk, session: &'a SessionId) -> LookFuture<'a, bool>;

    /// How far the turn with this uuid got, by Claude's own transcript.
    fn trace<'a>(
        &'a self,
        desk: &'a Desk,
        session: &'a SessionId,
        turn_uuid: &'a str,
    ) -> LookFuture<'a, Trace>;

    /// Makes a session known in another directory of the same place too. `false`: there is no such session.
    fn copy_session<'a>(
        &'a self,
        from: &'a Desk,
        to: &'a Path,
        session: &'a SessionId,
    ) -> LookFuture<'a, bool>;

    /// The directory's own name, by way of links: which directory a person means. [`ForeignError::Missing`] and
    /// [`ForeignError::NotAFolder`] when there is none.
    fn real_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, PathBuf>;

    /// Whether the thread may have its directory: the question that the launcher asks again when Claude starts.
    fn check_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, ()>;

    /// How the desk's directory lies to each of these, which are of the same place: by what they are, and by their names
    /// where one is not there.
    fn overlaps<'a>(
        &'a self,
        desk: &'a Desk,
        others: &'a [PathBuf],
    ) -> LookFuture<'a, Vec<Overlap>>;

    /// A folder that the thread has for itself beside its directory, made when it is not there: what is put for it lies
    /// in it, and who needs no directory works in it.
    fn own_folder<'a>(&'a self, place: &'a Place, thread: &'a ThreadId) -> LookFuture<'a, PathBuf>;

    /// The file that a path names, relative to the desk's directory and below it, by way of links that stay below it.
    fn find_file<'a>(&'a self, desk: &'a Desk, path: &'a Path) -> LookFuture<'a, FoundFile>;

    /// What is in a file below the desk's directory, up to so many bytes.
    fn get<'a>(
        &'a self,
        desk: &'a Desk,
        below: &'a Path,
        bytes_max: u64,
    ) -> LookFuture<'a, Vec<u8>>;

    /// Brings a file of this machine, `below` a folder that is trusted, to where the thread's Claude can read it, and says
    /// where that is. On this machine it lies there already.
    fn put<'a>(
        &'a self,
        desk: &'a Desk,
        root: &'a Path,
        below: &'a Path,
    ) -> LookFuture<'a, PathBuf>;

    /// What goes along when the thread moves elsewhere. Its Claude is gone, and nothing is changed here.
    fn pack_up<'a>(
        &'a self,
        desk: &'a Desk,
        _session: Option<&'a SessionId>,
    ) -> LookFuture<'a, Parcel> {
        Box::pin(async move { Err(moves_nothing(&desk.place)) })
    }

    /// Lays out in the desk's directory what was packed up elsewhere, and makes its session known there. What is in the
    /// way is not touched: then nothing is done.
    fn lay_out<'a>(
        &'a self,
        desk: &'a Desk,
        _session: Option<&'a SessionId>,
        _parcel: &'a Parcel,
    ) -> LookFuture<'a, ()> {
        Box::pin(async move { Err(moves_nothing(&desk.place)) })
    }

    /// What the leash cannot promise of any Claude there, in words; `None` when it keeps them all.
    fn unconfined<'a>(&'a self, place: &'a Place) -> LookFuture<'a, Option<String>>;
}

/// Of a place from which, or to which, no thread moves.
fn moves_nothing(place: &Place) -> LookError {
    LookError::Nonsense { place: place.clone(), why: "no thread moves from there, or to it" }
}

impl dyn Look + '_ {
    /// Brings a file of the thread's own folder on this machine to where its Claude can read it, see [`Look::put`].
    pub(crate) async fn bring(&self, desk: &Desk, file: &Path) -> Result<PathBuf, LookError> {
        match (file.parent(), file.file_name()) {
            (Some(folder), Some(name)) => self.put(desk, folder, Path::new(name)).await,
            _ => Ok(file.to_owned()),
        }
    }
}

/// A file below a desk's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its own name at its place, absolute.
    pub path: PathBuf,
    /// The same below the directory's own name.
    pub below: PathBuf,
    /// How large it is.
    pub bytes: u64,
}

/// A place does not answer: nobody knows how what runs there is doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is out of reach: {why}")]
pub struct OutOfReach {
    /// Which one.
    pub place: Place,
    /// Why, in words for a person: `api:22 refuses connections`.
    pub why: String,
    /// Whether it lasts until a person does something about it: to ask again by ourselves changes nothing.
    pub is_held: bool,
}

/// The connection is lost: since when, in ms since 1970, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkLost {
    pub(crate) at: u64,
    pub(crate) why: String,
}

/// A question about a place has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The place does not answer.
    #[error(transparent)]
    OutOfReach(#[from] OutOfReach),
    /// The thread may not have its directory.
    #[error(transparent)]
    BadDir(#[from] BadDir),
    /// What lies there is not what it should be.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The place gave an answer that cannot be one.
    #[error("{place} gives an answer that cannot be one: {why}")]
    Nonsense {
        /// Which place.
        place: Place,
        /// What was wrong with it.
        why: &'static str,
    },
}

impl LookError {
    /// Whether there is nothing under this name.
    pub fn is_missing(&self) -> bool {
        matches!(self, LookError::Foreign(err) if err.is_missing())
    }
}

/// A directory that no thread may have.
#[derive(Debug, thiserror::Error)]
pub enum BadDir {
    /// Whoever keeps the far end of a link refuses it.
    #[error("{} is refused there: {why}", dir.display())]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// In the words of the far end.
        why: String,
    },
    /// It is not there.
    #[error("{} is not a directory", .0.display())]
    Missing(PathBuf),
    /// It is reached through a link, which could lead anywhere by tomorrow.
    #[error("{} is a link or lies behind one: give the directory itself", .0.display())]
    Linked(PathBuf),
    /// It is TinyClaw's own.
    #[error("{} lies in TinyClaw's own state ({}): choose a directory beside it", dir.display(), state.display())]
    InState {
        /// The directory.
        dir: PathBuf,
        /// The state folder.
        state: PathBuf,
    },
    /// It cannot be looked at.
    #[error("{} cannot be looked at: {source}", dir.display())]
    Unknown {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Claude would get at TinyClaw's own state.
    #[error("{} contains TinyClaw's own state ({}): choose a directory beside it", dir.display(), state.display())]
    HoldsState {
        /// The directory.
        dir: PathBuf,
        /// The state folder.
        state: PathBuf,
    },
}
