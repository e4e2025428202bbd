//! What a git below Claude may ask of the office: a token for one repository, and nothing else.
//!
//! The helper is git's credential helper there, by its word `git-credential`. It asks the hold over a socket of its own in the
//! run's folder, the hold passes that on as a frame, and the office says what git reads, or nothing. No token is kept on that
//! machine. Whoever is the same user there can ask as well: an office that gives a token gives it to all that this user runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use tinyclaw_domain::frame::{BODY_BYTES_MAX, Call, RunId, StartRun, encode};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::ssh::GitAnswer;

/// The name of the socket in the run's folder.
pub(super) const SOCKET: &str = "git";
/// Names the run's folder to the helper that git starts.
const FOLDER: &str = "TINYCLAW_RUN";
/// What git says and hears is a few lines.
pub(super) const BYTES_MAX: u64 = 4096;
/// How long git may take to say what it wants.
pub(super) const SAY: Duration = Duration::from_secs(5);
/// The office asks its broker, and that one GitHub; an office that is out of reach for a moment comes back.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// So many questions wait at once in a run. Whoever asks more gets nothing.
const OPEN_MAX: usize = 4;
/// So many of all runs at a place are dealt with at once in the office.
const ANSWERS_MAX: usize = 4;

/// Who answers in the office for one place.
pub(crate) trait Answering: fmt::Debug + Send + Sync + 'static {
    /// For what a run that starts now may ask: `github.com/acme/site`. `None`: for nothing.
    fn repository(&self) -> Option<String>;

    /// What git gets to read. It is asked by what a stranger wrote. Empty: nothing.
    fn git<'a>(&'a self, asked: &'a [u8]) -> GitAnswer<'a>;
}

/// Answers git at one place.
pub(super) struct AnswersGit {
    answering: Arc<dyn Answering>,
    /// Whoever asks without end gets no answer.
    room: Arc<Semaphore>,
}

impl AnswersGit {
    pub(super) fn new(answering: Arc<dyn Answering>) -> AnswersGit {
        AnswersGit { answering, room: Arc::new(Semaphore::new(ANSWERS_MAX)) }
    }

    /// Answers a question over the connection that it came by. When that is lost meanwhile nothing is said: it is asked again
    /// over the next one.
    pub(super) fn reply(
        &self,
        run: RunId,
        ask: u64,
        asked: Vec<u8>,
        frames: mpsc::UnboundedSender<Vec<u8>>,
    ) {
        let Ok(one) = self.room.clone().try_acquire_owned() else { return };
        let answering = self.answering.clone();
        tokio::spawn(async move {
            let said = answering.git(&asked).await;
            let said = &said[..said.len().min(BODY_BYTES_MAX)];
            let _ = frames.send(encode(&Call::Answer { run, ask }, said));
            drop(one);
        });
    }
}

/// Questions of a run that the office has not answered.
#[derive(Default)]
pub(super) struct Asking {
    next: u64,
    open: BTreeMap<u64, Question>,
}

struct Question {
    asked: Vec<u8>,
    /// Which connection was told of it; none is 0.
    told: u64,
    reply: oneshot::Sender<Vec<u8>>,
}

impl Asking {
    /// Asks the office. `None`: too many questions wait.
    pub(super) fn ask(&mut self, asked: Vec<u8>) -> Option<(u64, oneshot::Receiver<Vec<u8>>)> {
        if self.open.len() >= OPEN_MAX {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.next += 1;
        self.open.insert(self.next, Question { asked, told: 0, reply });
        Some((self.next, answer))
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget(&mut self, ask: u64) {
        self.open.remove(&ask);
    }

    /// What the office says to a question. To one that nobody waits for any more it says nothing.
    pub(super) fn answer(&mut self, ask: u64, said: Vec<u8>) {
        if let Some(question) = self.open.remove(&ask) {
            let _ = question.reply.send(said);
        }
    }

    /// What this connection was not told of. From now on it was.
    pub(super) fn untold(&mut self, connection: u64) -> Vec<(u64, Vec<u8>)> {
        let untold = self.open.iter_mut().filter(|(_, it)| it.told != connection);
        untold
            .map(|(ask, it)| {
                it.told = connection;
                (*ask, it.asked.clone())
            })
            .collect()
    }
}

/// Tells the git of a run whom to ask, for the one repository that the office named. It goes by address, so that a person's
/// own helpers are asked for everything else, and are never given our tokens to keep.
pub(super) fn offer(start: &mut StartRun, folder: &Path) {
    let Some(repository) = start.git.as_deref().filter(|it| is_repository(it)) else { return };
    let Ok(helper) = std::env::current_exe() else { return };
    let Some(program) = helper.to_str().filter(|it| !it.contains(['\'', '\\', '\n'])) else {
        return;
    };
    let known = start.env.get("GIT_CONFIG_COUNT").and_then(|it| it.parse().ok());
    let mut count: usize = known.unwrap_or(0);
    for of in [repository.to_owned(), format!("{repository}.git")] {
        for (name, value) in [
            // Nobody else's helper for this one.
            ("helper", String::new()),
            ("helper", format!("!'{program}' {WORD}")),
            ("useHttpPath", "true".to_owned()),
        ] {
            let key = format!("credential.https://{of}.{name}");
            start.env.insert(format!("GIT_CONFIG_KEY_{count}"), key);
            start.env.insert(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
    }
    start.env.insert("GIT_CONFIG_COUNT".to_owned(), count.to_string());
    start.env.insert(FOLDER.to_owned(), folder.display().to_string());
    // Its folder is hidden, and git has to start it.
    start.readable.push(helper);
}

/// `HOST/OWNER/NAME`, or below a folder of that host.
fn is_repository(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let is_plain = |it: &&str| {
        !it.is_empty()
            && !it.starts_with(['.', '-'])
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-:".contains(&it))
    };
    text.len() <= 256 && parts.len() >= 3 && parts.iter().all(is_plain)
}

/// The helper's word for git.
pub(super) const WORD: &str = "git-credential";

/// `git-credential get`: what git wants is asked, and what is said is what git reads. Where nobody says anything git goes on
/// as without a helper.
pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> i32 {
    let action = args.next();
    let action = action.as_ref().and_then(|it| it.to_str()).unwrap_or_default();
    // What git would have kept is not kept.
    if !matches!(action, "get" | "erase") {
        return 0;
    }
    match ask(action) {
        Ok(said) => match io::stdout().write_all(&said).and_then(|()| io::stdout().flush()) {
            Ok(()) => 0,
            Err(_) => 1,
        },
        Err(err) => {
            let _ = writeln!(io::stderr(), "tinyclaw: the office was not asked for a token: {err}");
            1
        }
    }
}

fn ask(action: &str) -> io::Result<Vec<u8>> {
    let mut asked = format!("{action}\n").into_bytes();
    io::stdin().take(BYTES_MAX - asked.len() as u64).read_to_end(&mut asked)?;
    let folder = std::env::var_os(FOLDER).ok_or_else(|| io::Error::other("no run of it here"))?;
    // Only its name: what lies in there is nobody's to read from here.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let folder =
        std::fs::File::options().read(true).custom_flags(flags.bits()).open(Path::new(&folder))?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE + SAY))?;
    stream.write_all(&asked)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut said = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut said)?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repository_gets_a_helper_and_others_keep_their_own() {
        let start = |git: &str| StartRun {
            thread: tinyclaw_domain::ThreadId::topic(7),
            dir: "/srv/api".into(),
            args: Vec::new(),
            env: [
                ("GIT_CONFIG_COUNT".to_owned(), "1".to_owned()),
                ("GIT_CONFIG_KEY_0".to_owned(), "user.name".to_owned()),
            ]
            .into(),
            writable: Vec::new(),
            readable: Vec::new(),
            git: Some(git.to_owned()),
            take_over: false,
            lease_s: 1,
            end_s: 1,
        };
        for bad in
            ["", "github.com", "github.com/acme", "a b/c/d", "h/../x", "h/a/x.helper\ncore.y"]
        {
            let mut start = start(bad);
            offer(&mut start, Path::new("/runs/r"));
            assert_eq!(start.env.len(), 2, "{bad}");
        }
        let mut start = start("github.com/acme/site");
        offer(&mut start, Path::new("/runs/r"));
        assert_eq!(start.env["GIT_CONFIG_COUNT"], "7");
        assert_eq!(start.env["GIT_CONFIG_KEY_0"], "user.name");
        assert_eq!(start.env["GIT_CONFIG_KEY_1"], "credential.https://github.com/acme/site.helper");
        assert_eq!(start.env["GIT_CONFIG_VALUE_1"], "");
        assert!(start.env["GIT_CONFIG_VALUE_2"].ends_with("' git-credential"));
        assert_eq!(
            start.env["GIT_CONFIG_KEY_6"],
            "credential.https://github.com/acme/site.git.useHttpPath"
        );
        assert_eq!(start.readable.len(), 1, "git has to start it");
    }

    #[test]
    fn a_question_is_told_once_a_connection_and_answered_once() {
        let mut asking = Asking::default();
        let (first, mut answer) = asking.ask(b"get\n".to_vec()).unwrap();
        assert_eq!(asking.untold(1), [(first, b"get\n".to_vec())]);
        assert_eq!(asking.untold(1), []);
        assert_eq!(asking.untold(2).len(), 1, "after a cut it is asked again");
        asking.answer(first, b"one".to_vec());
        asking.answer(first, b"two".to_vec());
        assert_eq!(answer.try_recv().unwrap(), b"one");
        for _ in 0..OPEN_MAX {
            assert!(asking.ask(Vec::new()).is_some());
        }
        assert!(asking.ask(Vec::new()).is_none(), "nobody asks without end");
    }
}
