//! What every look promises, as cases that a test runs against one: of this machine, over a link, and as another user.
//!
//! A case lays files down as the desk's agent might and asks. It panics when the answer is another than it should be.

#![allow(clippy::disallowed_methods, reason = "cases lay files down as a stranger would")]

use std::fmt::Debug;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tinyclaw_disk::foreign::ForeignError;
use tinyclaw_domain::SessionId;

use crate::look::{BadDir, Desk, Look, LookError};
use crate::overlap::Overlap;
use crate::transcript::{Trace, path as transcript_path};

const SESSION: &str = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";
const OTHER: &str = "7f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";
const PROMPT: &str = r#"{"type":"user","uuid":"u1","message":{"role":"user","content":"7?"}}"#;
const ANSWER: &str = r#"{"type":"assistant","message":{"id":"m2","model":"claude-sonnet-5","stop_reason":"end_turn","content":[{"type":"text","text":"It is 7."}]}}"#;
/// More than many frames carry.
const LONG: usize = 3 * 1024 * 1024 + 7;

/// A look, and a desk to look at.
pub struct Ground {
    /// What is asked.
    pub look: Arc<dyn Look>,
    /// A desk whose directory is there and empty.
    pub desk: Desk,
    /// The HOME of its Claude.
    pub home: PathBuf,
    /// A folder beside both, of whoever runs the test.
    pub beside: PathBuf,
    /// Gives what a case laid down to whoever works at the desk.
    pub settle: Box<dyn Fn() + Send + Sync>,
}

impl Ground {
    fn lay(&self, below: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.desk.dir.join(below);
        std::fs::create_dir_all(path.parent().unwrap_or(&path)).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    async fn get(&self, below: &str, bytes_max: u64) -> Result<Vec<u8>, LookError> {
        self.look.get(&self.desk, Path::new(below), bytes_max).await
    }

    async fn find(&self, path: impl AsRef<Path>) -> Result<(PathBuf, u64), LookError> {
        let found = self.look.find_file(&self.desk, path.as_ref()).await?;
        assert_eq!(found.path, self.desk.dir.join(&found.below), "one file, two names");
        Ok((found.below, found.bytes))
    }
}

fn foreign<T: Debug>(answer: Result<T, LookError>) -> ForeignError {
    match answer {
        Err(LookError::Foreign(err)) => err,
        other => panic!("{other:?}"),
    }
}

fn bad_dir<T: Debug>(answer: Result<T, LookError>) -> BadDir {
    match answer {
        Err(LookError::BadDir(err)) => err,
        other => panic!("{other:?}"),
    }
}

macro_rules! is {
    ($value:expr, $($pattern:tt)+) => {{
        let value = $value;
        assert!(matches!(value, $($pattern)+), "{value:?}");
    }};
}

/// By its transcript, in the desk's own home.
pub async fn a_session_is_known_where_its_transcript_lies(ground: &Ground) {
    let Ground { look, desk, home, .. } = ground;
    let (session, other): (SessionId, SessionId) =
        (SESSION.parse().expect("an id"), OTHER.parse().expect("an id"));
    let elsewhere = desk.with_dir(desk.dir.join("elsewhere"));
    std::fs::create_dir_all(&elsewhere.dir).expect("a folder");
    assert!(!look.has_session(desk, &session).await.expect("no session"));
    is!(look.trace(desk, &session, "u1").await, Ok(Trace::Unseen));
    assert!(!look.copy_session(desk, &elsewhere.dir, &session).await.expect("nothing to copy"));
    let file = transcript_path(&home.join(".claude"), &desk.dir, &session);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(&file, format!("{PROMPT}\n")).expect("a transcript");
    (ground.settle)();
    assert!(look.has_session(desk, &session).await.expect("a session"));
    assert!(!look.has_session(desk, &other).await.expect("another one"));
    is!(look.trace(desk, &session, "u1").await, Ok(Trace::Begun));
    is!(look.trace(desk, &session, "u2").await, Ok(Trace::Unseen));
    std::fs::write(&file, format!("{PROMPT}\n{ANSWER}\n")).expect("a transcript");
    let trace = look.trace(desk, &session, "u1").await.expect("traced");
    let Trace::Finished(found) = trace else { panic!("{trace:?}") };
    assert_eq!((found.text.as_str(), found.said.len()), ("It is 7.", 1));
    assert_eq!(found.model.as_deref(), Some("claude-sonnet-5"));
    assert!(!look.has_session(&elsewhere, &session).await.expect("not there"));
    assert!(look.copy_session(desk, &elsewhere.dir, &session).await.expect("copied"));
    assert!(look.has_session(&elsewhere, &session).await.expect("there too"));
}

/// What Claude said may be longer than a frame.
pub async fn a_long_answer_is_traced_whole(ground: &Ground) {
    let Ground { look, desk, home, .. } = ground;
    let session: SessionId = SESSION.parse().expect("an id");
    let file = transcript_path(&home.join(".claude"), &desk.dir, &session);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    let words = "sieben und acht ".repeat(20_000);
    let answer = ANSWER.replace("It is 7.", &words);
    std::fs::write(&file, format!("{PROMPT}\n{answer}\n")).expect("a transcript");
    (ground.settle)();
    let trace = look.trace(desk, &session, "u1").await.expect("traced");
    let Trace::Finished(found) = trace else { panic!("{trace:?}") };
    assert!(found.text == words, "{} bytes of {}", found.text.len(), words.len());
}

/// A transcript is what its agent makes of it.
pub async fn a_transcript_that_is_none_is_not_read(ground: &Ground) {
    let Ground { look, desk, home, beside, .. } = ground;
    let session: SessionId = SESSION.parse().expect("an id");
    let secret = beside.join("secret");
    std::fs::write(&secret, format!("{PROMPT}\n{ANSWER}\n")).expect("a secret");
    let file = transcript_path(&home.join(".claude"), &desk.dir, &session);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    symlink(&secret, &file).expect("a link");
    (ground.settle)();
    assert!(!look.has_session(desk, &session).await.expect("a link"));
    is!(foreign(look.trace(desk, &session, "u1").await), ForeignError::Link(_));
    std::fs::remove_file(&file).expect("removed");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    (ground.settle)();
    assert!(!look.has_session(desk, &session).await.expect("a pipe"));
    is!(foreign(look.trace(desk, &session, "u1").await), ForeignError::NotAFile(_));
}

/// By what they are, not by how they are called.
pub async fn directories_are_told_apart(ground: &Ground) {
    let Ground { look, desk, .. } = ground;
    let at = |below: &str| desk.with_dir(desk.dir.join(below));
    ground.lay("in/side/file", "text");
    symlink("in", desk.dir.join("link")).expect("a link");
    (ground.settle)();
    assert_eq!(look.real_dir(&at("in")).await.expect("a name"), at("in").dir);
    assert_eq!(look.real_dir(&at("link/side")).await.expect("a name"), at("in/side").dir);
    is!(foreign(look.real_dir(&at("gone")).await), ForeignError::Missing(_));
    is!(foreign(look.real_dir(&at("in/side/file")).await), ForeignError::NotAFolder(_));
    look.check_dir(&at("in")).await.expect("it may be given");
    is!(bad_dir(look.check_dir(&at("gone")).await), BadDir::Missing(_));
    is!(bad_dir(look.check_dir(&at("link")).await), BadDir::Linked(_));
    is!(bad_dir(look.check_dir(&at("in/side/file")).await), BadDir::Missing(_));
    let others: Vec<PathBuf> =
        ["link", "in/side", "", "beside"].iter().map(|it| desk.dir.join(it)).collect();
    let lies = look.overlaps(&at("in"), &others).await.expect("compared");
    assert_eq!(lies, [Overlap::Same, Overlap::Around, Overlap::Inside, Overlap::Apart]);
    assert_eq!(look.overlaps(&at("in"), &[]).await.expect("nothing"), []);
}

/// By way of links that stay below the directory, and no others.
pub async fn a_file_is_found_below_the_directory_only(ground: &Ground) {
    let Ground { desk, beside, .. } = ground;
    std::fs::write(beside.join("secret"), "hush").expect("a secret");
    ground.lay("a/plan.md", "plan");
    symlink("a/plan.md", desk.dir.join("near")).expect("a link");
    symlink(beside.join("secret"), desk.dir.join("far")).expect("a link");
    (ground.settle)();
    let plan = (PathBuf::from("a/plan.md"), 4);
    assert_eq!(ground.find("a/plan.md").await.expect("found"), plan);
    assert_eq!(ground.find(desk.dir.join("a/plan.md")).await.expect("found"), plan);
    assert_eq!(ground.find("near").await.expect("found"), plan);
    is!(foreign(ground.find("gone").await), ForeignError::Missing(_));
    is!(foreign(ground.find("a").await), ForeignError::NotAFile(_));
    is!(foreign(ground.find("far").await), ForeignError::Outside(_) | ForeignError::Missing(_));
    is!(foreign(ground.find("/etc/passwd").await), ForeignError::Outside(_));
    is!(foreign(ground.find("../..").await), ForeignError::Outside(_) | ForeignError::Missing(_));
}

/// As many bytes as were asked for, of a plain file, by way of no link.
pub async fn a_file_is_fetched_whole_or_not_at_all(ground: &Ground) {
    let Ground { desk, beside, .. } = ground;
    let long: Vec<u8> = (0..LONG).map(|it| (it % 251) as u8).collect();
    ground.lay("long", &long);
    ground.lay("empty", "");
    std::fs::write(beside.join("secret"), "hush").expect("a secret");
    symlink(beside.join("secret"), desk.dir.join("link")).expect("a link");
    symlink(beside, desk.dir.join("out")).expect("a link");
    nix::unistd::mkfifo(&desk.dir.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let sparse = std::fs::File::create(desk.dir.join("sparse")).expect("a file");
    sparse.set_len(1 << 40).expect("a terabyte");
    (ground.settle)();
    assert!(ground.get("long", LONG as u64).await.expect("fetched") == long);
    assert_eq!(ground.get("empty", 10).await.expect("fetched"), b"");
    let asked = LONG as u64 - 1;
    is!(foreign(ground.get("long", asked).await), ForeignError::TooLarge { bytes_max, .. } if bytes_max == asked);
    is!(foreign(ground.get("sparse", 1 << 20).await), ForeignError::TooLarge { .. });
    is!(foreign(ground.get("link", 100).await), ForeignError::Link(_));
    is!(foreign(ground.get("out/secret", 100).await), ForeignError::Link(_));
    is!(foreign(ground.get("pipe", 100).await), ForeignError::NotAFile(_));
    is!(foreign(ground.get("gone", 100).await), ForeignError::Missing(_));
    is!(foreign(ground.get("../secret", 100).await), ForeignError::Outside(_));
    is!(foreign(ground.get("", 100).await), ForeignError::NotAFile(_));
}

/// What is brought lies in a folder of the thread's own, under its name.
pub async fn a_file_is_brought_whole(ground: &Ground) {
    let Ground { look, desk, .. } = ground;
    let own = look.own_folder(&desk.place, &desk.thread).await.expect("a folder");
    assert!(own.is_dir(), "{}", own.display());
    // On this machine a file that came for the thread lies in that folder already.
    for (name, bytes) in
        [("plan.md", vec![7; LONG]), ("plan.md", b"new".to_vec()), ("none", vec![])]
    {
        std::fs::write(ground.beside.join(name), &bytes).expect("a file");
        let put = look.put(desk, &ground.beside, Path::new(name)).await.expect("brought");
        assert_eq!(put.file_name().expect("a name"), name);
        assert!(std::fs::read(&put).expect("it is there") == bytes, "{}", put.display());
    }
    let gone = look.put(desk, &ground.beside, Path::new("gone")).await;
    is!(gone.map(|it| it.exists()), Ok(false) | Err(LookError::Foreign(ForeignError::Missing(_))));
}

/// In words for a person, or not at all.
pub async fn what_the_leash_cannot_promise_is_told(ground: &Ground) {
    let told = ground.look.unconfined(&ground.desk.place).await.expect("told");
    assert!(told.is_none_or(|it| !it.is_empty()));
}
