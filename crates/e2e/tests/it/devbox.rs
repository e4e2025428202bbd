//! A devbox from the first word to the last, as the people of a forum see it: `devbox.txt`. The machine is this one, over a real
//! sshd with a HOME of its own; everything is real but Telegram and the model.

use std::path::Path;

use expect_test::expect_file;
use tinyclaw_e2e::github::{GitHub, git};
use tinyclaw_e2e::{Forum, program};
use tinyclaw_testkit::sshd::Sshd;
use tinyclaw_testkit::telegram::{ADA, FORUM};

use crate::day::{as_read, until_still};

/// A machine with a Claude, which is the demo engine, and a directory to work in.
struct Machine {
    sshd: Sshd,
    dir: tempfile::TempDir,
}

impl Machine {
    fn open(test: &str) -> Option<Machine> {
        let dir = tempfile::Builder::new().prefix("tinyclaw-devbox-").tempdir().expect("folder");
        let home = dir.path().join("home");
        for below in ["home/.local/bin", "srv"] {
            std::fs::create_dir_all(dir.path().join(below)).expect("folder");
        }
        std::os::unix::fs::symlink(program("tinyclaw-demo-engine"), home.join(".local/bin/claude"))
            .expect("claude");
        std::fs::create_dir(home.join(".claude")).expect("folder");
        std::fs::write(home.join(".claude/.credentials.json"), "{}").expect("a login");
        // Before any Claude that this machine may have.
        let path = "PATH=\"$HOME/.local/bin:$PATH\"\n";
        std::fs::write(home.join(".profile"), path).expect("profile");
        std::fs::write(dir.path().join("srv/notes.txt"), "buy figs\n").expect("a file");
        Some(Machine { sshd: Sshd::start(test, &home)?, dir })
    }

    /// Its directory becomes a checkout of a repository, as a person made it who cannot push any more.
    fn check_out(&self, github: &GitHub, repository: &str) {
        let (dir, home) = (self.dir.path().join("srv"), self.dir.path().join("home"));
        git(&dir, &["init", "-q", "-b", "main"]);
        let address = format!("{}/{repository}.git", github.address());
        git(&dir, &["remote", "add", "origin", &address]);
        git(&dir, &["config", "user.name", "Ada"]);
        git(&dir, &["config", "user.email", "ada@example.com"]);
        std::fs::copy(github.certificate(), home.join("ca.pem")).expect("the certificate");
        let profile = "PATH=\"$HOME/.local/bin:$PATH\"\nexport GIT_SSL_CAINFO=\"$HOME/ca.pem\"\n";
        std::fs::write(home.join(".profile"), profile).expect("profile");
    }

    /// Whether a file of the machine has these words.
    fn has_kept(&self, words: &str) -> bool {
        fn has(dir: &Path, words: &str) -> bool {
            std::fs::read_dir(dir).into_iter().flatten().flatten().any(|it| {
                match it.file_type().is_ok_and(|it| it.is_dir()) {
                    true => has(&it.path(), words),
                    // A program has the word by which such a token begins, to conceal it.
                    false if it.metadata().is_ok_and(|it| !it.is_file() || it.len() > 1 << 20) => {
                        false
                    }
                    false => std::fs::read(it.path())
                        .is_ok_and(|it| it.windows(words.len()).any(|it| it == words.as_bytes())),
                }
            })
        }
        has(self.dir.path(), words)
    }

    fn dir(&self) -> String {
        self.dir.path().join("srv").display().to_string()
    }

    fn order(&self, name: &str) -> String {
        format!(
            "/devbox add {name} 127.0.0.1:{} {} {}",
            self.sshd.port(),
            self.sshd.user(),
            self.dir()
        )
    }

    fn variables(&self) -> [(String, String); 2] {
        let key = self.sshd.key().display().to_string();
        [("ENABLE_DEVBOX".to_owned(), "true".to_owned()), ("DEVBOX_SSH_KEY_PATH".to_owned(), key)]
    }

    /// A transcript without what differs from machine to machine.
    fn anywhere(&self, text: &str) -> String {
        let fingerprint = |line: &str| -> String {
            let words =
                line.split(' ').map(|it| match it.trim_start_matches('`').starts_with("SHA256:") {
                    true => "SHA256:…",
                    false => it,
                });
            words.collect::<Vec<_>>().join(" ")
        };
        let text = text
            .replace(&self.dir(), "/srv/api")
            .replace(&format!("127.0.0.1:{}", self.sshd.port()), "127.0.0.1:22")
            .replace(&format!("{}@", self.sshd.user()), "deploy@")
            .replace(&format!(" {} /srv", self.sshd.user()), " deploy /srv");
        // The buttons that were pressed go when Telegram's limits let them, sooner on a slow machine.
        let is_buttons = |it: &&str| it.trim().starts_with("[ ") && it.ends_with(" ]");
        text.lines()
            .filter(|it| !is_buttons(it))
            .map(|it| format!("{}\n", fingerprint(it)))
            .collect()
    }

    /// What of the helper runs there.
    fn processes(&self) -> Vec<String> {
        let root = self.dir.path().display().to_string();
        let found = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let of_it = |pid: &Path| {
            let line = std::fs::read(pid.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let exe = std::fs::read_link(pid.join("exe")).ok()?;
            (line.contains(&root) || exe.starts_with(&root)).then_some(line)
        };
        found.filter_map(|it| of_it(&it.path())).collect()
    }
}

#[test]
fn a_devbox_is_added_worked_on_cut_off_and_removed() {
    let Some(machine) = Machine::open("a_devbox_is_added_worked_on_cut_off_and_removed") else {
        return;
    };
    let variables = machine.variables();
    let mut env: Vec<(&str, &str)> =
        variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    env.push(("TINYCLAW_TELEGRAM_COST_LINE", "never"));
    let admin = ADA.to_string();
    env.push(("TINYCLAW_ADMINS", admin.as_str()));
    let mut forum = Forum::open_with(&env);

    // Not everybody's.
    forum.bob(None, &machine.order("box"));
    forum.until("Only admins may");

    // Whose key is that?
    forum.ada(None, &machine.order("box"));
    let number = forum.found("the topic", |it| it.topic_named(FORUM, "devbox: box"));
    let topic = Some(number);
    forum.until("Is this box?");
    assert!(!machine.dir.path().join("home/.local/share").exists(), "nothing was sent to it yet");
    forum.press("It is");
    forum.until("Ready. Write here, and Claude on box answers.");
    // Added twice, it is one.
    forum.ada(None, &machine.order("box"));
    forum.until("There is a devbox box already");

    // A question, its answer.
    forum.ada(topic, "Good morning. [demo: say Good morning, Ada. I am on box.]");
    forum.until("    Good morning, Ada. I am on box.");

    // Another key: set up anew, or somebody stands between. Nothing runs there until a person has said which.
    machine.sshd.change_host_key().expect("another key");
    machine.sshd.cut();
    forum.ada(topic, "Are you still there? [demo: say I am, with another key.]");
    forum.until("box waits for a person: the key of box has changed");
    forum.press("Try again");
    forum.until("The key of box has changed.");
    forum.press("Trust it");
    forum.until("    I am, with another key.");
    until_still(&forum);

    // Watch it, stop it.
    forum.ada(topic, "Tell me everything about this machine. [demo: hang]");
    forum.until("[ Stop ]");
    forum.until(" on box · ");
    forum.press("Stop");
    forum.until("The session is kept.");

    // May I?
    forum.ada(topic, "Clean up the build folder. [demo: ask]");
    forum.until("[ Allow ] [ Always here ] [ Deny ]");
    forum.press("Deny");
    forum.until_gone("[ Allow ]");
    until_still(&forum);

    // A file of that machine.
    forum.ada(topic, "Send me the notes. [demo: call send_file {\"path\":\"notes.txt\"}]");
    forum.until("notes.txt>");

    // Cut off in the middle of an answer.
    let dials = machine.sshd.accepted();
    forum.ada(
        topic,
        "Count the files. [demo: slow 4s] [demo: say There are three files here, I think.]",
    );
    forum.until("There are");
    machine.sshd.cut();
    forum.until("    There are three files here, I think.\n");
    forum.found("another connection", |_| (machine.sshd.accepted() > dials).then_some(()));

    // The bot dies in the middle of one, and goes on with it.
    forum.ada(topic, "And the folders? [demo: slow 4s] [demo: say There is one folder only.]");
    forum.until("There is one");
    forum.office.kill();
    forum.office.start();
    forum.until("    There is one folder only.\n");
    until_still(&forum);

    // Gone again.
    forum.ada(topic, "/devbox remove box");
    forum.until("[ Remove ] [ Keep ]");
    forum.press("Remove");
    forum.until("Removed.");
    until_still(&forum);
    forum.ada(None, "/devbox list");
    forum.until("No devboxes yet");
    until_still(&forum);
    forum.found("the last reactions", |it| (!it.transcript(FORUM).contains("👀")).then_some(()));
    let base = forum.office.path("").display().to_string();
    let read = as_read(&forum.transcript(), base.trim_end_matches('/'));
    expect_file!["./devbox.txt"].assert_eq(&machine.anywhere(&read));
    forum.close();
    machine.sshd.cut();
    assert!(
        machine.processes().iter().all(|it| !it.contains("/claude")),
        "{:?}",
        machine.processes()
    );
}

#[test]
fn git_on_a_devbox_pushes_while_an_admin_lets_it_have_tokens() {
    let Some(machine) = Machine::open("git_on_a_devbox_pushes") else { return };
    let github = GitHub::open(&["acme/site"]);
    machine.check_out(&github, "acme/site");
    let (variables, admin) = (machine.variables(), ADA.to_string());
    let mut env: Vec<(&str, &str)> =
        variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    env.push(("TINYCLAW_ADMINS", admin.as_str()));
    env.extend(github.env());
    let mut forum = Forum::open_with(&env);
    forum.ada(None, &machine.order("box"));
    let topic = Some(forum.found("the topic", |it| it.topic_named(FORUM, "devbox: box")));
    forum.until("Is this box?");
    forum.press("It is");
    forum.until("Ready. Write here, and Claude on box answers.");

    let push = |forum: &mut Forum, number: u32| {
        let script = format!(
            "set -e\ngit pull -q origin main\necho {number} > pushed\ngit add pushed\n\
             git commit -q -m 'push {number}'\ngit push -q origin main\n"
        );
        std::fs::write(Path::new(&machine.dir()).join(format!("push-{number}.sh")), script)
            .expect("a script");
        forum.ada(topic, &format!("Push number {number}. [demo: work haiku push-{number}.sh]"));
    };
    // Off at first, and not everybody's.
    push(&mut forum, 1);
    forum.until("push-1.sh ended with");
    forum.bob(topic, "/devbox git box on");
    forum.until("Only admins may");
    forum.ada(topic, "/devbox git box on");
    forum.until("    Claude on box may ask for tokens of acme/site.\n");
    push(&mut forum, 2);
    forum.until("    Done.");
    // The broker tells of a token for that repository; on the machine it is kept nowhere.
    let audit = github.audit();
    assert!(!audit.is_empty(), "the broker gave none");
    assert!(audit.iter().all(|it| it["repositories"][0] == "site"), "{audit:?}");
    assert!(!machine.has_kept("ghs_"), "a token was kept there");
    forum.ada(topic, "/devbox git box off");
    forum.until("    No tokens for box.\n");
    push(&mut forum, 3);
    forum.until("push-3.sh ended with");
    assert_eq!(github.audit().len(), audit.len());
    forum.close();
    machine.sshd.cut();
}

#[test]
fn another_office_in_the_directory_is_told_of_and_leaves_when_an_admin_says_so() {
    let Some(machine) = Machine::open("another_office_in_the_directory") else { return };
    let (variables, admin) = (machine.variables(), ADA.to_string());
    let mut env: Vec<(&str, &str)> =
        variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    env.push(("TINYCLAW_ADMINS", admin.as_str()));
    let open = || {
        let forum = Forum::open_with(&env);
        forum.ada(None, &machine.order("box"));
        let topic = forum.found("the topic", |it| it.topic_named(FORUM, "devbox: box"));
        forum.until("Is this box?");
        forum.press("It is");
        forum.until("Ready. Write here, and Claude on box answers.");
        (forum, Some(topic))
    };
    let (first, of_first) = open();
    first.ada(of_first, "Good morning. [demo: hang]");
    first.until(" on box · ");
    let (second, of_second) = open();
    second.ada(of_second, "Good evening. [demo: say Good evening, Ada.]");
    let shown = second.until("[ Take over ]");
    let works = format!(" works in {} since ", machine.dir());
    assert!(shown.contains(&works) && shown.contains("/devbox take over box"), "{shown}");
    second.press("Take over");
    second.until("Taken over: what office ");
    second.until("    Good evening, Ada.");
    // The first one asks again, and finds the second.
    first.until(&works);
    first.until("[ Take over ]");
    first.close();
    second.close();
    machine.sshd.cut();
}
