//! GitHub as far as desks know it: the broker's fake one with repositories of the account `acme`, and a real broker.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{example, program};

const CAPABILITY_SECRET: &str = "the signing secret for these tests";

/// A GitHub with repositories in it, and a broker for it.
pub struct GitHub {
    folder: tempfile::TempDir,
    broker: Child,
    fake: Child,
    broker_url: String,
    git: String,
    certificate: String,
}

impl GitHub {
    /// A GitHub with these repositories, `acme/site` say, each with a commit on its branch `main`.
    pub fn open(repositories: &[&str]) -> GitHub {
        let folder = tempfile::Builder::new().prefix("tinyclaw-github-").tempdir().expect("folder");
        for name in repositories {
            repository(folder.path(), name);
        }
        let (fake, at) = start_fake(folder.path());
        let text = |name: &str| at[name].as_str().expect("an address").to_owned();
        let (broker, broker_url) = start_broker(folder.path(), &at);
        GitHub {
            broker,
            fake,
            broker_url,
            git: text("git"),
            certificate: text("certificate"),
            folder,
        }
    }

    /// What a processor is told of it.
    pub fn env(&self) -> [(&str, &str); 4] {
        [
            ("GITHUB_URL", &self.git),
            ("CREDENTIAL_BROKER_URL", &self.broker_url),
            ("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET),
            ("GIT_SSL_CAINFO", &self.certificate),
        ]
    }

    /// Where its repositories are.
    pub fn address(&self) -> &str {
        &self.git
    }

    /// What its servers' certificate is signed by.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Adds a file to `main` of a repository, as somebody elsewhere does.
    pub fn push(&self, repo: &str, file: &str) {
        self.push_text(repo, file, "new\n");
    }

    /// The same with words of its own.
    pub fn push_text(&self, repo: &str, file: &str, text: &str) {
        let work = self.folder.path().join("work").join(repo);
        let path = work.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(path, text).expect("file");
        self.bring(repo, file);
    }

    /// Adds whatever is put into its folder.
    pub fn push_all(&self, repo: &str, put: impl FnOnce(&Path)) {
        put(&self.folder.path().join("work").join(repo));
        self.bring(repo, ".");
    }

    /// Pushes a link.
    pub fn push_link(&self, repo: &str, link: &str, to: &str) {
        let path = self.folder.path().join("work").join(repo).join(link);
        std::os::unix::fs::symlink(to, path).expect("link");
        self.bring(repo, link);
    }

    fn bring(&self, repo: &str, file: &str) {
        let work = self.folder.path().join("work").join(repo);
        commit(&work, file);
        let bare = self.folder.path().join("git").join(format!("{repo}.git"));
        git(&work, &["push", "-q", &bare.display().to_string(), "main"]);
    }

    /// Lets every user of this machine read the certificate.
    pub fn open_to_all(&self) {
        for path in [self.folder.path(), Path::new(&self.certificate)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        }
    }

    /// What the broker wrote down of tokens.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).expect("audit");
        let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
        lines.filter(|it: &Value| it["event"] == "token").collect()
    }

    /// What the credential helper says to git with a thread's capability: whether there is a password for a repository.
    pub fn helper(&self, capability: &Path, repo: &str) -> bool {
        let host = self.git.strip_prefix("https://").expect("an address");
        let mut helper = Command::new(program("git-credential-tinyclaw"))
            .arg("get")
            .env_clear()
            .env("CREDENTIAL_BROKER_URL", &self.broker_url)
            .env("TINYCLAW_GIT_HOST", host)
            .env("TINYCLAW_CAPABILITY_FILE", capability)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the helper");
        let about = format!("protocol=https\nhost={host}\npath={repo}.git\n\n");
        helper.stdin.take().expect("a pipe").write_all(about.as_bytes()).expect("a question");
        let output = helper.wait_with_output().expect("an answer");
        String::from_utf8_lossy(&output.stdout).contains("password=")
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        for child in [&mut self.broker, &mut self.fake] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_fake(folder: &Path) -> (Child, Value) {
    let mut fake = Command::new(example("tinyclaw-broker", "fake_github"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it works");
    let mut line = String::new();
    BufReader::new(fake.stdout.take().expect("it works")).read_line(&mut line).expect("it works");
    (fake, serde_json::from_str(&line).expect("it works"))
}

fn start_broker(folder: &Path, at: &Value) -> (Child, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut broker = Command::new(program("tinyclaw-broker"))
        .env_clear()
        .env("BROKER_LISTEN", "127.0.0.1:0")
        .env("GITHUB_APP_ID", at["appId"].as_str().expect("it works"))
        .env("GITHUB_APP_PEM", at["key"].as_str().expect("it works"))
        .env("GITHUB_API_URL", at["api"].as_str().expect("it works"))
        .env("BROKER_AUDIT", path("audit.jsonl"))
        .env("BROKER_FREEZE_FILE", path("freeze"))
        .env("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it works");
    let mut lines =
        BufReader::new(broker.stderr.take().expect("it works")).lines().map_while(Result::ok);
    let up = lines.find(|it| it.contains("broker is up")).expect("the broker does not start");
    let port = up.split("listen=127.0.0.1:").nth(1).expect("it works");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    // Its further words are nobody's, but a full pipe would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (broker, format!("http://127.0.0.1:{port}"))
}

/// A bare repository with one commit.
fn repository(folder: &Path, name: &str) {
    let (work, bare) =
        (folder.join("work").join(name), folder.join("git").join(format!("{name}.git")));
    std::fs::create_dir_all(&work).expect("it works");
    git(&work, &["init", "-q", "-b", "main"]);
    std::fs::write(work.join("README.md"), "# Site\n").expect("it works");
    commit(&work, "README.md");
    git(&work, &["clone", "-q", "--bare", ".", &bare.display().to_string()]);
}

fn commit(dir: &Path, file: &str) {
    git(dir, &["add", file]);
    let ada = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
    git(dir, &[&ada[..], &["commit", "-q", "-m", file]].concat());
}

/// What git says in a folder.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").args(args).current_dir(dir).output().expect("it works");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
