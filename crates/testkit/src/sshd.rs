//! A private SSH server: the system's own `sshd`, for the user who runs the test, on a port of loopback that nobody else has.
//!
//! The test listens, and each connection gets an `sshd -i` of its own: no port is guessed, and who wants to cut a connection
//! ends one process. Whoever logs in has the HOME that the test gave. Where `sshd` is not installed there is none, and the
//! test says so and skips itself. A server that listens by itself, as a machine's does, is a [`Daemon`].

#![expect(clippy::disallowed_methods, reason = "a test starts the system's own programs")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
/// Where `sshd` locks its half without rights in; a package makes it when the service starts.
const PRIVSEP: &str = "/run/sshd";

/// So many ports are tried for a server that listens by itself.
const PORTS_TRIED: u32 = 5;
/// So often it is looked whether it does.
const LISTEN_LOOK: Duration = Duration::from_millis(10);

/// A server, and a key that it takes. Both are gone when it is dropped.
#[derive(Debug)]
pub struct Sshd {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    user: String,
    sessions: Arc<Sessions>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Sessions {
    children: Mutex<Vec<Child>>,
    accepted: AtomicUsize,
    is_over: AtomicBool,
    /// Whether who comes is sent away.
    is_shut: AtomicBool,
}

impl Sshd {
    /// Starts one whose users have this HOME. `None`: there is no `sshd` here, which is said under the test's name.
    pub fn start(test: &str, home: &Path) -> Option<Sshd> {
        Sshd::start_with(test, home, "")
    }

    /// The same with more lines of configuration.
    pub fn start_with(test: &str, home: &Path, more: &str) -> Option<Sshd> {
        let Some(program) = SSHD.iter().map(PathBuf::from).find(|it| it.is_file()) else {
            skip(test, "openssh-server is not installed");
            return None;
        };
        match Sshd::open(&program, home, more) {
            Ok(it) => Some(it),
            Err(err) => {
                skip(test, &format!("sshd does not start: {err}"));
                None
            }
        }
    }

    fn open(program: &Path, home: &Path, more: &str) -> io::Result<Sshd> {
        let dir = tempfile::tempdir()?;
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all(PRIVSEP)?;
        }
        for name in ["host_key", "user_key", "other_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
                .arg(dir.path().join(name))
                .stdin(Stdio::null())
                .status()?;
            if !made.success() {
                return Err(io::Error::other("ssh-keygen made no key"));
            }
        }
        std::fs::copy(dir.path().join("user_key.pub"), dir.path().join("authorized_keys"))?;
        let below = |name: &str| dir.path().join(name).display().to_string();
        // What comes first counts.
        let config = format!(
            "{more}\nHostKey {}\nAuthorizedKeysFile {}\nSetEnv HOME={}\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n\
             PermitRootLogin prohibit-password\nPrintMotd no\nLogLevel ERROR\n",
            below("host_key"),
            below("authorized_keys"),
            home.display(),
        );
        std::fs::write(dir.path().join("config"), config)?;
        let tested =
            Command::new(program).arg("-t").arg("-f").arg(dir.path().join("config")).output()?;
        if !tested.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&tested.stderr).into_owned()));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .map(|it| it.name)
            .ok_or_else(|| io::Error::other("this user has no name"))?;
        let sessions = Arc::new(Sessions::default());
        let (of_thread, started) = (sessions.clone(), program.to_owned());
        let config = dir.path().to_owned();
        let accepting = std::thread::spawn(move || of_thread.accept(&listener, &started, &config));
        let program = program.to_owned();
        Ok(Sshd { program, dir, port, user, sessions, accepting: Some(accepting) })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who can log in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The private key that is taken.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("user_key")
    }

    /// A private key that is not.
    pub fn other_key(&self) -> PathBuf {
        self.dir.path().join("other_key")
    }

    /// The host's public key, `ssh-ed25519 AAAA… test`.
    pub fn host_key(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("host_key.pub")).unwrap_or_default()
    }

    /// From now on it shows another host key.
    pub fn change_host_key(&self) -> io::Result<()> {
        for name in ["host_key", "host_key.pub"] {
            let other = name.replace("host", "other");
            std::fs::copy(self.dir.path().join(other), self.dir.path().join(name))?;
        }
        Ok(())
    }

    /// How many connections there were so far.
    pub fn accepted(&self) -> usize {
        self.sessions.accepted.load(Ordering::SeqCst)
    }

    /// Ends every connection that there is, at once, as a network does. What was started over them goes on.
    pub fn cut(&self) {
        self.sessions.cut();
    }

    /// Stops every connection that there is where it stands, without a word, or lets them go on.
    pub fn stall(&self, is_stalled: bool) {
        let signal = if is_stalled { Signal::SIGSTOP } else { Signal::SIGCONT };
        let mut children = self.sessions.children.lock().unwrap_or_else(PoisonError::into_inner);
        for child in children.iter_mut() {
            if let Ok(None) = child.try_wait() {
                let pid = child.id();
                // The half that has the session's rights may be in a group of its own. Whoever is let go on may end at once,
                // and is asked for it before.
                let halves = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
                let halves = halves.unwrap_or_default();
                let _ = killpg(Pid::from_raw(pid.cast_signed()), signal);
                for half in halves.split_whitespace().filter_map(|it| it.parse().ok()) {
                    let _ = kill(Pid::from_raw(half), signal);
                }
            }
        }
    }

    /// Another server with the same keys and configuration, which listens by itself.
    pub fn daemon(&self) -> io::Result<Daemon> {
        let config = self.dir.path().join("config");
        let mut refused = None;
        for _ in 0..PORTS_TRIED {
            // Somebody else may have the port before the server has it.
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            match Daemon::listen(&self.program, &config, port) {
                Ok(child) => {
                    let (program, child) = (self.program.clone(), Some(child));
                    return Ok(Daemon { program, config, port, child });
                }
                Err(err) => refused = Some(err),
            }
        }
        Err(refused.unwrap_or_else(|| io::Error::other("no port")))
    }

    /// From now on whoever comes is sent away before a word, and who is there is cut; or not any more.
    pub fn shut(&self, is_shut: bool) {
        self.sessions.is_shut.store(is_shut, Ordering::SeqCst);
        if is_shut {
            self.cut();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.sessions.is_over.store(true, Ordering::SeqCst);
        // Wakes who waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.cut();
    }
}

/// A server as a machine has it: one process that listens, and one for each connection, which outlives it. It ends when it is
/// dropped; connections end with whoever made them.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    config: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Daemon {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has it read its configuration and keys anew.
    pub fn reload(&self) -> io::Result<()> {
        match &self.child {
            Some(child) => Ok(kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGHUP)?),
            None => Err(io::Error::other("it does not run")),
        }
    }

    /// Ends the process that listens, as a service manager does, and starts another.
    pub fn restart(&mut self) -> io::Result<()> {
        self.end()?;
        self.child = Some(Daemon::listen(&self.program, &self.config, self.port)?);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        child.wait().map(drop)
    }

    /// Starts a process that listens, and waits until it does.
    fn listen(program: &Path, config: &Path, port: u16) -> io::Result<Child> {
        let mut child = Command::new(program)
            .args(["-D", "-e", "-o", "ListenAddress=127.0.0.1", "-p", &port.to_string(), "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(ended) = child.try_wait()? {
                return Err(io::Error::other(format!("sshd does not listen: {ended}")));
            }
            std::thread::sleep(LISTEN_LOOK);
        }
        Ok(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Sessions {
    fn accept(&self, listener: &TcpListener, program: &Path, dir: &Path) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            self.accepted.fetch_add(1, Ordering::SeqCst);
            if self.is_shut.load(Ordering::SeqCst) {
                continue;
            }
            let Ok(other) = stream.try_clone() else { continue };
            let started = Command::new(program)
                .args(["-i", "-e", "-f"])
                .arg(dir.join("config"))
                .stdin(Stdio::from(OwnedFd::from(stream)))
                .stdout(Stdio::from(OwnedFd::from(other)))
                .stderr(Stdio::null())
                .process_group(0)
                .spawn();
            let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
            children.retain_mut(|it| matches!(it.try_wait(), Ok(None)));
            children.extend(started);
        }
    }

    fn cut(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for mut child in children.drain(..) {
            // Not reaped yet, so the number is its own. Its helper without rights is in the same group; what a user started
            // has a session of its own.
            if let Ok(None) = child.try_wait() {
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that skips itself says so")]
fn skip(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
}
