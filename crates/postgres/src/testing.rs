//! A private cluster for tests and measurements: made, started and ended by whoever has it, reached by a socket in its own
//! folder. It ends with the process that has it, however that one ends.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::SecretString;

use crate::database::{Database, Tls};

/// Who a server runs as when we are root, as which it refuses to run.
const NOBODY: u32 = 65_534;
/// How long a server may take to come up on a slow machine.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A server of our own.
#[derive(Debug)]
pub struct Cluster {
    dir: tempfile::TempDir,
    programs: PathBuf,
    settings: Vec<String>,
    /// The shell that ends the server when our end of its input closes.
    keeper: Option<Child>,
}

impl Cluster {
    /// Where PostgreSQL's programs are; `None`, said on standard error, where there are none.
    pub fn programs() -> Option<PathBuf> {
        let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = installed.map(|it| it.path().join("bin")).collect();
        dirs.sort();
        dirs.reverse();
        dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        dirs.into_iter().find(|it| it.join("initdb").is_file() && it.join("postgres").is_file())
    }

    /// A cluster that is up, with these settings besides. `None` where PostgreSQL is not installed.
    pub fn start(settings: &[&str]) -> Option<Cluster> {
        let programs = Cluster::programs()?;
        // A socket's path has to be short.
        let base = Path::new("/dev/shm");
        let base = if base.is_dir() { base.to_owned() } else { std::env::temp_dir() };
        Some(Cluster::start_in(&base, programs, settings).expect("a private cluster"))
    }

    /// The same below a folder, such as one on the disk that is measured.
    pub fn start_in(base: &Path, programs: PathBuf, settings: &[&str]) -> io::Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("tinyclaw-pg-").tempdir_in(base)?;
        if fs::metadata(dir.path())?.uid() == 0 {
            chown(dir.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let settings = settings.iter().map(|&it| it.to_owned()).collect();
        let mut cluster = Cluster { dir, programs, settings, keeper: None };
        let made = cluster
            .command("initdb")
            .args(["--no-sync", "-A", "trust", "-U", "tinyclaw", "-E", "UTF8", "--locale=C", "-D"])
            .arg(cluster.data())
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        cluster.up()?;
        Ok(cluster)
    }

    /// The folder in which its socket is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// How it is reached.
    pub fn url(&self) -> SecretString {
        let dir = self.dir.path().display();
        SecretString::from(format!("host={dir} user=tinyclaw dbname=postgres"))
    }

    /// An office in it, as a machine and one of its services see it.
    pub fn database(&self, office: &str, node: &str, service: &str) -> Database {
        Database::new(&self.url(), &Tls::Off, office, node, service).expect("a database")
    }

    /// The same, as another user of the database.
    pub fn database_as(&self, user: &str, office: &str, node: &str, service: &str) -> Database {
        let url = format!("host={} user={user} dbname=postgres", self.dir.path().display());
        Database::new(&url.into(), &Tls::Off, office, node, service).expect("a database")
    }

    /// Settings besides, from the next start on. A later one of a name counts.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(|&it| it.to_owned()));
    }

    /// One of PostgreSQL's programs, as the user that the cluster belongs to.
    pub fn command(&self, program: &str) -> Command {
        self.as_its_user(self.programs.join(program))
    }

    /// A program, as the user that the cluster belongs to.
    pub fn as_its_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        #[expect(clippy::disallowed_methods, reason = "a server for tests")]
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if fs::metadata(self.dir.path()).is_ok_and(|it| it.uid() == NOBODY) {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts the server, and waits until it takes calls.
    pub fn up(&mut self) -> io::Result<()> {
        // The shell reads until our end closes, by our will or our death, and takes the server along.
        let keep = "\"$@\" >> server.log 2>&1 & pid=$!; read -r _; kill -QUIT $pid; wait $pid";
        let mut command = self.as_its_user("/bin/sh");
        command.args(["-c", keep, "sh"]).arg(self.programs.join("postgres")).arg("-D");
        command.arg(self.data()).args(["-c", "listen_addresses="]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.dir.path().display()));
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.keeper = Some(command.spawn()?);
        let until = Instant::now() + UP_WITHIN;
        while !self.is_up()? {
            if Instant::now() > until {
                let log = self.as_its_user("tail").arg("server.log").output()?;
                let log = String::from_utf8_lossy(&log.stdout).into_owned();
                return Err(io::Error::other(format!("the server does not come up: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn port(&self) -> String {
        let set = self.settings.iter().rev().find_map(|it| it.strip_prefix("port="));
        set.unwrap_or("5432").to_owned()
    }

    fn is_up(&self) -> io::Result<bool> {
        let asked = self
            .command("pg_isready")
            .args(["-q", "-p", &self.port(), "-h"])
            .arg(self.dir.path())
            .status()?;
        Ok(asked.success())
    }

    /// Ends the server as a crash would: it writes nothing any more, and recovers when it is up again.
    pub fn crash(&mut self) -> io::Result<()> {
        let Some(mut keeper) = self.keeper.take() else { return Ok(()) };
        drop(keeper.stdin.take());
        keeper.wait().map(drop)
    }

    /// What a query prints, unaligned.
    pub fn ask(&self, sql: &str) -> io::Result<String> {
        let mut command = self.command("psql");
        command.args([
            "-XAtq",
            "-U",
            "tinyclaw",
            "-d",
            "postgres",
            "-c",
            sql,
            "-p",
            &self.port(),
            "-h",
        ]);
        let answer = command.arg(self.dir.path()).output()?;
        if !answer.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&answer.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.crash();
    }
}
