//! Threads on repositories: the processor, git, the credential helper and the broker, all real; only GitHub is the
//! broker's fake one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tinyclaw_domain::{Command as Order, Outcome, Reply, Trust};
use tinyclaw_e2e::Office;
use tinyclaw_e2e::github::{GitHub, git};

/// An office that works with a GitHub.
struct Desks {
    office: Office,
    github: GitHub,
}

impl Desks {
    fn open() -> Desks {
        let github = GitHub::open(&["acme/site"]);
        Desks { office: Office::open_with(&github.env()), github }
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

    /// Whether a thread's capability opens a repository.
    fn helper(&self, thread: &str, repo: &str) -> bool {
        let capability = self.office.path("state/files").join(thread).join(".capability");
        self.github.helper(&capability, repo)
    }
}

#[test]
fn what_a_repository_brings_is_told_and_counts_by_an_admins_word_alone() {
    let mut desks = Desks::open();
    for (file, text) in [
        ("CLAUDE.md", "The house word is quince."),
        (".mcp.json", "{}"),
        (".claude/skills/deploy/SKILL.md", "Deploy."),
        (".claude/settings.json", r#"{"hooks":{},"env":{},"evil\nkey":1}"#),
    ] {
        desks.github.push_text("acme/site", file, text);
    }
    let said = desks.open_repo("7", "acme/site");
    let (_, card) = said.text.split_once("\n\n").expect("a card");
    assert_eq!(
        card,
        "The repository brings:\n- Claude is told: `CLAUDE.md`\n- neither counts nor runs: `.claude/settings.json`, \
         `.claude/skills`; its settings have `hooks`, `env`\n- never counts: `.mcp.json`; an admin adds servers by /mcp"
    );
    let [button] = &said.buttons[..] else { panic!("{:?}", said.buttons) };
    assert_eq!(button.label, "Let its settings count");

    let mut trust = |admin| {
        let mut message = desks.office.message("7", "");
        message.command = Some(Order::Trust { trust: Trust::Settings, admin });
        let key = desks.office.publish(message);
        desks.office.answer(&key)
    };
    assert_eq!(trust(false).outcome, Outcome::Failed);
    assert_eq!(trust(true).outcome, Outcome::Notice);
    let said = desks.open_repo("7", "acme/site");
    assert!(said.text.contains("counts and may run: `.claude/settings.json`"), "{}", said.text);
    assert!(said.buttons.is_empty());
}

#[test]
fn settings_behind_a_link_are_told_as_well() {
    let mut desks = Desks::open();
    desks.github.push_text("acme/site", "tools/settings.json", r#"{"hooks":{}}"#);
    desks.github.push_link("acme/site", ".claude", "tools");
    let said = desks.open_repo("7", "acme/site");
    assert!(said.text.ends_with("\n- neither counts nor runs: `.claude`"), "{}", said.text);
    assert_eq!(said.buttons.len(), 1);
}

#[test]
fn each_desk_on_a_repository_has_a_clone_of_its_own_by_its_own_capability() {
    let mut desks = Desks::open();
    let said = desks.open_repo("7", "acme/site");
    assert_eq!(said.outcome, Outcome::Notice, "{}", said.text);
    let first = desks.cwd("7");
    assert!(first.ends_with("acme/site") && first.join("README.md").is_file());
    let audit = desks.github.audit();
    let granted = audit.last().expect("a token");
    assert_eq!(granted["decision"], "granted");
    assert_eq!((&granted["client"], &granted["thread"]), (&"thread".into(), &"7".into()));

    // A second desk on it gets a clone and a branch of its own, and asks for it by itself.
    let said = desks.open_repo("8", "acme/site");
    assert!(said.text.contains("a clone of its own on branch `tinyclaw/8`"), "{}", said.text);
    let second = desks.cwd("8");
    assert!(second.join("README.md").is_file() && second.join(".git").is_dir());
    for (dir, thread) in [(&first, "7"), (&second, "8")] {
        assert_eq!(*dir, desks.office.path("work").join(thread).join("acme/site"));
        let origin = git(dir, &["remote", "get-url", "origin"]);
        assert_eq!(origin, format!("{}/acme/site.git", desks.github.address()));
    }
    assert_eq!(git(&second, &["branch", "--show-current"]), "tinyclaw/8");
    assert_eq!(git(&first, &["branch", "--show-current"]), "main");
    let asked = |it: &Value| it["thread"] == "8" && it["decision"] == "granted";
    assert!(desks.github.audit().iter().any(asked));
    // A file that both could write would be a way from one to the other.
    let inodes = |dir: &Path| -> Vec<u64> {
        let mut found = Vec::new();
        let mut todo = vec![dir.to_owned()];
        while let Some(dir) = todo.pop() {
            for it in std::fs::read_dir(dir).unwrap().flatten() {
                let about = it.metadata().unwrap();
                if about.is_dir() { todo.push(it.path()) } else { found.push(about.ino()) }
            }
        }
        found
    };
    let (one, other) = (inodes(&first), inodes(&second));
    let mirror = inodes(&desks.office.path("state/mirrors"));
    assert!(!mirror.is_empty());
    assert!(!one.iter().any(|it| other.contains(it) || mirror.contains(it)));
    assert!(!other.iter().any(|it| mirror.contains(it)));

    // The same again is where it was; and what GitHub got meanwhile a third desk has.
    assert_eq!(desks.open_repo("7", "acme/site").outcome, Outcome::Notice);
    assert_eq!(desks.cwd("7"), first);
    desks.github.push("acme/site", "NEW.md");
    desks.open_repo("9", "acme/site");
    assert!(desks.cwd("9").join("NEW.md").is_file());

    // What the office fetched with lay where no desk writes, and is gone. A turn makes the desk's own; it is good for this
    // repository, in this thread, and for no other.
    for left in ["files/7/.capability", "mirrors/.capability-7"] {
        assert!(!desks.office.path("state").join(left).exists(), "{left}");
    }
    let own = desks.office.path("state/files/7/.capability").display().to_string();
    let other = desks.office.path("state/files/8/.capability").display().to_string();
    desks.office.ask("8", "hello");
    let reply = desks.office.ask("7", &format!("[demo: open {own}] [demo: open {other}]"));
    assert!(reply.text.contains(&format!("`{own}`: can be read")), "{}", reply.text);
    if std::fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|it| it.contains("landlock")) {
        assert!(!reply.text.contains(&format!("`{other}`: can be read")), "{}", reply.text);
    }
    assert!(desks.helper("7", "acme/site"));
    assert!(!desks.helper("7", "acme/docs"), "installed, but not this thread's");
}

#[test]
fn a_repository_that_cannot_be_had_leaves_nothing_behind_and_says_why() {
    let mut desks = Desks::open();
    desks.office.ask("7", "hello");
    let before = desks.cwd("7");
    for bad in ["acme/secret", "acme", "../etc/passwd"] {
        let said = desks.open_repo("7", bad);
        assert_eq!(said.outcome, Outcome::Failed, "{bad}: {}", said.text);
        assert!(said.text.contains(bad), "{}", said.text);
    }
    assert_eq!(desks.cwd("7"), before);
    let left = |dir: &str| std::fs::read_dir(desks.office.path(dir)).unwrap().count();
    assert_eq!(left("work/7"), 0, "no half clone");
    assert_eq!(left("state/mirrors/acme"), 0, "no half mirror");
    assert_eq!(desks.office.ask("7", "still there?").outcome, Outcome::Answered);
}

#[test]
fn a_worktree_of_before_becomes_a_repository_of_its_own_with_its_work() {
    let mut desks = Desks::open();
    for thread in ["7", "8"] {
        desks.office.ask(thread, "hello");
    }
    desks.open_repo("7", "acme/site");
    desks.office.stop();
    // As an office of before left it: the first desk's clone in acme/site, the second's a worktree beside it.
    let first = desks.office.path("work/acme/site");
    let second = desks.office.path("work/acme/site.8");
    std::fs::create_dir(desks.office.path("work/acme")).unwrap();
    std::fs::rename(desks.cwd("7"), &first).unwrap();
    let path = second.display().to_string();
    git(&first, &["worktree", "add", "-q", "-B", "tinyclaw/8", &path]);
    std::fs::write(second.join("work.md"), "committed\n").unwrap();
    git(&second, &["add", "work.md"]);
    let ada = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
    git(&second, &[&ada[..], &["commit", "-q", "-m", "Work"]].concat());
    std::fs::write(second.join("README.md"), "changed\n").unwrap();
    std::fs::write(second.join("staged.md"), "staged\n").unwrap();
    git(&second, &["add", "staged.md"]);
    let before = [git(&second, &["status", "--short"]), git(&second, &["log", "--format=%H"])];
    desks.office.restart_with(|it| {
        it["7"]["cwd"] = first.display().to_string().into();
        it["8"]["cwd"] = path.clone().into();
        it["8"]["repo"] = "acme/site".into();
    });
    assert_eq!(desks.office.ask("8", "hello").outcome, Outcome::Answered);
    assert_eq!(desks.cwd("8"), second);
    assert!(second.join(".git").is_dir(), "a repository of its own");
    assert_eq!(git(&second, &["branch", "--show-current"]), "tinyclaw/8");
    let after = [git(&second, &["status", "--short"]), git(&second, &["log", "--format=%H"])];
    assert_eq!(before, after);
    let origin = format!("{}/acme/site.git", desks.github.address());
    assert_eq!(git(&second, &["remote", "get-url", "origin"]), origin);
    assert!(!git(&second, &["branch", "--remotes"]).is_empty());
}
