//! A broker as a real process: started, asked, ended, and searched for secrets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::SecretString;
use serde_json::Value;
use tinyclaw_broker::errand::{self, Address};

use super::github::{APP_ID, GitHub};
use super::rsa_key;

/// How long the loaded machine may take to start a broker.
const PATIENCE: Duration = Duration::from_secs(30);

pub const CLIENT_SECRET: &str = "the bot's secret for these tests";
pub const CAPABILITY_SECRET: &str = "the signing secret for these tests";

/// A folder of its own, a key, a fake GitHub, and the environment of a broker.
pub struct Office {
    pub folder: tempfile::TempDir,
    pub github: Arc<GitHub>,
    pub key: PathBuf,
    env: Vec<(String, String)>,
}

impl Office {
    pub fn new() -> Office {
        Office::below("")
    }

    /// With a GitHub that is an enterprise server's path.
    pub fn below(prefix: &'static str) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let (key, public) = rsa_key(folder.path());
        let github = GitHub::start_at(&public, prefix);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let env = [
            ("BROKER_LISTEN", "127.0.0.1:0".to_owned()),
            ("GITHUB_APP_ID", APP_ID.to_owned()),
            ("GITHUB_APP_PEM", at("github-app.pem")),
            ("GITHUB_API_URL", github.url()),
            ("BROKER_AUDIT", at("audit.jsonl")),
            ("BROKER_FREEZE_FILE", at("freeze")),
            // As loud as it gets: whatever is said is searched for secrets.
            ("RUST_LOG", "trace".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        Office { folder, github, key, env }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Sets a variable, or takes it away with an empty value.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Office {
        self.env.retain(|(it, _)| it != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn command(&self, binary: &str) -> Command {
        let mut command = Command::new(binary);
        command.env_clear();
        // Named only when they are there: a file that was asked for must not be missing.
        for (name, file) in
            [("BROKER_POLICY", "policy.toml"), ("BROKER_CLIENTS_FILE", "clients.toml")]
        {
            if self.path(file).symlink_metadata().is_ok() {
                command.env(name, self.path(file));
            }
        }
        command.envs(self.env.iter().map(|(a, b)| (a, b)));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Starts a broker and waits until it says where it listens.
    pub fn start(&self, binary: &str, arguments: &[&str]) -> Running<'_> {
        let mut command = self.command(binary);
        let child = command.args(arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = mpsc::channel();
        let (stderr, heard) = (child.stderr.take().unwrap(), said.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                if let (true, Some(listen)) =
                    (line.contains("broker is up"), line.split("listen=").nth(1))
                {
                    let port = listen.split(':').nth(1).unwrap();
                    let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                    let _ = sender.send(digits.parse::<u16>().unwrap());
                }
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let port = receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the broker did not start: {}", said.lock().unwrap());
        });
        Running { office: self, child, reader: Some(reader), said, port, bodies: Mutex::default() }
    }
}

/// A broker that runs. When it goes out of sight it is ended, and searched.
pub struct Running<'a> {
    office: &'a Office,
    child: Child,
    reader: Option<std::thread::JoinHandle<()>>,
    said: Arc<Mutex<String>>,
    pub port: u16,
    /// Every answer that is not a token.
    bodies: Mutex<String>,
}

impl Running<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Asks with a method, a bearer and a body.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        body: Option<&str>,
    ) -> (u16, Value) {
        let bearer = bearer.map(SecretString::from);
        let address = Address::new("127.0.0.1", self.port);
        let mut last = None;
        // A helper's patience is five seconds; a loaded machine may need more.
        for _ in 0..3 {
            match errand::ask(&address, method, path, bearer.as_ref(), body) {
                Ok((status, text)) => {
                    let is_token = status == 200 && path.starts_with("/token");
                    if !is_token {
                        self.bodies.lock().unwrap().push_str(&(text.clone() + "\n"));
                    }
                    return (status, serde_json::from_str(&text).unwrap_or(Value::String(text)));
                }
                Err(error) => last = Some(error),
            }
        }
        panic!("{method} {path}: {:#}\n{}", last.unwrap(), self.said());
    }

    /// Sends these bytes, and takes what comes until the broker hangs up.
    pub fn say(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, None, None)
    }

    /// A token for the query, or a panic with the refusal.
    #[track_caller]
    pub fn token(&self, query: &str) -> String {
        let (status, body) = self.get(&format!("/token?{query}"));
        assert_eq!(status, 200, "{query}: {body}");
        body["token"].as_str().unwrap().to_owned()
    }

    /// Status and code of a refusal.
    #[track_caller]
    pub fn refused(&self, query: &str) -> (u16, String) {
        let (status, body) = self.get(&format!("/token?{query}"));
        assert_ne!(status, 200, "{query} was granted");
        assert!(body["error"].is_string() && body["hint"].is_string(), "{body}");
        (status, body["code"].as_str().unwrap().to_owned())
    }

    /// Asks until it holds: for what another process does in its own time.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(std::time::Instant::now() < end, "{what} did not happen\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn audit(&self) -> String {
        std::fs::read_to_string(self.office.path("audit.jsonl")).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it and waits; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.code()
    }

    fn search_for_secrets(&mut self) {
        let mut words = self.said();
        words.push_str(&self.bodies.lock().unwrap());
        if let Some(mut stdout) = self.child.stdout.take() {
            let _ = stdout.read_to_string(&mut words);
        }
        for entry in std::fs::read_dir(self.office.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.display().to_string().contains("audit.jsonl") {
                words.push_str(&std::fs::read_to_string(path).unwrap_or_default());
            }
        }
        for secret in secrets(self.office) {
            if let Some(place) = words.find(&secret) {
                let start = words[..place].rfind('\n').map_or(0, |it| it + 1);
                let line = words[start..].lines().next().unwrap_or_default();
                panic!("a secret ({} bytes) was said: {line}", secret.len());
            }
        }
    }
}

/// Everything that must never be said: tokens, JWTs, the key's lines, the shared secrets.
fn secrets(office: &Office) -> Vec<String> {
    let world = office.github.world();
    let mut secrets: Vec<String> = world.tokens.keys().cloned().collect();
    secrets.extend(world.jwts.iter().cloned());
    // A signature alone is enough to know a JWT by.
    secrets.extend(world.jwts.iter().filter_map(|it| it.rsplit('.').next()).map(str::to_owned));
    secrets.push(CLIENT_SECRET.to_owned());
    secrets.push(CAPABILITY_SECRET.to_owned());
    for entry in std::fs::read_dir(office.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if is_private(&path) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            secrets.extend(text.lines().filter(|it| it.len() > 30).map(str::to_owned));
        }
        if name.ends_with(".capability") {
            secrets.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    secrets.retain(|it| it.len() >= 16 && !it.starts_with("-----"));
    secrets
}

fn is_private(path: &Path) -> bool {
    let name = path.display().to_string();
    name.ends_with(".pem") && !name.ends_with("public.pem") && path.is_file()
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            self.search_for_secrets();
        }
    }
}
