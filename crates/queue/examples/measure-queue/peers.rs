//! The same work at peers that are made for it, PostgreSQL and Redis: a message is accepted, taken, answered and finished, one
//! client, one message after the other. Each is started here, in a folder of the measured disk, and speaks over a socket
//! in it.
//!
//! They flush where the queue does: what is accepted and what is answered is on the disk when the client hears so. PostgreSQL
//! takes and finishes without waiting for a flush, as the queue does. Redis has one setting for everything, so it flushes
//! at every step. A peer that is not installed is named and left out.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whom the servers run as when root measures: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
const START_WITHIN: Duration = Duration::from_secs(30);

/// A server of ours, which ends with this.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) cycle: Box<dyn FnMut(u64)>,
    server: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both end at once at this one, and take their helpers along.
        let _ = kill(Pid::from_raw(self.server.id() as i32), Signal::SIGINT);
        let _ = self.server.wait();
    }
}

/// The peers that are installed here.
pub(crate) fn start(base: &Path) -> Vec<Peer> {
    [postgres(base), redis(base)].into_iter().flatten().collect()
}

/// The text of a message, as long as the queue's.
fn text() -> String {
    "x".repeat(900)
}

fn folder(base: &Path) -> tempfile::TempDir {
    let dir = super::fresh(base);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("mode");
    if nix::unistd::geteuid().is_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("owner");
    }
    dir
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let on_path = path.split(':').map(PathBuf::from);
    // Where Debian keeps what must match the version of the data.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found = on_path.chain(versions.map(|it| it.path().join("bin"))).map(|it| it.join(name));
    let found = found.find(|it| it.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Tries until the server answers.
fn until<T>(name: &str, mut connect: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + START_WITHIN;
    loop {
        if let Some(it) = connect() {
            return it;
        }
        assert!(Instant::now() < end, "{name} does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn postgres(base: &Path) -> Option<Peer> {
    let (initdb, server) = (find("initdb")?, find("postgres")?);
    let dir = folder(base);
    let data = dir.path().join("data");
    let made = command(&initdb)
        .args(["-U", "measure", "-A", "trust", "-D"])
        .arg(&data)
        .current_dir(dir.path())
        .status();
    assert!(made.expect("initdb runs").success(), "initdb fails");
    let server = command(&server)
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-k"])
        .arg(dir.path())
        .current_dir(dir.path())
        .spawn()
        .expect("postgres starts");
    let socket = dir.path().join(".s.PGSQL.5432");
    let mut client = until("postgres", || Postgres::connect(&socket));
    client.ask(
        "create table message (key text primary key, place int not null, ord bigserial, doc text not null);
         create index on message (place, ord);
         prepare accept (text, text) as insert into message (key, place, doc) values ($1, 1, $2);
         prepare take as update message set place = 2 where key = (select key from message
           where place = 1 order by ord limit 1 for update skip locked) returning key, doc;
         prepare answer (text, text) as update message set doc = $2 where key = $1;
         prepare finish (text) as update message set place = 5 where key = $1",
    );
    let text = text();
    let cycle = Box::new(move |at: u64| {
        client.ask("set synchronous_commit = on");
        client.ask(&format!("execute accept ('m-{at}', '{text}')"));
        client.ask("set synchronous_commit = off");
        let rows = client.ask("execute take");
        assert_eq!(rows, 1, "a message");
        client.ask("set synchronous_commit = on");
        client.ask(&format!("execute answer ('m-{at}', '{text} and its answer')"));
        client.ask("set synchronous_commit = off");
        client.ask(&format!("execute finish ('m-{at}')"));
    });
    Some(Peer { name: "postgresql", cycle, server, _dir: dir })
}

/// As much of PostgreSQL's protocol as it takes to ask and to count the rows that come back.
struct Postgres(BufReader<UnixStream>);

impl Postgres {
    fn connect(socket: &Path) -> Option<Postgres> {
        let mut stream = UnixStream::connect(socket).ok()?;
        let told = b"\0\x03\0\0user\0measure\0database\0postgres\0\0";
        stream.write_all(&(told.len() as u32 + 4).to_be_bytes()).ok()?;
        stream.write_all(told).ok()?;
        let mut client = Postgres(BufReader::new(stream));
        // It refuses while it starts.
        client.until_ready().ok().map(|_| client)
    }

    fn ask(&mut self, query: &str) -> usize {
        let stream = self.0.get_mut();
        let mut frame = vec![b'Q'];
        frame.extend((query.len() as u32 + 5).to_be_bytes());
        frame.extend(query.as_bytes());
        frame.push(0);
        stream.write_all(&frame).expect("postgres hears");
        self.until_ready().expect("postgres answers")
    }

    fn until_ready(&mut self) -> Result<usize, String> {
        let mut rows = 0;
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).map_err(|err| err.to_string())?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; length.saturating_sub(4) as usize];
            self.0.read_exact(&mut body).map_err(|err| err.to_string())?;
            match head[0] {
                b'D' => rows += 1,
                b'Z' => return Ok(rows),
                b'E' => return Err(String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }
}

fn redis(base: &Path) -> Option<Peer> {
    let program = find("redis-server")?;
    let dir = folder(base);
    let socket = dir.path().join("socket");
    let server = command(&program)
        .args(["--port", "0", "--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .arg("--unixsocket")
        .arg(&socket)
        .arg("--dir")
        .arg(dir.path())
        .current_dir(dir.path())
        .spawn()
        .expect("redis starts");
    let stream = until("redis", || UnixStream::connect(&socket).ok());
    let mut client = Redis(BufReader::new(stream));
    let text = text();
    let cycle = Box::new(move |at: u64| {
        let key = format!("m-{at}");
        client.together(&[&["SET", &key, &text], &["RPUSH", "incoming", &key]]);
        client.ask(&["LMOVE", "incoming", "processing", "LEFT", "RIGHT"]);
        client.ask(&["SET", &key, &format!("{text} and its answer")]);
        client.together(&[&["LREM", "processing", "1", &key], &["RPUSH", "done", &key]]);
    });
    Some(Peer { name: "redis", cycle, server, _dir: dir })
}

/// As much of Redis's protocol as it takes to ask and to hear that it is done.
struct Redis(BufReader<UnixStream>);

impl Redis {
    fn ask(&mut self, words: &[&str]) {
        self.0.get_mut().write_all(&frame(words)).expect("redis hears");
        self.hear();
    }

    /// Several commands in one transaction, which is one flush.
    fn together(&mut self, commands: &[&[&str]]) {
        let mut frames = frame(&["MULTI"]);
        commands.iter().for_each(|it| frames.extend(frame(it)));
        frames.extend(frame(&["EXEC"]));
        self.0.get_mut().write_all(&frames).expect("redis hears");
        (0..commands.len() + 2).for_each(|_| self.hear());
    }

    fn hear(&mut self) {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        match kind {
            "$" => {
                let length: usize = rest.parse().expect("a length");
                let mut body = vec![0; length + 2];
                self.0.read_exact(&mut body).expect("redis answers");
            }
            "*" => (0..rest.parse::<usize>().expect("a count")).for_each(|_| self.hear()),
            "-" => panic!("redis refuses: {rest}"),
            _ => {}
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("redis answers");
        line.trim_end().to_owned()
    }
}

fn frame(words: &[&str]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        frame.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    frame
}
