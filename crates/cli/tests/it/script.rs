//! `./tinyclaw.sh` as an operator types it, in a checkout of its own, over a Docker that only says what it was asked. The
//! real one is asked by `scripts/test-containers.sh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tinyclaw_testkit::state::Place;

use crate::{Said, copy};

/// A Docker that does nothing and says yes, but for what a test says of it in a `case` over its words, `compose` and the
/// compose file's profiles left out. Nothing runs, unless `running` is there.
const DOCKER: &str = r#"#!/bin/sh
here="$(dirname "$0")"
echo "$*" >>"$here/asked"
words=" $* "
case "$words" in " compose version " | " info ") exit 0 ;; esac
case "$words" in
@ANSWERS@
    *" ps --quiet "*) cat "$here/running" 2>/dev/null || true ;;
    *" stat -c %u "*) echo 10001 ;;
    *" inspect --format {{.State.Health.Status}} "*) echo healthy ;;
    *" inspect --format {{.State.Running}} "*) echo true ;;
esac
"#;

/// An operator's checkout.
struct Checkout {
    place: Place,
}

impl Checkout {
    /// With these lines in `.env`, or without one.
    fn new(env: Option<&str>, answers: &str) -> Checkout {
        let checkout = Checkout { place: Place::new().expect("place") };
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for name in ["tinyclaw.sh", "docker-compose.yml", ".env.example", "scripts", "systemd"] {
            copy(&top.join(name), &checkout.path(name));
        }
        if let Some(env) = env {
            fs::write(checkout.path(".env"), env).expect(".env");
            fs::set_permissions(checkout.path(".env"), fs::Permissions::from_mode(0o600))
                .expect("its mode");
        }
        fs::create_dir(checkout.docker("")).expect("a folder");
        fs::write(checkout.docker("docker"), DOCKER.replace("@ANSWERS@", answers)).expect("docker");
        fs::set_permissions(checkout.docker("docker"), fs::Permissions::from_mode(0o755))
            .expect("its mode");
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path("home/office").join(name)
    }

    fn docker(&self, name: &str) -> PathBuf {
        self.place.path("home/docker").join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("./tinyclaw.sh");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear().env("PATH", format!("{}:{path}", self.docker("").display()));
        command.env("HOME", self.place.home()).env("CI", "true").args(words);
        command.current_dir(self.path("")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().expect("a shell"))
    }

    /// What Docker was asked, a line a call.
    fn asked(&self) -> String {
        fs::read_to_string(self.docker("asked")).unwrap_or_default()
    }
}

#[test]
fn start_names_what_stands_in_env_and_reaches_no_container() {
    let env = "TINYCLAW_BUDGET_THREAD_PER_DAY=2\nTINYCLAW_ADMIN=101\n# SOME=note\nEMPTY=\nTINYCLAW_DASHBOARD_PORT=1\n\
        TELEGRAM_BOT_TOKEN_FILE=/home/ada/token\nCOMPOSE_PROJECT_NAME=office\n";
    let checkout = Checkout::new(Some(env), "");
    let said = checkout.run(&["start"]);
    let told = "read by no container: TINYCLAW_ADMIN TELEGRAM_BOT_TOKEN_FILE\n";
    assert!(said.err.contains(told), "{said:?}");
    assert!(said.ok().contains("TinyClaw is up"));
    assert!(checkout.asked().contains(" up --detach --build"));
}
