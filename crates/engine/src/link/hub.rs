//! The hub: one a connection, between an office and the holds of its runs on this machine.
//!
//! It keeps nothing that matters. A hub that dies takes no run with it, and the next one finds all of them by their
//! folders. It passes on what concerns a run, starts holds, and tells from the spool what became of a run whose hold is
//! gone. A frame that it does not understand ends the connection.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tinyclaw_devbox::Asked;
use tinyclaw_domain::frame::{
    BODY_BYTES_MAX, Call, LINK_VERSION, Refusal, RunExit, RunId, RunLine, RunOrder, RunToken,
    StartRun, Told, encode,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::account::Account;
use super::answers::Answers;
use super::asking;
use super::clean::clean;
use super::connection;
use super::frames::{self, Incoming, Writer};
use super::hold::{Answer, Directories, Job};
use super::pin::Pin;
use super::runs::{RunDir, Runs};
use super::spool;
use super::ssh::Wish;
use crate::arguments;
use crate::config::Landlock;
use crate::leash;
use crate::local::LocalLauncher;

/// How long the office has for its first word.
const HELLO: Duration = Duration::from_secs(10);
/// Without a word for this long the connection is over.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a hold may take to begin: it may have to end another run first.
const BEGIN: Duration = Duration::from_secs(30);
/// How long a run that lives may not listen, because its hold begins or ends.
const UNHEARD: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// So many runs fit into a frame, with room to spare.
const RUNS_A_FRAME: usize = 500;
/// Frames on their way to the office; more, and holds wait.
const FRAMES_AHEAD: usize = 64;

/// What the hub is told on its command line.
#[derive(Debug)]
enum Options {
    /// The office's own, on its machine.
    Office {
        state: PathBuf,
        /// `None`: whoever connects says it first.
        claude: Option<Claude>,
        directories: Directories,
    },
    /// Of whoever is logged in on a machine of its own, where offices meet. `Some`: for a key that may do no more.
    Account(Option<Pin>),
    /// Of the one user of a container, which is one office's.
    Container,
}

/// What runs are started as.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claude {
    pub(super) program: PathBuf,
    pub(super) landlock: Landlock,
    /// It is another program, with arguments of its own. Only who has the hub started can say so.
    #[serde(default)]
    pub(super) is_errand: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = OsString>) -> Result<Options, String> {
        let mut args = args.peekable();
        if args.peek().is_none() {
            return Ok(Options::Account(None));
        }
        if args.next_if(|it| it == "--container").is_some() && args.peek().is_none() {
            return Ok(Options::Container);
        }
        if args.next_if(|it| it == "--pinned").is_some() {
            let pin =
                Pin::parse(args).ok_or_else(|| format!("usage: tinyclaw-leash {}", Pin::USAGE))?;
            return Ok(Options::Account(Some(pin)));
        }
        let usage = "usage: tinyclaw-leash hub [--state DIR (--told | --program FILE [--landlock auto|on|off]) [--directories alone|shared]]";
        let (mut state, mut program, mut landlock) = (None, None, Landlock::Auto);
        let (mut is_told, mut directories) = (false, Directories::Alone);
        while let Some(flag) = args.next() {
            if flag == "--told" {
                is_told = true;
                continue;
            }
            let bad = || format!("bad argument {flag:?}; {usage}");
            let value = args.next().ok_or_else(bad)?;
            match flag.to_str() {
                Some("--state") => state = Some(PathBuf::from(value)),
                Some("--program") => program = Some(PathBuf::from(value)),
                Some("--landlock") => {
                    landlock = value.to_str().and_then(|it| it.parse().ok()).ok_or_else(bad)?;
                }
                Some("--directories") => {
                    directories = match value.to_str() {
                        Some("alone") => Directories::Alone,
                        Some("shared") => Directories::Shared,
                        _ => return Err(bad()),
                    };
                }
                _ => return Err(bad()),
            }
        }
        let claude = program.map(|program| Claude { program, landlock, is_errand: false });
        match state {
            Some(state) if is_told == claude.is_none() => {
                Ok(Options::Office { state, claude, directories })
            }
            _ => Err(usage.to_owned()),
        }
    }
}

/// The hub's `main`.
pub(super) fn run(args: impl Iterator<Item = OsString>) -> i32 {
    let options = match Options::parse(args) {
        Ok(it) => it,
        Err(why) => return leash::complain(2, &io::Error::other(why)),
    };
    // What is said here holds tokens and prompts.
    let _ = nix::sys::prctl::set_dumpable(false);
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(options)));
    match served {
        Ok(()) => 0,
        Err(err) => leash::complain(1, &err),
    }
}

async fn serve(options: Options) -> io::Result<()> {
    let mut stdout = frames::stdout()?;
    if matches!(options, Options::Account(_) | Options::Container) {
        // Whoever brought us here is told that no more has to be brought.
        stdout.write_all(&Asked::here()).await?;
        stdout.flush().await?;
        // A shell that is asked for its environment must not meet the terminal of whoever started us.
        let _ = nix::unistd::setsid();
    }
    let mut incoming = Incoming::new(frames::stdin()?);
    let nobody = || io::Error::other("nobody said what to run");
    let mut pinned = None;
    let (state, claude, directories, account) = match options {
        Options::Office { state, claude: Some(claude), directories } => {
            (state, claude, directories, None)
        }
        Options::Office { state, claude: None, directories } => {
            let said = timeout(HELLO, incoming.next::<Claude>()).await;
            let Ok(Ok(Some((claude, _)))) = said else { return Err(nobody()) };
            (state, claude, directories, None)
        }
        Options::Account(_) | Options::Container => {
            // In a container, as on the office's machine, the office says who shares a directory.
            let (pin, directories) = match options {
                Options::Account(pin) => (pin, Directories::Alone),
                _ => (None, Directories::Shared),
            };
            let said = timeout(HELLO, incoming.next::<Wish>()).await;
            let Ok(Ok(Some((wish, _)))) = said else { return Err(nobody()) };
            let Wish { claude, landlock } = match &pin {
                Some(_) => Wish { claude: None, landlock: Landlock::Auto },
                None => wish,
            };
            pinned = pin.map(Arc::new);
            let account = Arc::new(Account::of_this_process(claude)?);
            // Which program that is, is looked for when one is to start.
            let claude = Claude { program: PathBuf::from("claude"), landlock, is_errand: false };
            (account.state(), claude, directories, Some(account))
        }
    };
    let hello = timeout(HELLO, incoming.next::<Call>()).await;
    let Ok(Ok(Some((Call::Hello { v, nonce, office }, _)))) = hello else {
        return Err(io::Error::other("nobody said hello"));
    };
    let is_name =
        |it: &str| (1..=64).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric());
    if v != LINK_VERSION || !is_name(&nonce) || !is_name(&office) {
        return Err(io::Error::other("the office speaks another version"));
    }
    let runs = Runs::open(&state)?;
    let hello = serde_json::json!({
        "tinyclaw": LINK_VERSION,
        "nonce": nonce,
        "version": env!("CARGO_PKG_VERSION"),
        "platform": format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        "pid": std::process::id(),
    });
    stdout.write_all(format!("\x1e{hello}\n").as_bytes()).await?;
    stdout.flush().await?;
    clean(&runs, account.as_ref().map(|_| state.as_path()), SystemTime::now());
    let (out, frames) = mpsc::channel(FRAMES_AHEAD);
    let writer = tokio::spawn(write(stdout, frames));
    let (pumps, forgetting) = (HashMap::new(), JoinSet::new());
    // Nothing is started through it: holds start Claude.
    let looks =
        LocalLauncher::new(claude.program.clone(), PathBuf::new(), state.clone(), claude.landlock);
    let looks = match &account {
        Some(account) => looks.with_home(account.home().to_owned()),
        None => looks,
    };
    let answers = Answers::new(looks, account.clone(), pinned.clone(), out.clone());
    let mut hub = Hub {
        state,
        claude,
        directories,
        account,
        pinned,
        runs,
        office,
        out,
        pumps,
        forgetting,
        answers,
    };
    let served = hub.listen(incoming).await;
    if let Err(err) = &served {
        let _ = hub.out.send(encode(&Told::Bad { why: err.to_string() }, b"")).await;
    }
    let Hub { pumps, mut forgetting, out, answers, .. } = hub;
    drop((pumps, out, answers));
    let _ = timeout(UNHEARD, async { while forgetting.join_next().await.is_some() {} }).await;
    // What is on its way is still said, as long as somebody takes it.
    let _ = timeout(HELLO, writer).await;
    served
}

async fn write(mut to: Writer, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

struct Hub {
    state: PathBuf,
    claude: Claude,
    directories: Directories,
    account: Option<Arc<Account>>,
    /// What the key is pinned to that this connection came by.
    pinned: Option<Arc<Pin>>,
    runs: Runs,
    office: String,
    out: mpsc::Sender<Vec<u8>>,
    /// Whoever listens to a run, and the way to its hold.
    pumps: HashMap<RunId, mpsc::UnboundedSender<Vec<u8>>>,
    /// Runs whose holds are about to leave, and are forgotten then.
    forgetting: JoinSet<()>,
    answers: Answers,
}

impl Hub {
    async fn listen(&mut self, mut incoming: Incoming<frames::Reader>) -> io::Result<()> {
        loop {
            let Ok(frame) = timeout(SILENCE, incoming.next::<Call>()).await else { return Ok(()) };
            let Some((call, body)) = frame? else { return Ok(()) };
            match &call {
                Call::Hello { .. } => return Err(io::Error::other("hello was said")),
                Call::Ping {} => {
                    let ping = encode(&call, b"");
                    self.pumps.retain(|_, to| to.send(ping.clone()).is_ok());
                    self.tell(&Told::Pong {}, b"").await;
                }
                Call::Start { run, token } => self.start(run.clone(), token.clone(), &body),
                Call::Attach { run, token, offset } => {
                    let (to, from) = mpsc::unbounded_channel();
                    self.pumps.insert(run.clone(), to);
                    let pump = Pump {
                        runs: self.runs.clone(),
                        run: run.clone(),
                        token: token.clone(),
                        sent: *offset,
                        was_adopted: false,
                        out: self.out.clone(),
                    };
                    tokio::spawn(pump.run(from));
                }
                Call::In { run, .. }
                | Call::Note { run }
                | Call::Seen { run, .. }
                | Call::Answer { run, .. }
                | Call::Order { run, .. } => {
                    let pump = self.pumps.get(run);
                    if pump.is_none_or(|it| it.send(encode(&call, &body)).is_err()) {
                        self.pumps.remove(run);
                        let why = Refusal::NotYours {};
                        self.tell(&Told::Refused { run: run.clone(), why }, b"").await;
                    }
                }
                Call::Runs {} => {
                    let all = self.runs.all()?.into_iter();
                    let lines: Vec<RunLine> = all
                        .map(|run| RunLine { lives: self.runs.dir(&run).lives(), run })
                        .collect();
                    let mut lists = lines.chunks(RUNS_A_FRAME).peekable();
                    loop {
                        let list = lists.next().unwrap_or_default();
                        let more = lists.peek().is_some();
                        let body = serde_json::to_vec(list).unwrap_or_default();
                        self.tell(&Told::Runs { more }, &body).await;
                        if !more {
                            break;
                        }
                    }
                }
                Call::Look { ask, more } => self.answers.take(*ask, *more, &body).await?,
                Call::Forget { run, token } => {
                    while self.forgetting.try_join_next().is_some() {}
                    let (runs, out) = (self.runs.clone(), self.out.clone());
                    let (run, token) = (run.clone(), token.clone());
                    self.forgetting.spawn(async move {
                        let told = if forget(&runs, &run, &token).await {
                            Told::Forgotten { run }
                        } else {
                            let why = "what it left is not removed".to_owned();
                            Told::Refused { run, why: Refusal::Step { why } }
                        };
                        let _ = out.send(encode(&told, b"")).await;
                    });
                }
            }
        }
    }

    async fn tell(&self, told: &Told, body: &[u8]) {
        // Nobody takes it: the next read says that the connection is over.
        let _ = self.out.send(encode(told, body)).await;
    }

    fn start(&self, run: RunId, token: RunToken, body: &[u8]) {
        let job = serde_json::from_slice::<StartRun>(body).map(|start| Job {
            state: self.state.clone(),
            program: self.claude.program.clone(),
            landlock: self.claude.landlock,
            office: self.office.clone(),
            directories: self.directories,
            run: run.clone(),
            token: token.clone(),
            start,
        });
        let (runs, out, is_errand) = (self.runs.clone(), self.out.clone(), self.claude.is_errand);
        let (account, pinned) = (self.account.clone(), self.pinned.clone());
        tokio::spawn(async move {
            let begun = match job {
                Ok(mut job) => {
                    match settle(&runs, account.as_deref(), pinned.as_deref(), &mut job).await {
                        Ok(()) => begin(&runs, job, is_errand).await,
                        Err(why) => Err(why),
                    }
                }
                Err(err) => Err(Refusal::Step { why: format!("cannot read what to start: {err}") }),
            };
            let told = match begun {
                Ok(()) => Told::Started { run },
                Err(why) => Told::Refused { run, why },
            };
            let _ = out.send(encode(&told, b"")).await;
        });
    }
}

/// Ends a run if it lives, and removes what it has left, once its hold is gone. Whether nothing of it is there any more.
async fn forget(runs: &Runs, run: &RunId, token: &RunToken) -> bool {
    let begun = Instant::now();
    let mut is_told = false;
    while let Some(dir) = runs.find(run, token) {
        if !dir.lives() {
            return dir.remove().is_ok();
        }
        // One that has told its end is on its way out.
        if !is_told && dir.exit().is_none() {
            is_told = end(&dir, run, token).await.is_ok();
        }
        if begun.elapsed() > UNHEARD {
            return false;
        }
        sleep(POLL).await;
    }
    !runs.has(run)
}

/// Tells a hold to end its run, whatever of its output is there.
async fn end(dir: &RunDir, run: &RunId, token: &RunToken) -> io::Result<()> {
    let (kept, _) = spool::extent(dir.path())?;
    let (of, token) = (run.clone(), token.clone());
    let attach = encode(&Call::Attach { run: of, token, offset: kept }, b"");
    let order = encode(&Call::Order { run: run.clone(), order: RunOrder::End }, b"");
    let mut stream = connection::connect(dir).await?;
    stream.write_all(&[attach, order].concat()).await?;
    // It hears as long as somebody listens, and its last word is the end.
    let mut nobody = tokio::io::sink();
    let told = tokio::io::copy(&mut stream, &mut nobody);
    timeout(UNHEARD, told).await?.map(drop)
}

/// Makes a job one of the account that it is to run in.
async fn settle(
    runs: &Runs,
    account: Option<&Account>,
    pinned: Option<&Pin>,
    job: &mut Job,
) -> Result<(), Refusal> {
    if let Some(pin) = pinned {
        pin.settle(&mut job.start, &job.state)?;
    }
    if let Some(account) = account {
        job.program = account.settle(&mut job.start).await?;
    }
    asking::offer(&mut job.start, runs.dir(&job.run).path());
    Ok(())
}

/// Starts the hold of a run, unless it was started before: the answer may have been lost with the connection.
async fn begin(runs: &Runs, job: Job, is_errand: bool) -> Result<(), Refusal> {
    if runs.has(&job.run) {
        return match runs.find(&job.run, &job.token) {
            Some(_) => Ok(()),
            None => Err(Refusal::NotYours {}),
        };
    }
    if !is_errand && let Some(flag) = arguments::not_ours(&job.start.args) {
        return Err(Refusal::Arguments { flag: flag.chars().take(80).collect() });
    }
    let failed = |err: &dyn std::fmt::Display| Refusal::Step {
        why: format!("cannot start the hold: {err}"),
    };
    #[expect(clippy::disallowed_methods, reason = "a hub starts holds")]
    let mut hold = Command::new("/proc/self/exe")
        .arg("hold")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(false)
        .spawn()
        .map_err(|err| failed(&err))?;
    let bytes = serde_json::to_vec(&job).map_err(|err| failed(&err))?;
    if let Some(mut stdin) = hold.stdin.take() {
        stdin.write_all(&bytes).await.map_err(|err| failed(&err))?;
    }
    let mut line = String::new();
    let stdout = hold.stdout.take().map(|it| BufReader::new(it.take(BODY_BYTES_MAX as u64)));
    // Reaped as long as this hub is there, and by whoever inherits it later.
    tokio::spawn(async move { hold.wait().await });
    let Some(mut stdout) = stdout else { return Err(failed(&"no answer")) };
    let answered = timeout(BEGIN, stdout.read_line(&mut line)).await;
    match answered.ok().and_then(Result::ok).and_then(|_| serde_json::from_str(&line).ok()) {
        Some(Answer { refused: None }) => Ok(()),
        Some(Answer { refused: Some(why) }) => Err(why),
        None => Err(failed(&"no answer")),
    }
}

/// One run on its way to the office.
struct Pump {
    runs: Runs,
    run: RunId,
    token: RunToken,
    sent: u64,
    /// The office heard that once.
    was_adopted: bool,
    out: mpsc::Sender<Vec<u8>>,
}

impl Pump {
    async fn run(mut self, mut from_office: mpsc::UnboundedReceiver<Vec<u8>>) {
        let mut unheard = Duration::ZERO;
        loop {
            let Some(dir) = self.runs.find(&self.run, &self.token) else {
                return self.refuse(Refusal::NotYours {}).await;
            };
            // Once it was heard, the office has to attach again: what was on its way to the hold may be lost.
            if !self.was_adopted
                && let Ok(stream) = connection::connect(&dir).await
                && self.pass(stream, &mut from_office).await
            {
                return;
            }
            if !dir.lives() {
                return self.tell_from_folder(&dir).await;
            }
            // It begins or ends at this moment.
            if unheard > UNHEARD {
                let why = "its hold does not answer".to_owned();
                return self.refuse(Refusal::Step { why }).await;
            }
            sleep(POLL).await;
            unheard += POLL;
        }
    }

    /// Both directions, until the run is over (`true`) or the hold is gone.
    async fn pass(
        &mut self,
        stream: tokio::net::UnixStream,
        from_office: &mut mpsc::UnboundedReceiver<Vec<u8>>,
    ) -> bool {
        let (from, mut to) = stream.into_split();
        let mut incoming = Incoming::new(from);
        let (run, token) = (self.run.clone(), self.token.clone());
        let attach = encode(&Call::Attach { run, token, offset: self.sent }, b"");
        if to.write_all(&attach).await.is_err() {
            return false;
        }
        let mut hears = true;
        loop {
            tokio::select! {
                told = incoming.next::<Told>() => {
                    let Ok(Some((told, body))) = told else { return false };
                    match &told {
                        Told::Out { at, .. } => self.sent = at + body.len() as u64,
                        Told::Adopted { .. } => self.was_adopted = true,
                        _ => {}
                    }
                    let is_over = matches!(told, Told::Exit { .. } | Told::Refused { .. } | Told::Bad { .. });
                    if self.out.send(encode(&told, &body)).await.is_err() || is_over {
                        return true;
                    }
                }
                call = from_office.recv(), if hears => match call {
                    // Why it hears no more is the last that it says.
                    Some(call) => hears = to.write_all(&call).await.is_ok(),
                    // The office listens by another pump, or not at all.
                    None => return true,
                },
            }
        }
    }

    /// A run whose hold is gone: what it left, and how it ended.
    async fn tell_from_folder(&mut self, dir: &RunDir) {
        let told = self.read_folder(dir).await;
        if let Err(err) = told {
            let why = format!("cannot read what the run left: {err}");
            self.refuse(Refusal::Step { why }).await;
        }
    }

    async fn read_folder(&mut self, dir: &RunDir) -> io::Result<()> {
        let (kept, there) = spool::extent(dir.path())?;
        // Killed: nobody knows how it ended, and what is there is all there is.
        let ended = dir.exit();
        let unknown = RunExit { code: None, signal: None, size: there, taken: 0 };
        let (exit, torn) = (ended.unwrap_or(unknown), ended.is_none());
        if !(kept..=there).contains(&self.sent) {
            return Err(io::Error::other(connection::not_there(self.sent)));
        }
        let run = || self.run.clone();
        let mut frames = Vec::new();
        if !self.was_adopted {
            let adopted =
                Told::Adopted { run: run(), at: there, kept, seq: 0, taken: exit.taken, torn };
            frames.push(encode(&adopted, &dir.note()));
        }
        let err = dir.err();
        if !err.is_empty() {
            frames.push(encode(&Told::Err { run: run() }, &err[..err.len().min(BODY_BYTES_MAX)]));
        }
        for frame in frames {
            self.out.send(frame).await.map_err(io::Error::other)?;
        }
        let mut chunk = vec![0; BODY_BYTES_MAX];
        while self.sent < there {
            let read = spool::read(dir.path(), self.sent, &mut chunk)?;
            if read == 0 {
                return Err(io::Error::other(connection::not_there(self.sent)));
            }
            let out = Told::Out { run: self.run.clone(), at: self.sent };
            self.out.send(encode(&out, &chunk[..read])).await.map_err(io::Error::other)?;
            self.sent += read as u64;
        }
        let exit = Told::Exit { run: self.run.clone(), exit };
        self.out.send(encode(&exit, b"")).await.map_err(io::Error::other)
    }

    async fn refuse(&self, why: Refusal) {
        let told = Told::Refused { run: self.run.clone(), why };
        let _ = self.out.send(encode(&told, b"")).await;
    }
}
