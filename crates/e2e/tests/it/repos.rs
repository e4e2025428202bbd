//! Threads on repositories: the processor, git, the credential helper and the broker, all real; only GitHub is the
//! broker's fake one.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tinyclaw_domain::{Command as Order, Outcome, Reply};
use tinyclaw_e2e::{Office, example, program};

const CAPABILITY_SECRET: &str = "the signing secret for these tests";

/// GitHub with a repository in it, a broker for it, and an office that knows the broker.
struct GitHub {
    office: Office,
    folder: tempfile::TempDir,
    broker: Child,
    fake: Child,
    broker_url: String,
    git: String,
}

impl GitHub {
    fn open() -> GitHub {
        let folder = tempfile::Builder::new().prefix("tinyclaw-github-").tempdir().unwrap();
        repository(folder.path(), "acme/site");
        let (fake, at) = start_fake(folder.path());
        let text = |name: &str| at[name].as_str().unwrap().to_owned();
        let (broker, broker_url) = start_broker(folder.path(), &at);
        let office = Office::open_with(&[
            ("GITHUB_URL", &text("git")),
            ("CREDENTIAL_BROKER_URL", &broker_url),
            ("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET),
        ]);
        let config = format!("[http]\nsslCAInfo = {}\n", text("certificate"));
        std::fs::write(office.path("home/.gitconfig"), config).unwrap();
        GitHub { office, broker, fake, broker_url, git: text("git"), folder }
    }

    fn open_repo(&mut self, thread: &str, repo: &str) -> Reply {
        let mut message = self.office.message(thread, "");
        message.command = Some(Order::Open { name: None, dir: None, repo: Some(repo.to_owned()) });
        let key = self.office.publish(message);
        self.office.answer(&key)
    }

    /// The directory of a thread.
    fn cwd(&self, thread: &str) -> PathBuf {
        PathBuf::from(&self.office.threads()[&thread.parse().unwrap()].cwd)
    }

    /// What the broker wrote down of tokens.
    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
        lines.filter(|it: &Value| it["event"] == "token").collect()
    }

    /// What the credential helper says to git in a thread: whether there is a password for a repository.
    fn helper(&self, thread: &str, repo: &str) -> bool {
        let host = self.git.strip_prefix("https://").unwrap();
        let mut helper = Command::new(program("git-credential-tinyclaw"))
            .arg("get")
            .env_clear()
            .env("CREDENTIAL_BROKER_URL", &self.broker_url)
            .env("TINYCLAW_GIT_HOST", host)
            .env(
                "TINYCLAW_CAPABILITY_FILE",
                self.office.path("state/files").join(thread).join(".capability"),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let about = format!("protocol=https\nhost={host}\npath={repo}.git\n\n");
        helper.stdin.take().unwrap().write_all(about.as_bytes()).unwrap();
        let output = helper.wait_with_output().unwrap();
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
        .unwrap();
    let mut line = String::new();
    BufReader::new(fake.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (fake, serde_json::from_str(&line).unwrap())
}

fn start_broker(folder: &Path, at: &Value) -> (Child, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut broker = Command::new(program("tinyclaw-broker"))
        .env_clear()
        .env("BROKER_LISTEN", "127.0.0.1:0")
        .env("GITHUB_APP_ID", at["appId"].as_str().unwrap())
        .env("GITHUB_APP_PEM", at["key"].as_str().unwrap())
        .env("GITHUB_API_URL", at["api"].as_str().unwrap())
        .env("BROKER_AUDIT", path("audit.jsonl"))
        .env("BROKER_FREEZE_FILE", path("freeze"))
        .env("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(broker.stderr.take().unwrap()).lines().map_while(Result::ok);
    let up = lines.find(|it| it.contains("broker is up")).expect("the broker does not start");
    let port = up.split("listen=127.0.0.1:").nth(1).unwrap();
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    // Its further words are nobody's, but a full pipe would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (broker, format!("http://127.0.0.1:{port}"))
}

/// A bare repository with one commit.
fn repository(folder: &Path, name: &str) {
    let (work, bare) = (folder.join("work"), folder.join("git").join(format!("{name}.git")));
    std::fs::create_dir_all(&work).unwrap();
    git(&work, &["init", "-q", "-b", "main"]);
    std::fs::write(work.join("README.md"), "# Site\n").unwrap();
    git(&work, &["add", "README.md"]);
    git(
        &work,
        &["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "-m", "Begin"],
    );
    git(&work, &["clone", "-q", "--bare", ".", &bare.display().to_string()]);
}

#[track_caller]
fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_repository_is_cloned_with_the_threads_own_capability_and_shared_by_worktrees() {
    let mut github = GitHub::open();
    let said = github.open_repo("7", "acme/site");
    assert_eq!(said.outcome, Outcome::Notice, "{}", said.text);
    let first = github.cwd("7");
    assert!(first.ends_with("acme/site") && first.join("README.md").is_file());
    let audit = github.audit();
    let granted = audit.last().expect("a token");
    assert_eq!(granted["decision"], "granted");
    assert_eq!((&granted["client"], &granted["thread"]), (&"thread".into(), &"7".into()));

    // A second desk on it gets files and a branch of its own, without another clone.
    let said = github.open_repo("8", "acme/site");
    assert!(said.text.contains("a worktree of its own on branch `tinyclaw/8`"), "{}", said.text);
    let second = github.cwd("8");
    assert_ne!(first, second);
    assert!(second.join("README.md").is_file());
    assert_eq!(git(&second, &["branch", "--show-current"]), "tinyclaw/8");
    assert_eq!(git(&first, &["branch", "--show-current"]), "main");
    assert_eq!(github.audit().len(), audit.len());

    // A turn renews the capability; it is good for this repository, in this thread, and for no other.
    std::fs::remove_file(github.office.path("state/files/7/.capability")).unwrap();
    let own = github.office.path("state/files/7/.capability").display().to_string();
    let other = github.office.path("state/files/8/.capability").display().to_string();
    github.office.ask("8", "hello");
    let reply = github.office.ask("7", &format!("[demo: open {own}] [demo: open {other}]"));
    assert!(reply.text.contains(&format!("`{own}`: can be read")), "{}", reply.text);
    if std::fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|it| it.contains("landlock")) {
        assert!(!reply.text.contains(&format!("`{other}`: can be read")), "{}", reply.text);
    }
    assert!(github.helper("7", "acme/site"));
    assert!(!github.helper("7", "acme/docs"), "installed, but not this thread's");
}

#[test]
fn a_repository_that_cannot_be_had_leaves_nothing_behind_and_says_why() {
    let mut github = GitHub::open();
    github.office.ask("7", "hello");
    let before = github.cwd("7");
    for bad in ["acme/secret", "acme", "../etc/passwd"] {
        let said = github.open_repo("7", bad);
        assert_eq!(said.outcome, Outcome::Failed, "{bad}: {}", said.text);
        assert!(said.text.contains(bad), "{}", said.text);
    }
    assert_eq!(github.cwd("7"), before);
    let left = std::fs::read_dir(github.office.path("work/acme")).unwrap().count();
    assert_eq!(left, 0, "no half clone");
    assert_eq!(github.office.ask("7", "still there?").outcome, Outcome::Answered);
}
