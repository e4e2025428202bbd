//! The hold of one run: owner of a leash and of what its Claude writes, whoever listens or does not.
//!
//! It is started by a hub and outlives it. Claude's output goes to the spool first and from there to the one connection
//! that listens; inputs are numbered and applied once, so that an office whose connection was cut sends again what it is
//! not sure of. Who cannot show the run's token is not heard: Claude is the same user here and finds the socket.
//!
//! Nobody has to be there. As long as pings come the run goes on; when none came for the lease's time, Claude's stdin is
//! closed, so that the turn ends by itself and its result waits in the spool, and a while later everything is ended.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tinyclaw_disk::{Lock, NOTE_BYTES_MAX, foreign};
use tinyclaw_domain::Place;
use tinyclaw_domain::frame::{Refusal, RunExit, RunId, RunToken, StartRun};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::asking;
use super::connection::{self, accept, listen};
use super::running::{
    DISK_RETRY, Input, Shared, count_lease, give_input, hear_signals, is_full, keep_errors,
    keep_output,
};
use super::runs::{RunDir, Runs};
use crate::config::Landlock;
use crate::launch::{Access, Exit, LaunchError, LaunchSpec, Launcher, LeashOrder, Leashed};
use crate::leash::{self, descendants, folders};
use crate::local::LocalLauncher;

/// The longest order of a hub.
const JOB_BYTES_MAX: u64 = 1024 * 1024;
/// How long the last words wait for whoever listens.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a run of the same office in the same directory has to end.
const LEAVE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);

/// What a hub tells a hold, on its stdin.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    /// The state folder of this user or office.
    pub(super) state: PathBuf,
    /// Claude.
    pub(super) program: PathBuf,
    pub(super) landlock: Landlock,
    pub(super) office: String,
    pub(super) directories: Directories,
    pub(super) run: RunId,
    pub(super) token: RunToken,
    pub(super) start: StartRun,
}

/// How many runs may work in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Directories {
    /// One, and no other office's: the machine is one that offices share.
    Alone,
    /// As many as the office wants: it decides which of its threads work where.
    Shared,
}

/// What a hold answers, on its stdout, in one line.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) refused: Option<Refusal>,
}

/// The hold's `main`.
pub(super) fn run() -> i32 {
    let mut bytes = Vec::new();
    let read = io::stdin().take(JOB_BYTES_MAX).read_to_end(&mut bytes);
    let job = read.and_then(|_| serde_json::from_slice::<Job>(&bytes).map_err(io::Error::other));
    // Its memory holds the token and Claude's environment.
    let _ = nix::sys::prctl::set_dumpable(false);
    let _ = nix::unistd::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (job, runtime) = match (job, runtime) {
        (Ok(job), Ok(runtime)) => (job, runtime),
        (Err(err), _) | (_, Err(err)) => {
            answer(Some(Refusal::Step { why: format!("cannot begin the run: {err}") }));
            return leash::EXIT_NOT_STARTED;
        }
    };
    runtime.block_on(async {
        match Hold::begin(job).await {
            Ok(hold) => {
                answer(None);
                hold.keep().await;
                0
            }
            Err(why) => {
                answer(Some(why));
                leash::EXIT_NOT_STARTED
            }
        }
    })
}

/// Tells the hub, and lets go of its pipes.
fn answer(refused: Option<Refusal>) {
    let line = serde_json::to_string(&Answer { refused }).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{line}");
    let _ = io::stdout().flush();
    if let Ok(nothing) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&nothing);
        let _ = nix::unistd::dup2_stdout(&nothing);
        let _ = nix::unistd::dup2_stderr(&nothing);
    }
}

/// A run that has begun.
struct Hold {
    shared: Arc<Shared>,
    listener: UnixListener,
    /// Where git asks, if it may.
    git: Option<UnixListener>,
    leashed: Leashed,
    orders: mpsc::UnboundedReceiver<LeashOrder>,
    inputs: mpsc::UnboundedReceiver<Input>,
    start: StartRun,
    /// The directory is nobody else's, and the run's folder says that somebody is there.
    locks: (Option<Lock>, Lock),
}

impl Hold {
    async fn begin(job: Job) -> Result<Hold, Refusal> {
        let runs = Runs::open(&job.state).map_err(|err| step("make the folder of runs", &err))?;
        let directory = match job.directories {
            Directories::Alone => Some(take_directory(&runs, &job).await?),
            Directories::Shared => None,
        };
        let dir =
            runs.make(&job.run, &job.token).map_err(|err| step("make the run's folder", &err))?;
        let begun = Hold::start(job, dir.clone(), directory).await;
        if begun.is_err() {
            let _ = dir.remove();
        }
        begun
    }

    async fn start(job: Job, dir: RunDir, directory: Option<Lock>) -> Result<Hold, Refusal> {
        let lock = dir.try_lock().map_err(|err| step("lock the run", &err))?;
        let lock =
            lock.ok_or_else(|| Refusal::Step { why: "the run is held already".to_owned() })?;
        let listening =
            |name| listen(&dir, name).map_err(|err| step("listen for the office", &err));
        let listener = listening(connection::SOCKET)?;
        let git = job.start.git.as_ref().map(|_| listening(asking::SOCKET)).transpose()?;
        let leash = std::env::current_exe().map_err(|err| step("find the leash", &err))?;
        let launcher = LocalLauncher::new(job.program, leash, job.state, job.landlock);
        let launcher = match job.directories {
            Directories::Alone => launcher.of_office(job.office),
            Directories::Shared => launcher,
        };
        let start = job.start;
        let launched = launcher.launch(LaunchSpec {
            thread: start.thread.clone(),
            place: Place::Here,
            cwd: start.dir.clone(),
            args: start.args.clone(),
            env: start.env.clone(),
            access: Access { writable: start.writable.clone(), readable: start.readable.clone() },
        });
        let leashed = launched.await.map_err(refusal)?;
        let (shared, orders, inputs) = Shared::new(job.run, &job.token, dir);
        Ok(Hold { shared, listener, git, leashed, orders, inputs, start, locks: (directory, lock) })
    }

    /// Until Claude is gone and the end was told.
    async fn keep(self) {
        let Hold { shared, listener, git, leashed, mut orders, inputs, start, locks } = self;
        let Leashed { stdin, stdout, stderr, mut leash } = leashed;
        let out = tokio::spawn(keep_output(shared.clone(), stdout));
        let err = tokio::spawn(keep_errors(shared.clone(), stderr));
        tokio::spawn(give_input(shared.clone(), stdin, inputs));
        tokio::spawn(accept(shared.clone(), listener, connection::serve));
        if let Some(git) = git {
            tokio::spawn(accept(shared.clone(), git, connection::serve_git));
        }
        tokio::spawn(count_lease(shared.clone(), start));
        tokio::spawn(hear_signals(shared.clone()));
        let exit = loop {
            tokio::select! {
                exit = leash.ended() => break exit,
                Some(order) = orders.recv() => leash.order(order),
            }
        };
        // Nobody is left who could write, so both end by themselves.
        let _ = out.await;
        let _ = err.await;
        let exit = {
            let mut state = shared.lock();
            // From here Claude's machine is this one, which is never out of reach.
            let exit = exit.unwrap_or(Exit { code: None, signal: None });
            let exit = RunExit {
                code: exit.code,
                signal: exit.signal,
                size: state.spool.end(),
                taken: state.taken,
            };
            state.exit = Some(exit);
            exit
        };
        let tail = shared.lock().err.clone();
        let _ = shared.dir.write_err(&tail);
        while let Err(err) = shared.dir.write_exit(&exit) {
            if !is_full(&err) || shared.lock().is_lost {
                break;
            }
            sleep(DISK_RETRY).await;
        }
        shared.changed.send_replace(());
        let mut changes = shared.changed.subscribe();
        let told = async {
            // Nobody listens: whoever comes finds it in the folder.
            while shared.lock().connection > 0 && !shared.lock().exit_was_told {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(LAST_WORDS, told).await;
        drop(locks);
    }
}

/// Makes the directory this run's alone. A run of the same office that has it is ended first; another office's only where a
/// person said so.
async fn take_directory(runs: &Runs, job: &Job) -> Result<Lock, Refusal> {
    let dir = &job.start.dir;
    let opened = folders::open(dir).map_err(|err| {
        if err.is_missing() {
            Refusal::NoDir { path: dir.clone() }
        } else {
            Refusal::NotGiven { why: err.to_string() }
        }
    })?;
    let about =
        nix::sys::stat::fstat(&opened).map_err(|err| step("look at the directory", &err.into()))?;
    // By what it is: two names of one directory are one directory.
    let name = format!("dir-{:x}-{:x}", about.st_dev, about.st_ino);
    let path = runs.locks().join(&name);
    let begun = Instant::now();
    let lock = loop {
        let taken = Lock::try_take(&path).map_err(|err| step("lock the directory", &err.source))?;
        if let Some(lock) = taken {
            break lock;
        }
        let Some(holder) = Holder::read(&runs.locks(), &name) else {
            // Taken a moment ago and not signed yet.
            if begun.elapsed() > LEAVE {
                return Err(Refusal::Busy { office: "unknown".to_owned(), pid: 0, held_s: None });
            }
            sleep(POLL).await;
            continue;
        };
        let may_end = holder.office == job.office || job.start.take_over;
        if !may_end || begun.elapsed() > LEAVE {
            let held_s = held_for(&path);
            return Err(Refusal::Busy { office: holder.office, pid: holder.pid, held_s });
        }
        holder.end();
        sleep(POLL).await;
    };
    let pid = std::process::id();
    let started = i32::try_from(pid).ok().and_then(descendants::started).unwrap_or(0);
    lock.leave_note(&format!("pid {pid} started {started} office {}", job.office))
        .map_err(|err| step("sign the directory's lock", &err.source))?;
    Ok(lock)
}

/// For how many seconds a lock has been held: it is signed once, by who takes it.
fn held_for(lock: &Path) -> Option<u64> {
    let signed = lock.symlink_metadata().and_then(|it| it.modified()).ok()?;
    Some(SystemTime::now().duration_since(signed).map_or(0, |it| it.as_secs()))
}

/// Who has a directory, by its lock.
struct Holder {
    pid: i32,
    started: u64,
    office: String,
}

impl Holder {
    fn read(locks: &Path, name: &str) -> Option<Holder> {
        let note = foreign::read_below(locks, Path::new(name), NOTE_BYTES_MAX as u64).ok()?;
        Holder::parse(String::from_utf8(note).ok()?.lines().next()?)
    }

    fn parse(line: &str) -> Option<Holder> {
        let (pid, rest) = line.strip_prefix("pid ")?.split_once(" started ")?;
        let (started, office) = rest.split_once(" office ")?;
        Some(Holder {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
            office: office.to_owned(),
        })
    }

    /// Asks it to end, unless its number belongs to another one by now.
    fn end(&self) {
        if self.pid > 1 && descendants::started(self.pid) == Some(self.started) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        }
    }
}

fn step(what: &str, err: &io::Error) -> Refusal {
    if is_full(err) {
        return Refusal::NoSpace {};
    }
    Refusal::Step { why: format!("cannot {what}: {err}") }
}

fn refusal(err: LaunchError) -> Refusal {
    match err {
        LaunchError::Missing { what, path } => Refusal::Missing { what: what.to_owned(), path },
        LaunchError::NoCwd(path) => Refusal::NoDir { path },
        LaunchError::Step { ref source, .. } if is_full(source) => Refusal::NoSpace {},
        LaunchError::Step { .. } => Refusal::Step { why: leash::in_words(&err) },
        other => Refusal::NotGiven { why: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_who_works_there() {
        let holder = Holder::parse("pid 12 started 345 office k7q2").unwrap();
        assert_eq!((holder.pid, holder.started, holder.office.as_str()), (12, 345, "k7q2"));
        assert!(Holder::parse("").is_none());
        assert!(Holder::parse("pid 12 started 345").is_none());
    }
}
