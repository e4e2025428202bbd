//! Git: what an agent prepares in its repository, its home or beside its folder for the git that TinyClaw runs.

use std::fs;
use std::path::PathBuf;

use tinyclaw_domain::{Command, Outcome, Reply};
use tinyclaw_e2e::github::GitHub;

use crate::den::{Den, Verdict};

/// An office with a GitHub, in whose thread 7 a hostile agent works on `acme/site`.
struct Repos {
    den: Den,
    // Held for its end.
    _github: GitHub,
}

impl Repos {
    fn open() -> Repos {
        // The den becomes the bot's user; its GitHub is made by the same one.
        drop(Den::open());
        let github = GitHub::open(&["acme/site", "acme/docs"]);
        let den = Den::open_prepared(&github.env(), |den| {
            // So that git finds this GitHub's certificate with the home's configuration, too.
            fs::create_dir_all(den.join("home")).expect("folder");
            let text = format!("[http]\n\tsslCAInfo = {}\n", github.certificate());
            fs::write(den.join("home/.gitconfig"), text).expect("file");
        });
        let mut repos = Repos { den, _github: github };
        repos.open_repo("7", "acme/site");
        repos
    }

    /// `/new NAME org/repo`: it works, so that nothing is refused by accident.
    fn open_repo(&mut self, thread: &str, repo: &str) {
        let reply = self.order_repo(thread, repo);
        assert_eq!(reply.outcome, Outcome::Notice, "{}", reply.text);
    }

    fn order_repo(&mut self, thread: &str, repo: &str) -> Reply {
        let mut message = self.den.message(thread, "");
        message.command =
            Some(Command::Open { name: None, dir: None, repo: Some(repo.to_owned()) });
        let key = self.den.publish(message);
        self.den.answer(&key)
    }

    fn cwd(&self, thread: &str) -> PathBuf {
        PathBuf::from(&self.den.threads()[&thread.parse().expect("thread")].cwd)
    }

    /// Has the agent of thread 7 prepare something with `$PAYLOAD`, a program of its own that says where it ran, and
    /// then people open every kind of desk. What the agent prepared runs nowhere but at its own desk.
    #[track_caller]
    fn nothing_runs_outside(mut self, prepare: &str) {
        let names = r#"
            PAYLOAD="$(pwd)/.git/payload"; RAN="$(pwd)/.git/ran"
            cat > "$PAYLOAD" <<END
#!/bin/sh
touch "$RAN"
cat "$STATE/threads.json" >> "$RAN"
touch "$STATE/owned"
cat
exit 0
END
            chmod +x "$PAYLOAD"
        "#;
        let ran = self.den.run("7", &format!("set -e\n{names}\n{prepare}"));
        ran.is_done();
        let marker = self.cwd("7").join(".git/ran");
        for (thread, repo) in [("8", "acme/site"), ("9", "acme/docs"), ("7", "acme/docs")] {
            let reply = self.order_repo(thread, repo);
            assert!(!self.den.path("state/owned").exists(), "it wrote into the state");
            assert_eq!(reply.outcome, Outcome::Notice, "{}", reply.text);
            // What it did to its own git is its own trouble.
            self.den.run(thread, "git status --short; git log -1 --format=%s");
        }
        assert!(!self.den.path("state/owned").exists(), "it wrote into the state");
        let told = fs::read_to_string(&marker).unwrap_or_default();
        assert!(!told.contains("\"cwd\""), "it read the threads: {told}");
    }
}

#[test]
fn a_hooks_path_in_the_home_runs_at_no_other_desk() {
    Repos::open().nothing_runs_outside(
        r#"mkdir hooks
        for it in post-checkout reference-transaction post-index-change; do cp "$PAYLOAD" hooks/$it; done
        git config --global core.hooksPath "$(pwd)/hooks"
        git checkout -q -b tried && [ -e "$RAN" ]"#,
    );
}

#[test]
fn a_hook_of_a_checkout_runs_for_no_second_desk() {
    Repos::open().nothing_runs_outside(
        r#"mkdir -p .git/hooks
        for it in post-checkout reference-transaction pre-auto-gc; do cp "$PAYLOAD" .git/hooks/$it; done
        git checkout -q -b tried && [ -e "$RAN" ]"#,
    );
}

#[test]
fn a_filesystem_monitor_runs_for_no_second_desk() {
    Repos::open().nothing_runs_outside(
        r#"git config core.fsmonitor "$PAYLOAD"
        git config --global core.fsmonitor "$PAYLOAD"
        git status && [ -e "$RAN" ]"#,
    );
}

#[test]
fn a_filter_runs_for_no_second_desk() {
    Repos::open().nothing_runs_outside(
        r#"for where in --local --global; do
            git config $where filter.x.smudge "$PAYLOAD"; git config $where filter.x.clean "$PAYLOAD"
        done
        mkdir -p .git/info "$HOME/.config/git"
        echo '* filter=x' | tee .git/info/attributes > "$HOME/.config/git/attributes"
        rm README.md && git checkout -q -- README.md && [ -e "$RAN" ]"#,
    );
}

#[test]
fn a_credential_helper_is_asked_by_no_git_of_ours() {
    Repos::open().nothing_runs_outside(
        r#"for where in --local --global; do
            git config $where credential.helper "!$PAYLOAD"
            git config $where core.askPass "$PAYLOAD"; git config $where core.sshCommand "$PAYLOAD"
        done
        printf 'protocol=https\nhost=h.example\n\n' | git credential fill || true
        [ -e "$RAN" ]"#,
    );
}

#[test]
fn an_included_file_and_a_template_configure_no_git_of_ours() {
    Repos::open().nothing_runs_outside(
        r#"mkdir -p template/hooks
        for it in post-checkout post-commit; do cp "$PAYLOAD" template/hooks/$it; done
        git config -f more init.templateDir "$(pwd)/template"
        git config -f more alias.worktree "!$PAYLOAD"
        git config --global include.path "$(pwd)/more"
        git config include.path "$(pwd)/more"
        git init -q elsewhere
        git -C elsewhere -c user.name=x -c user.email=x@example.com commit -q --allow-empty -m x
        [ -e "$RAN" ]"#,
    );
}

#[test]
fn a_submodule_and_an_address_of_another_kind_are_not_followed() {
    Repos::open().nothing_runs_outside(
        r#"sed '/^cat$/d' "$PAYLOAD" > "$PAYLOAD.x"; chmod +x "$PAYLOAD.x"; PAYLOAD="$PAYLOAD.x"
        git config --global protocol.ext.allow always
        git config --global protocol.file.allow always
        git config --global url."ext::$PAYLOAD ".insteadOf https://
        git config url."ext::$PAYLOAD ".insteadOf https://
        git config --global submodule.recurse true
        git ls-remote "ext::$PAYLOAD x" || true
        [ -e "$RAN" ]"#,
    );
}

/// The next desk's clone would be made through it.
#[test]
fn a_link_where_a_clone_is_made_leads_nowhere() {
    let mut repos = Repos::open();
    let script = r#"mkdir -p acme
        ln -s "$STATE/queue/incoming" acme/.docs.partial
        ln -s "$STATE/queue" acme/docs"#;
    // The folder that its checkouts are made in is the agent's only until it has one.
    repos.den.run("6", script).is_done();
    let reply = repos.order_repo("6", "acme/docs");
    let cwd = repos.cwd("6");
    assert!(!cwd.canonicalize().expect("cwd").starts_with(repos.den.path("state")), "{reply:?}");
    repos.den.run("6", "echo '{}' > incoming/cli-99.json").is_missing();
    assert!(repos.den.path("state/queue/incoming").is_dir());
    let left = fs::read_dir(repos.den.path("state/queue/incoming")).expect("folder").count();
    assert_eq!(left, 0);
}

#[test]
fn no_desk_writes_the_mirror_or_another_clone() {
    let mut repos = Repos::open();
    repos.open_repo("8", "acme/site");
    let first = repos.cwd("7").display().to_string();
    repos.den.run("7", "echo x > .git/hooks-of-mine").is_done();
    for script in [
        "ls \"$STATE/mirrors\"".to_owned(),
        format!("echo x > '{first}/.git/hooks/post-checkout'"),
        format!("echo x >> '{first}/.git/config'"),
        format!("cat '{first}/.git/config'"),
        format!("mkdir -p '{first}/.claude'"),
    ] {
        repos.den.run("8", &script).is_refused();
    }
    let script = r#"case "$(git rev-parse --path-format=absolute --git-common-dir)" in "$(pwd)"/*) ;; *) exit 1 ;; esac"#;
    repos.den.run("8", script).is_done();
}
