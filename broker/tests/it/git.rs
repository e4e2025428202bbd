//! The helpers at work: a real `git clone` and `git push`, and `gh` with a token for one run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::start;
use crate::support::git_server::GitServer;
use crate::support::mode;
use crate::support::process::{CAPABILITY_SECRET, CLIENT_SECRET, Office, Running};

const HELPER: &str = env!("CARGO_BIN_EXE_git-credential-tinyclaw");

/// A desk with a home of its own, where git knows the helper and nothing else.
struct Desk<'a> {
    office: &'a Office,
    server: Arc<GitServer>,
    broker_url: String,
    env: Vec<(String, String)>,
}

impl<'a> Desk<'a> {
    fn new(office: &'a Office, broker: &Running<'_>) -> Desk<'a> {
        let root = office.path("git");
        for repo in ["acme/site.git", "acme/docs.git"] {
            let path = root.join(repo);
            std::fs::create_dir_all(&path).unwrap();
            run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&path));
            run(Command::new("git").args(["-C"]).arg(&path).args([
                "config",
                "http.receivepack",
                "true",
            ]));
        }
        let server = GitServer::start(office.folder.path(), &root, office.github.clone());
        let host = format!("https://localhost:{}", server.port);
        let config = format!(
            "[user]\nname = Ada\nemail = ada@example.com\n[init]\ndefaultBranch = main\n\
             [credential \"{host}\"]\nhelper = {HELPER}\nuseHttpPath = true\n\
             [http]\nsslCAInfo = {}\n",
            server.certificate.display()
        );
        office.write("gitconfig", &config);
        Desk { office, server, broker_url: broker.url(), env: Vec::new() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.office.folder.path())
            .env("GIT_CONFIG_GLOBAL", self.office.path("gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("CREDENTIAL_BROKER_URL", &self.broker_url)
            .env("TINYCLAW_GIT_HOST", format!("localhost:{}", self.server.port))
            .envs(self.env.iter().map(|(a, b)| (a, b)))
            .current_dir(self.office.folder.path());
        command
    }

    fn git(&self, folder: &Path, line: &str) -> Output {
        let mut git = self.command("git");
        git.args(line.split(' ')).current_dir(folder).output().unwrap()
    }

    #[track_caller]
    fn clone_site(&self) -> PathBuf {
        let folder = self.office.path("work");
        run(self.command("git").args(["clone", "-q", &self.server.url("acme/site")]).arg(&folder));
        folder
    }

    /// What the helper says about a description of git's.
    fn helper(&self, action: &str, input: &str) -> Output {
        let mut helper = self.command(HELPER);
        let helper =
            helper.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = helper.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn about(&self, path: &str) -> String {
        format!("protocol=https\nhost=localhost:{}\npath={path}\n\n", self.server.port)
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn ok(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn clone_and_push_just_work() {
    let office = Office::new();
    let broker = start(&office);
    let desk = Desk::new(&office, &broker);
    let work = desk.clone_site();
    std::fs::write(work.join("hello.txt"), "hello\n").unwrap();
    ok(&desk.git(&work, "add hello.txt"));
    ok(&desk.git(&work, "commit -q -m hello"));
    ok(&desk.git(&work, "push -q origin HEAD:main"));
    let log = desk.git(&office.path("git/acme/site.git"), "log --format=%s main");
    assert_eq!(String::from_utf8_lossy(&log.stdout), "hello\n");
    assert_eq!(office.github.mints(), 1, "one scope, one token");
    let shown = desk.server.shown.lock().unwrap().clone();
    let scope = office.github.scope(&shown[0]).unwrap();
    assert_eq!(json!(scope.permissions), json!({"contents":"write","metadata":"read"}));
    assert_eq!(scope.repositories.unwrap().into_iter().collect::<Vec<_>>(), ["site"]);
    // Nothing stayed behind in the working copy.
    let config = std::fs::read_to_string(work.join(".git/config")).unwrap();
    assert!(!config.contains("ghs_"), "{config}");
}

#[test]
fn a_dead_token_is_erased_revoked_and_replaced() {
    let office = Office::new();
    let broker = start(&office);
    let desk = Desk::new(&office, &broker);
    desk.clone_site();
    let first = desk.server.shown.lock().unwrap()[0].clone();
    // Revoked at GitHub, behind the broker's back.
    office.github.world().tokens.get_mut(&first).unwrap().revoked = true;
    // git is refused, has the token erased, and the next try has a new one.
    let url = desk.server.url("acme/site");
    let mut fetch = desk.command("git");
    assert!(!fetch.args(["ls-remote", &url]).output().unwrap().status.success());
    run(desk.command("git").args(["ls-remote", &url]));
    let shown = desk.server.shown.lock().unwrap().clone();
    assert_ne!(shown.last(), Some(&first));
    assert!(broker.audit().contains(r#""event":"revoke""#));
}

#[test]
fn nobody_else_gets_a_token() {
    let office = Office::new();
    let broker = start(&office);
    let desk = Desk::new(&office, &broker);
    let port = desk.server.port;
    for input in [
        format!("protocol=http\nhost=localhost:{port}\npath=acme/site\n\n"),
        format!("protocol=https\nhost=localhost:{}\npath=acme/site\n\n", port + 1),
        "protocol=https\nhost=gitlab.com\npath=acme/site\n\n".to_owned(),
        format!("protocol=https\nhost=localhost:{port}.evil.example\npath=acme/site\n\n"),
        format!("protocol=ssh\nhost=localhost:{port}\npath=acme/site\n\n"),
        format!("host=localhost:{port}\npath=acme/site\n\n"),
    ] {
        let output = desk.helper("get", &input);
        assert!(output.stdout.is_empty(), "{input}");
        ok(&output);
    }
    assert_eq!(office.github.mints(), 0);
    let output = desk.helper("get", &format!("protocol=https\nhost=localhost:{port}\n\n"));
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(said(&output).contains("useHttpPath true"), "{}", said(&output));
    for path in ["acme", "acme/../site", "", "acme/%2e%2e"] {
        let output = desk.helper("get", &desk.about(path));
        assert!(!output.status.success() && output.stdout.is_empty(), "{path}");
    }
}

#[test]
fn the_helper_says_until_when_and_never_null() {
    let office = Office::new();
    let broker = start(&office);
    let desk = Desk::new(&office, &broker);
    let output = desk.helper("get", &desk.about("acme/site.git/info/lfs"));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "username=x-access-token");
    assert!(lines[1].starts_with("password=ghs_"));
    let expires: i64 = lines[2].strip_prefix("password_expiry_utc=").unwrap().parse().unwrap();
    assert!(expires > office.github.now());
    // A refusal is a message, not the password `null`.
    let output = desk.helper("get", &desk.about("acme/unknown"));
    assert!(output.stdout.is_empty() && !output.status.success());
    assert!(said(&output).contains("not installed on acme/unknown"), "{}", said(&output));
    for action in ["store", "whatever"] {
        assert!(desk.helper(action, &desk.about("acme/site")).stdout.is_empty());
    }
}

#[test]
fn a_broker_that_is_away_or_silent_is_named_in_five_seconds() {
    let office = Office::new();
    let mut broker = start(&office);
    let mut desk = Desk::new(&office, &broker);
    broker.stop();
    let output = desk.helper("get", &desk.about("acme/site"));
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(said(&output).contains("does not answer"), "{}", said(&output));

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    desk.broker_url = format!("http://{}", silent.local_addr().unwrap());
    let began = Instant::now();
    let output = desk.helper("get", &desk.about("acme/site"));
    assert!(said(&output).contains("does not answer"), "{}", said(&output));
    // Five seconds are the promise; the rest is this machine's load.
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_thread_uses_its_capability_and_reads_where_it_may_not_write() {
    use secrecy::SecretString;
    use tinyclaw_broker::Capability;
    let mut office = Office::new();
    office.set("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET).set("BROKER_SECRET", CLIENT_SECRET);
    let broker = start(&office);
    let mut desk = Desk::new(&office, &broker);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let capability = Capability {
        thread: "42".to_owned(),
        repositories: vec!["acme/site".parse().unwrap()],
        permissions: [("contents".to_owned(), "read".to_owned())].into(),
        expires: now.as_secs() as i64 + 600,
        run: None,
    };
    let text = capability.sign(&SecretString::from(CAPABILITY_SECRET));
    let file = office.write("thread.capability", &text);
    assert!(!desk.helper("get", &desk.about("acme/site")).status.success(), "a bearer is required");
    desk.env.push(("TINYCLAW_CAPABILITY_FILE".into(), file.display().to_string()));
    let work = desk.clone_site();
    std::fs::write(work.join("x"), "x").unwrap();
    ok(&desk.git(&work, "add x"));
    ok(&desk.git(&work, "commit -q -m x"));
    assert!(!desk.git(&work, "push -q origin HEAD:main").status.success(), "it may only read");
    assert!(!desk.helper("get", &desk.about("acme/docs")).status.success());
    assert!(
        broker
            .audit()
            .contains(r#""event":"token","decision":"granted","client":"thread","thread":"42""#)
    );
}

#[test]
fn an_installation_that_may_only_read_can_be_cloned() {
    let office = Office::new();
    let read = ("contents".to_owned(), "read".to_owned());
    office.github.world().installations.get_mut(&12345).unwrap().permissions.extend([read]);
    let broker = start(&office);
    Desk::new(&office, &broker).clone_site();
}

#[test]
fn a_github_with_an_untrusted_certificate_gets_no_jwt() {
    let mut office = Office::new();
    let server =
        GitServer::start(office.folder.path(), office.folder.path(), office.github.clone());
    office.set("GITHUB_API_URL", &format!("https://localhost:{}", server.port));
    let broker = start(&office);
    let (status, body) = broker.get("/token?installation_id=12345&repositories=site");
    assert_eq!((status, &body["code"]), (502, &json!("github_unavailable")), "{body}");
    assert!(body["error"].as_str().unwrap().contains("cannot connect"), "{body}");
}

/// A `gh` that shows its arguments and the hash of its token.
fn fake_gh(office: &Office) -> PathBuf {
    let folder = office.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let script = "#!/bin/sh\nset -eu\nprintf 'args=%s\\n' \"$*\"\n\
                  printf 'token=%s\\n' \"$(printf %s \"${GH_TOKEN:-${GH_ENTERPRISE_TOKEN:-}}\" | sha256sum | cut -c1-64)\"\n";
    let path = folder.join("gh");
    std::fs::write(&path, script).unwrap();
    mode(&path, 0o755);
    folder
}

#[test]
fn gh_gets_a_token_for_the_repository_at_hand() {
    use tinyclaw_broker::vault::digest_of;
    let office = Office::new();
    let broker = start(&office);
    let desk = Desk::new(&office, &broker);
    let real = fake_gh(&office);
    // Installed as `gh` before the real one.
    let front = office.path("front");
    std::fs::create_dir(&front).unwrap();
    std::os::unix::fs::symlink(HELPER, front.join("gh")).unwrap();
    let path = format!("{}:{}:{}", front.display(), real.display(), std::env::var("PATH").unwrap());
    let gh = |folder: &Path, host: &str, line: &str| {
        let mut gh = desk.command(front.join("gh").to_str().unwrap());
        gh.env("PATH", &path).env("TINYCLAW_GIT_HOST", host).current_dir(folder);
        gh.args(line.split(' ')).output().unwrap()
    };
    let none = digest_of("");
    let token_of = |output: &Output| {
        ok(output);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|it| it.strip_prefix("token=")).unwrap().to_owned()
    };
    let known = |digest: &str| {
        let world = office.github.world();
        let found = world.tokens.iter().find(|(token, _)| digest_of(token) == digest);
        found.and_then(|(_, scope)| scope.repositories.clone()?.into_iter().next())
    };

    let output = gh(office.folder.path(), "github.com", "pr create --repo acme/docs --title x");
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .contains("args=pr create --repo acme/docs --title x\n")
    );
    assert_eq!(known(&token_of(&output)), Some("docs".to_owned()));
    // From the folder's origin.
    let work = desk.clone_site();
    let host = format!("localhost:{}", desk.server.port);
    assert_eq!(known(&token_of(&gh(&work, &host, "pr create --fill"))), Some("site".to_owned()));
    // Another host's repository, no repository, and commands that need none.
    for (folder, host, line) in [
        (work.as_path(), "github.com", "pr create --fill"),
        (office.folder.path(), "github.com", "pr list"),
        (office.folder.path(), "github.com", "pr view https://gitlab.com/acme/site/pull/1"),
        (work.as_path(), host.as_str(), "--version"),
    ] {
        assert_eq!(token_of(&gh(folder, host, line)), none, "{line}");
    }
    let output = gh(office.folder.path(), "github.com", "pr list");
    assert!(said(&output).contains("no repository on github.com"), "{}", said(&output));
    let output = gh(office.folder.path(), "github.com", "pr list -R acme/unknown");
    assert!(
        !output.status.success() && said(&output).contains("not installed"),
        "{}",
        said(&output)
    );
}
