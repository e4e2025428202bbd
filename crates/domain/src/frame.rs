//! What an office and the helper on a machine say to each other: a JSON line, then as many raw bytes as it names.
//!
//! The line is short and says what the bytes are; the bytes are what Claude reads and writes, and are looked at by nobody
//! on the way. Numbers make every frame safe to send again: inputs are numbered from 0, output is named by its offset.
//! Whoever reads frames has to deal with a stranger: a line that is too long, bytes that are too many and an op that
//! nobody knows are errors, and after an error nothing more is read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{BadId, ThreadId};

/// The version of what is said here. A helper of another one is refused.
pub const LINK_VERSION: u32 = 1;
/// The longest line of a frame, with its line feed.
pub const HEAD_BYTES_MAX: usize = 4 * 1024;
/// The most bytes that follow a line.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// From the office to the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Call {
    /// The first of all.
    Hello {
        /// [`LINK_VERSION`].
        v: u32,
        /// To be said back: whatever came before is a shell's noise.
        nonce: String,
        /// Who is calling, chosen by chance when the office was made.
        office: String,
    },
    /// Somebody is there. Renews the lease of every run of this connection.
    Ping {},
    /// Starts a run; the body is a [`StartRun`]. Asked again, it starts nothing and is answered by [`Told::Adopted`].
    Start {
        /// The run.
        run: RunId,
        /// What shows from now on that it is ours.
        token: RunToken,
    },
    /// Listens to a run from this offset on. Whoever listened before is heard no more.
    Attach {
        /// The run.
        run: RunId,
        /// Its token.
        token: RunToken,
        /// How much of its output was received.
        offset: u64,
    },
    /// The body is for Claude's stdin.
    In {
        /// The run.
        run: RunId,
        /// The number of this input. One that was applied before is acknowledged and not applied.
        seq: u64,
    },
    /// The body is kept, and told to whoever adopts the run.
    Note {
        /// The run.
        run: RunId,
    },
    /// How far the office is: more may be sent.
    Seen {
        /// The run.
        run: RunId,
        /// Output before this offset was dealt with.
        at: u64,
        /// Output before this offset is needed no more, whatever becomes of the office.
        keep: u64,
    },
    /// What is to be done with Claude.
    Order {
        /// The run.
        run: RunId,
        /// What.
        order: RunOrder,
    },
    /// Which runs there are.
    Runs {},
    /// A part of a [`Question`](crate::look::Question), and of the file that it brings.
    Look {
        /// The number of the question. The next one begins when this one is whole.
        ask: u64,
        /// Whether another part follows.
        more: bool,
    },
    /// To [`Told::Ask`]; the body is what the program there gets to read. Empty: nothing.
    Answer {
        /// The run.
        run: RunId,
        /// The number of the question.
        ask: u64,
    },
    /// A run that was fetched to its end may be forgotten.
    Forget {
        /// The run.
        run: RunId,
        /// Its token.
        token: RunToken,
    },
}

/// From the helper to the office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Told {
    /// The answer to a ping.
    Pong {},
    /// Claude runs.
    Started {
        /// The run.
        run: RunId,
    },
    /// The run is there already; the body is its note, if it has one. After [`Call::Start`] and [`Call::Attach`].
    Adopted {
        /// The run.
        run: RunId,
        /// How much output there is.
        at: u64,
        /// The first offset that is still kept.
        kept: u64,
        /// The number of the next input.
        seq: u64,
        /// How many bytes of input were taken.
        taken: u64,
        /// Whether they end in the middle of a line, or nobody knows.
        torn: bool,
    },
    /// There is no such run here, or it is not yours, or it may not be.
    Refused {
        /// The run.
        run: RunId,
        /// Why.
        why: Refusal,
    },
    /// The body is what Claude wrote to stdout.
    Out {
        /// The run.
        run: RunId,
        /// Its offset: exactly what came before.
        at: u64,
    },
    /// The body is from stderr: for people, complete or not.
    Err {
        /// The run.
        run: RunId,
    },
    /// Inputs before this number were taken.
    Ack {
        /// The run.
        run: RunId,
        /// The number of the next input.
        seq: u64,
    },
    /// Claude and everything it started are gone, and all of its output was sent.
    Exit {
        /// The run.
        run: RunId,
        /// How it ended.
        #[serde(flatten)]
        exit: RunExit,
    },
    /// A git there wants a token of the office's; the body is how it describes what for. Only where [`StartRun::git`] says so.
    /// Asked again after each connect, until it is answered.
    Ask {
        /// The run.
        run: RunId,
        /// The number of the question, in this run.
        ask: u64,
    },
    /// The runs that there are; the body is a list of [`RunLine`]s.
    Runs {
        /// Whether another list follows.
        more: bool,
    },
    /// A part of an [`Answer`](crate::look::Answer), and of the file that was asked for.
    Look {
        /// The number of the question.
        ask: u64,
        /// Whether another part follows.
        more: bool,
    },
    /// The run is forgotten: nothing of it lies here any more.
    Forgotten {
        /// The run.
        run: RunId,
    },
    /// The last frame of a connection: what was wrong with a frame.
    Bad {
        /// In words.
        why: String,
    },
}

/// What to start.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRun {
    /// Whose session it is.
    pub thread: ThreadId,
    /// The directory that Claude works in.
    pub dir: PathBuf,
    /// Claude's arguments.
    pub args: Vec<String>,
    /// Claude's environment. Holds secrets.
    pub env: BTreeMap<String, String>,
    /// What Claude may write besides its directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<PathBuf>,
    /// What Claude may read besides what every program needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readable: Vec<PathBuf>,
    /// The host for which git below Claude may ask the office for a token. `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// A person said so: what another office has running in the directory is ended first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// After so many seconds without a ping Claude's stdin is closed.
    pub lease_s: u64,
    /// And after so many more everything is ended.
    pub end_s: u64,
}

impl fmt::Debug for StartRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRun")
            .field("thread", &self.thread)
            .field("dir", &self.dir)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// What can be asked of a run besides input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunOrder {
    /// SIGINT to Claude.
    Interrupt,
    /// End of file on Claude's stdin, after what was written to it.
    Eof,
    /// Everything is to end.
    End,
}

/// How a run ended. Both `None`: nobody knows, its holder was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunExit {
    /// Claude's exit code; 128 and more stands for a signal.
    pub code: Option<i32>,
    /// The signal that ended what held it.
    pub signal: Option<i32>,
    /// How much it wrote to stdout.
    pub size: u64,
    /// How many bytes of input were taken.
    #[serde(default)]
    pub taken: u64,
}

/// A run in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLine {
    /// The run.
    pub run: RunId,
    /// Whether Claude may still be at work in it.
    pub lives: bool,
}

/// Why a run is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// There is no such run, or the token is another one: nobody is told which.
    NotYours {},
    /// Another connection listens to the run now.
    Superseded {},
    /// Another office works in this directory.
    Busy {
        /// Which one.
        office: String,
        /// The process that holds it.
        pid: i32,
        /// For how many seconds it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_s: Option<u64>,
    },
    /// The program is not there.
    Missing {
        /// Which.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The directory is not there.
    NoDir {
        /// Its path.
        path: PathBuf,
    },
    /// The directory, or what Claude would be given, may not be given.
    NotGiven {
        /// In words.
        why: String,
    },
    /// The arguments are not those that an office makes.
    Arguments {
        /// The first that is not.
        flag: String,
    },
    /// The disk is full.
    NoSpace {},
    /// A step failed.
    Step {
        /// In words.
        why: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotYours {} => f.write_str("there is no such run of this office"),
            Refusal::Superseded {} => f.write_str("another connection listens to the run"),
            Refusal::Busy { office, pid, .. } => {
                write!(f, "office {office} works in this directory (pid {pid})")
            }
            Refusal::Missing { what, path } => {
                write!(f, "cannot find {what} at {}", path.display())
            }
            Refusal::NoDir { path } => write!(f, "{} is not a directory there", path.display()),
            Refusal::NotGiven { why } | Refusal::Step { why } => f.write_str(why),
            Refusal::Arguments { flag } => write!(f, "{flag:?} is no argument of an office's"),
            Refusal::NoSpace {} => f.write_str("the disk there is full"),
        }
    }
}

/// The name of a run, and of its folder: 16 to 32 of `[0-9a-z]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(Box<str>);

impl RunId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<RunId, BadId> {
        let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        if (16..=32).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(RunId(text.into()));
        }
        Err(BadId {
            what: "run",
            text: text.chars().take(64).collect(),
            why: "it must be 16 to 32 small letters and digits",
        })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What shows that a run is ours: 64 hexadecimal digits. On the machine only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct RunToken(Box<str>);

impl RunToken {
    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What may lie on a disk that Claude can read: nobody finds the token by it.
    pub fn digest(&self) -> String {
        use fmt::Write;
        Sha256::digest(self.0.as_bytes()).iter().fold(String::new(), |mut text, it| {
            let _ = write!(text, "{it:02x}");
            text
        })
    }
}

impl FromStr for RunToken {
    type Err = BadId;

    fn from_str(text: &str) -> Result<RunToken, BadId> {
        let is_hex = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Ok(RunToken(text.into()));
        }
        // Not a word of it: it could be a token with one letter too many.
        Err(BadId { what: "token", text: String::new(), why: "it must be 64 hexadecimal digits" })
    }
}

impl fmt::Debug for RunToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunToken(…)")
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(RunId, RunToken);

/// A frame's line: what it says, and how many bytes follow.
#[derive(Serialize, Deserialize)]
struct Head<T> {
    #[serde(flatten)]
    what: T,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(bytes: &usize) -> bool {
    *bytes == 0
}

/// The bytes of a frame.
///
/// The body is cut at [`BODY_BYTES_MAX`]: whoever has more sends more frames.
pub fn encode<T: Serialize>(what: &T, body: &[u8]) -> Vec<u8> {
    debug_assert!(body.len() <= BODY_BYTES_MAX, "a body has an end");
    let body = &body[..body.len().min(BODY_BYTES_MAX)];
    // Made of our own types: there is nothing in them that JSON cannot say.
    let mut frame = serde_json::to_vec(&Head { what, bytes: body.len() }).unwrap_or_default();
    frame.push(b'\n');
    frame.extend_from_slice(body);
    frame
}

/// A frame that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Its line does not end.
    #[error("a line of more than {HEAD_BYTES_MAX} bytes")]
    LongLine,
    /// It has too many bytes.
    #[error("a body of {0} bytes, where {BODY_BYTES_MAX} are allowed")]
    LongBody(usize),
    /// Its line is not one of ours.
    #[error("not a frame: {0}")]
    NotOurs(String),
}

/// Cuts frames out of what arrives, in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// What was given out already.
    used: usize,
}

impl Decoder {
    /// What arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one. After an error nothing that follows means anything.
    pub fn frame<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<u8>)>, BadFrame> {
        let rest = &self.bytes[self.used..];
        let within = &rest[..rest.len().min(HEAD_BYTES_MAX)];
        let Some(end) = within.iter().position(|it| *it == b'\n') else {
            return if rest.len() >= HEAD_BYTES_MAX { Err(BadFrame::LongLine) } else { Ok(None) };
        };
        let head: Head<T> = serde_json::from_slice(&rest[..end])
            .map_err(|err| BadFrame::NotOurs(err.to_string()))?;
        if head.bytes > BODY_BYTES_MAX {
            return Err(BadFrame::LongBody(head.bytes));
        }
        let Some(body) = rest.get(end + 1..end + 1 + head.bytes) else { return Ok(None) };
        let body = body.to_vec();
        self.used += end + 1 + head.bytes;
        Ok(Some((head.what, body)))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn run() -> RunId {
        "0123456789abcdef".parse().unwrap()
    }

    #[track_caller]
    fn check(what: &impl Serialize, body: &[u8], expect: Expect) {
        expect.assert_eq(&String::from_utf8(encode(what, body)).unwrap());
    }

    #[test]
    fn a_frame_is_a_line_and_what_follows_it() {
        let token: RunToken = "ab".repeat(32).parse().unwrap();
        check(
            &Call::Ping {},
            b"",
            expect![[r#"
            {"op":"ping"}
        "#]],
        );
        check(
            &Call::Attach { run: run(), token, offset: 7 },
            b"",
            expect![[r#"
                {"op":"attach","run":"0123456789abcdef","token":"abababababababababababababababababababababababababababababababab","offset":7}
            "#]],
        );
        check(
            &Call::In { run: run(), seq: 3 },
            b"hello",
            expect![[r#"
                {"op":"in","run":"0123456789abcdef","seq":3,"bytes":5}
                hello"#]],
        );
        let exit = RunExit { code: Some(0), signal: None, size: 12, taken: 3 };
        check(
            &Told::Exit { run: run(), exit },
            b"",
            expect![[r#"
                {"op":"exit","run":"0123456789abcdef","code":0,"signal":null,"size":12,"taken":3}
            "#]],
        );
        check(
            &Told::Refused { run: run(), why: Refusal::NoDir { path: "/srv".into() } },
            b"",
            expect![[r#"
                {"op":"refused","run":"0123456789abcdef","why":{"is":"noDir","path":"/srv"}}
            "#]],
        );
    }

    #[track_caller]
    fn refuses(bytes: &[u8], expect: Expect) {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        expect.assert_eq(&decoder.frame::<Call>().unwrap_err().to_string());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        refuses(b"Welcome to Debian\n", expect!["not a frame: expected value at line 1 column 1"]);
        refuses(
            b"{\"op\":\"format\"}\n",
            expect![
                "not a frame: unknown variant `format`, expected one of `hello`, `ping`, `start`, `attach`, `in`, `note`, `seen`, `order`, `runs`, `look`, `answer`, `forget` at line 1 column 15"
            ],
        );
        refuses(
            b"{\"op\":\"seen\",\"run\":\"../../etc/passwd\",\"at\":1}\n",
            expect![[
                r#"not a frame: run "../../etc/passwd" is not valid: it must be 16 to 32 small letters and digits at line 1 column 45"#
            ]],
        );
        refuses(
            b"{\"op\":\"ping\",\"bytes\":65537}\n",
            expect!["a body of 65537 bytes, where 65536 are allowed"],
        );
        refuses(&[b'x'; HEAD_BYTES_MAX], expect!["a line of more than 4096 bytes"]);
    }

    #[test]
    fn a_token_is_never_shown() {
        let token: RunToken = "0f".repeat(32).parse().unwrap();
        let call = Call::Start { run: run(), token: token.clone() };
        assert!(!format!("{call:?}").contains("0f0f"));
        assert_ne!(token.digest(), token.as_str());
        let err = "0f".repeat(33).parse::<RunToken>().unwrap_err();
        assert!(!err.to_string().contains("0f0f"));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
            cuts in prop::collection::vec(1_usize..80, 1..40),
        ) {
            let wire: Vec<u8> = (0_u64..)
                .zip(&bodies)
                .flat_map(|(seq, body)| encode(&Call::In { run: run(), seq }, body))
                .collect();
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.push(now);
                rest = later;
                while let Some((call, body)) = decoder.frame::<Call>().unwrap() {
                    prop_assert_eq!(call, Call::In { run: run(), seq: got.len() as u64 });
                    got.push(body);
                }
            }
            prop_assert_eq!(got, bodies);
        }

        #[test]
        fn no_bytes_make_a_decoder_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.frame::<Told>() {}
        }
    }
}
