//! What an office asks a helper about its machine, and what that answers: the first line of what `look` frames carry.
//!
//! A question is one JSON line, after it the bytes of a file that is brought; an answer is one JSON line, after it the bytes
//! of a file that is fetched. What is answered is the word of a stranger: whoever reads it judges names, numbers and lengths.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{SessionId, ThreadId};

/// The longest line of a question.
pub const QUESTION_BYTES_MAX: usize = 256 * 1024;
/// The longest line of an answer: what Claude said in a turn is in it.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest file that is brought.
pub const PUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most that goes along when a thread moves: what git has, and the session.
pub const MOVE_BYTES_MAX: usize = 200 * 1024 * 1024;

/// Where the transcripts of a thread's sessions lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcripts {
    /// Whose they are.
    pub thread: ThreadId,
    /// The HOME of that thread's Claude; without it the one that the helper's state folder has for the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<PathBuf>,
}

/// What can be asked of a helper's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// Whether there is a transcript. Answered by [`Answer::Is`].
    Has {
        /// Where it would be.
        of: Transcripts,
        /// The directory that Claude works in.
        dir: PathBuf,
        /// Which session.
        session: SessionId,
    },
    /// How far a turn got, by its transcript. Answered by [`Answer::Turn`].
    Trace {
        /// Where that is.
        of: Transcripts,
        /// The directory that Claude works in.
        dir: PathBuf,
        /// Which session.
        session: SessionId,
        /// The uuid of the turn's prompt.
        uuid: String,
    },
    /// Makes a session known in another directory too. Answered by [`Answer::Is`].
    Copy {
        /// Where its transcript is.
        of: Transcripts,
        /// The directory that it was in.
        dir: PathBuf,
        /// The other one.
        to: PathBuf,
        /// Which session.
        session: SessionId,
    },
    /// A directory's own name. Answered by [`Answer::Path`].
    RealDir {
        /// As a person gave it.
        dir: PathBuf,
    },
    /// Whether a directory may be given to Claude. Answered by [`Answer::Done`].
    CheckDir {
        /// Which.
        dir: PathBuf,
    },
    /// How a directory lies to others. Answered by [`Answer::Overlaps`], one for each.
    Overlaps {
        /// Which.
        dir: PathBuf,
        /// The others.
        others: Vec<PathBuf>,
    },
    /// A folder for what is put there. Answered by [`Answer::Path`].
    OwnFolder {
        /// Whose.
        thread: ThreadId,
    },
    /// A file below a directory. Answered by [`Answer::File`].
    FindFile {
        /// The directory.
        dir: PathBuf,
        /// As Claude named it.
        path: PathBuf,
    },
    /// What is in a file. Answered by [`Answer::Done`], and its bytes follow.
    Get {
        /// The directory.
        dir: PathBuf,
        /// The file, below it.
        below: PathBuf,
        /// No more bytes than this.
        bytes_max: u64,
    },
    /// Keeps the bytes that follow in the thread's own folder. Answered by [`Answer::Path`].
    Put {
        /// Whose folder.
        thread: ThreadId,
        /// Under which name.
        name: String,
    },
    /// What goes along when a thread moves. Answered by [`Answer::Packed`], and the bundle and the transcript follow.
    PackUp {
        /// Whose transcripts.
        of: Transcripts,
        /// The directory that Claude works in.
        dir: PathBuf,
        /// Which session, if there is one.
        session: Option<SessionId>,
    },
    /// Lays out the bundle and the transcript that follow. Answered by [`Answer::Done`].
    LayOut {
        /// Whose transcripts.
        of: Transcripts,
        /// The directory that Claude will work in.
        dir: PathBuf,
        /// Which session, if there is one.
        session: Option<SessionId>,
        /// What git has of it.
        git: Option<PackedGit>,
    },
    /// Removes what helpers of this user keep, and the helpers, where nothing runs below one. Answered by [`Answer::Is`]:
    /// whether it is gone.
    Clean {},
    /// What the leash cannot promise there. Answered by [`Answer::Unconfined`].
    Unconfined {},
    /// All that an answer from there takes. Answered by [`Answer::Health`].
    Health {
        /// The directory that Claude would work in.
        dir: PathBuf,
    },
}

/// A directory as git has it, without its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackedGit {
    /// The commit that is checked out.
    pub head: String,
    /// Its branch, if it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// How many files are changed beside it.
    pub changed: u64,
    /// How many of the bytes that follow are the bundle; the rest is the transcript.
    pub bundle: u64,
}

/// How a machine is, as its helper says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FarHealth {
    /// `Linux x86_64`.
    pub platform: String,
    /// Claude.
    pub claude: Option<PathBuf>,
    /// What it says of its version.
    pub version: Option<String>,
    /// Whether there is a login, or a key in the environment.
    pub is_logged_in: bool,
    /// Whether the directory is there, and Claude may have it.
    pub has_dir: bool,
    /// What is checked out there.
    pub branch: Option<String>,
    /// Where that comes from, as git keeps it: the address of `origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Room on the directory's disk, in bytes.
    pub disk_free: u64,
    /// Memory that is left, in bytes.
    pub memory_free: u64,
    /// The time there, in ms since 1970.
    pub clock_ms: u64,
    /// Whether the helper is root.
    pub is_root: bool,
    /// What the leash cannot promise.
    pub unconfined: Option<String>,
    /// Whether what runs is ended with the last login, and nothing was said against that.
    pub ends_with_login: bool,
    /// How many Claudes of any office run there through a helper of this user.
    pub runs: u64,
}

/// What a helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// It is done, or it is so.
    Done {},
    /// Yes or no.
    Is {
        /// Which.
        yes: bool,
    },
    /// How far a turn got.
    Turn {
        /// So far.
        turn: TurnTrace,
    },
    /// A path there.
    Path {
        /// It.
        path: PathBuf,
    },
    /// How folders lie to each other.
    Overlaps {
        /// In the order that they were asked in.
        all: Vec<FolderOverlap>,
    },
    /// A file.
    File {
        /// Its own name.
        path: PathBuf,
        /// The same below the directory's own name.
        below: PathBuf,
        /// How large it is.
        size: u64,
    },
    /// What goes along.
    Packed {
        /// What git has; none where there is no repository.
        git: Option<PackedGit>,
    },
    /// What the leash cannot promise.
    Unconfined {
        /// In words; none when it keeps all promises.
        why: Option<String>,
    },
    /// How the machine is.
    Health {
        /// In all that matters.
        health: Box<FarHealth>,
    },
    /// There is no answer, since what lies there is not what it should be.
    Fault {
        /// Why.
        fault: LookFault,
    },
}

/// How far a turn got, as its transcript tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TurnTrace {
    /// Nothing is known of it.
    Unseen {},
    /// It has the prompt and no whole answer.
    Begun {},
    /// There is an answer.
    Finished {
        /// The last words.
        text: String,
        /// All words, piece by piece.
        said: Vec<String>,
        /// The full name of the model.
        model: Option<String>,
    },
}

/// How one folder lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FolderOverlap {
    /// Neither holds the other.
    Apart,
    /// They are one.
    Same,
    /// The first lies in the second.
    Inside,
    /// The first holds the second.
    Around,
}

/// Why there is no answer. What it is about is what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LookFault {
    /// It is not there.
    Missing {},
    /// It is a link, or lies behind one.
    Link {},
    /// It is no regular file.
    NotAFile {},
    /// It is no folder.
    NotAFolder {},
    /// It lies outside of the folder that it was looked for in.
    Outside {},
    /// It is larger than what was asked for at most.
    TooLarge {},
    /// The directory may not be given: it is not there.
    NoDir {},
    /// The directory may not be given: it is reached through a link.
    LinkedDir {},
    /// The directory may not be given: it lies in the helper's own state.
    InState {},
    /// The directory may not be given: the helper's own state lies in it.
    HoldsState {},
    /// The key that the question came by is pinned to something else.
    Pinned {
        /// In words.
        why: String,
    },
    /// A step failed.
    Step {
        /// In words.
        why: String,
    },
}
