//! `./tinyclaw.sh` as an operator types it, in a checkout of its own, over a Docker that only says what it was asked. The
//! real one is asked by `scripts/test-containers.sh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tinyclaw_testkit::state::Place;

use crate::{PATIENCE, Said, copy};

/// A Docker that does nothing and says yes, but for what a test says of it in a `case` over its words. It notes what it was
/// asked behind the profiles, if it was given any. There is no image of the gateway. Nothing runs, unless `running` is there.
const DOCKER: &str = r#"#!/bin/sh
here="$(dirname "$0")"
echo "${COMPOSE_PROFILES:+($COMPOSE_PROFILES) }$*" >>"$here/asked"
words=" $* "
case "$words" in " compose version " | " info ") exit 0 ;; esac
case "$words" in
    *" image inspect tinyclaw-gateway"*) exit 1 ;;
@ANSWERS@
    *" ps --quiet "*) cat "$here/running" 2>/dev/null || true ;;
    *" stat -c %u "*) echo 10001 ;;
    *" inspect --format {{.State.Health.Status}} "*) echo healthy ;;
    *" inspect --format {{.State.Running}} "*) echo true ;;
esac
"#;

/// Who listens on this machine does not matter: the ports in `taken` are.
const SS: &str = r#"#!/bin/sh
port="${2##*:}"
if grep -qsx "$port" "$(dirname "$0")/taken"; then echo "LISTEN 0 4096 127.0.0.1:$port"; fi
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
        for name in [
            ".dockerignore",
            ".env.example",
            ".gitignore",
            "docker-compose.yml",
            "scripts",
            "systemd",
            "tinyclaw.sh",
        ] {
            copy(&top.join(name), &checkout.path(name));
        }
        if let Some(env) = env {
            fs::write(checkout.path(".env"), env).expect(".env");
            fs::set_permissions(checkout.path(".env"), fs::Permissions::from_mode(0o600))
                .expect("its mode");
        }
        fs::create_dir(checkout.docker("")).expect("a folder");
        for (name, text) in [("docker", &*DOCKER.replace("@ANSWERS@", answers)), ("ss", SS)] {
            fs::write(checkout.docker(name), text).expect("a program");
            fs::set_permissions(checkout.docker(name), fs::Permissions::from_mode(0o755))
                .expect("its mode");
        }
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

    fn git(&self, words: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(words);
        Said::of(git.current_dir(self.path("")).output().expect("git")).ok()
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

/// A closed laptop or an impatient operator once left the bot frozen for everybody.
#[test]
fn a_backup_that_is_interrupted_leaves_nobody_frozen() {
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let checkout =
            Checkout::new(Some(""), "    *\" run \"*) touch \"$here/reads\"; exec sleep 60 ;;");
        fs::write(checkout.docker("running"), "b07\n").expect("a container");
        let child = checkout.command(&["backup"]).process_group(0).spawn().expect("a shell");
        let until = Instant::now() + PATIENCE;
        while !checkout.docker("reads").exists() {
            assert!(Instant::now() < until, "{}", checkout.asked());
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_process_group(Pid::from_child(&child), signal).expect("a signal");
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!((ended.status.code(), ended.status.signal()), (Some(code), None), "{signal:?}");
        let asked = checkout.asked();
        let frozen = asked.find("\npause b07").expect("it was frozen");
        assert!(asked[frozen..].contains("\nunpause b07"), "{asked}");
        let left = fs::read_dir(checkout.path("")).expect("the checkout").flatten();
        let left = left.filter(|it| it.file_name().to_string_lossy().contains(".tar.gz"));
        assert_eq!(left.count(), 0, "half a backup");
    }
}

/// `git add .` and `COPY . .` take along whatever is not told to them.
#[test]
fn what_an_operator_leaves_in_the_checkout_goes_into_no_commit_and_no_image() {
    let checkout = Checkout::new(Some(""), "    *\" run \"*) tar -cz --files-from /dev/null ;;");
    let said = checkout.run(&["backup", "mine"]);
    assert!(said.err.contains("→ ./tinyclaw.sh backup mine.tar.gz"), "{said:?}");
    checkout.run(&["backup", "docs/mine.tar.gz"]).wrong("mkdir -p docs");
    let elsewhere = checkout.place.path("home/mine").display().to_string();
    checkout.run(&["backup", &elsewhere]).ok();
    checkout.run(&["backup"]).ok();
    checkout.git(&["init", "--quiet"]);
    let names: Vec<String> = fs::read_dir(checkout.path(""))
        .expect("the checkout")
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    let backup = names.iter().find(|it| it.ends_with(".tar.gz")).expect("a backup");
    let half = format!("{backup}.half");
    for name in [backup, &half, ".env", "secrets/github-app.pem", ".tinyclaw/threads.json"] {
        assert_eq!(checkout.git(&["check-ignore", name]).trim(), name);
    }
    let ignored = fs::read_to_string(checkout.path(".dockerignore")).expect("a file");
    for line in ["**/*.tar.gz", "**/*.half", ".env", ".env.*", "secrets", ".tinyclaw*"] {
        assert!(ignored.lines().any(|it| it == line), "{line}");
    }
}

/// A backup as `tar` of the keeper's container makes it.
fn backup(checkout: &Checkout) -> String {
    let file = checkout.place.path("home/backup.tar.gz");
    fs::create_dir_all(checkout.place.path("home/volumes/app/.tinyclaw")).expect("a folder");
    fs::write(checkout.place.path("home/volumes/app/.tinyclaw/threads.json"), "{}")
        .expect("threads");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(checkout.place.path("home/volumes")).arg("-czf").arg(&file).arg("app");
    Said::of(tar.output().expect("tar")).ok();
    file.display().to_string()
}

#[test]
fn on_a_fresh_server_restore_makes_what_is_missing() {
    let answers = r#"
    *" image inspect "*) [ -e "$here/built" ] || exit 1 ;;
    *" volume inspect "*) exit 1 ;;
    *" compose build "*) touch "$here/built" ;;
    *" up --no-start "*) [ -e "$here/built" ] || exit 1 ;;
    *" run "*) cat >"$here/restored" ;;"#;
    let checkout = Checkout::new(None, answers);
    let file = backup(&checkout);
    let said = checkout.run(&["restore", &file]).ok();
    assert!(said.contains("building the images") && said.contains("restored from"), "{said}");
    let env = fs::metadata(checkout.path(".env")).expect(".env").permissions().mode();
    assert!(env & 0o777 == 0o600 && checkout.path("secrets").is_dir());
    let asked = checkout.asked();
    let keeper = asked.lines().find(|it| it.starts_with("run ")).expect("the keeper");
    assert!(keeper.contains("--volume office_tinyclaw-data:/app/.tinyclaw"), "{keeper}");
    assert!(keeper.contains("--volume office_claude-home:/home/tinyclaw"), "{keeper}");
    let bytes = |it: &Path| fs::read(it).expect("a file");
    assert_eq!(bytes(&checkout.docker("restored")), bytes(file.as_ref()));
}

#[test]
fn restore_replaces_no_state_that_it_was_not_told_to_replace() {
    for (answer, says) in [
        ("*\" find /app/.tinyclaw \"*) echo /app/.tinyclaw/queue ;;", "there is a state already"),
        ("*\" find /app/.tinyclaw \"*) exit 125 ;;", "nobody can look into the volume"),
    ] {
        let checkout = Checkout::new(Some("COMPOSE_PROJECT_NAME='mine' # ours\n"), answer);
        checkout.run(&["restore", &backup(&checkout)]).wrong(says);
        let asked = checkout.asked();
        assert!(asked.contains(" mine_tinyclaw-data:") && !asked.contains(" stop "), "{asked}");
    }
    let checkout = Checkout::new(Some(""), "");
    let thesis = checkout.place.path("home/thesis.gz");
    let zipped = Command::new("gzip").arg("-c").arg(checkout.path(".env.example")).output();
    fs::write(&thesis, zipped.expect("gzip").stdout).expect("a file");
    checkout.run(&["restore", &thesis.display().to_string(), "--overwrite"]).wrong("is no backup");
    assert_eq!(checkout.asked(), "");
}

/// Compose has always taken both from `.env`; the script looked into its environment only.
#[test]
fn ports_and_the_tag_count_in_env_and_in_the_environment() {
    let env = "TINYCLAW_DASHBOARD_PORT=3200 # mine\nTINYCLAW_HEALTH_PORT=\"7000\"\nexport TINYCLAW_TAG='mine'\n";
    let checkout =
        Checkout::new(Some(env), "    *\" run \"*\" tar \"*) tar -cz --files-from /dev/null ;;");
    fs::write(checkout.docker("taken"), "3100\n7777\n").expect("ports");
    let said = checkout.run(&["start"]);
    assert!(said.err.contains("→ put DASHBOARD_HOSTS=localhost:3200,"), "{said:?}");
    assert!(said.ok().contains("http://localhost:3200\n"));
    let mut command = checkout.command(&["start"]);
    command.env("TINYCLAW_DASHBOARD_PORT", "3300").env("DASHBOARD_HOSTS", "localhost:3300");
    let said = Said::of(command.output().expect("a shell"));
    assert!(!said.err.contains("DASHBOARD_HOSTS"), "{said:?}");
    assert!(said.ok().contains("http://localhost:3300\n"));
    fs::write(checkout.docker("taken"), "3200\n7000\n").expect("ports");
    let said = checkout.run(&["start"]);
    for port in ["3200, for the dashboard", "7000, for the bot"] {
        assert!(
            said.err.contains(&format!("port {port}, is taken\n      → put TINYCLAW_")),
            "{said:?}"
        );
    }
    fs::remove_file(checkout.docker("taken")).expect("ports");
    checkout.run(&["update"]).ok();
    checkout.run(&["doctor"]).ok();
    let asked = checkout.asked();
    for words in [
        "\ntag tinyclaw-bot:mine tinyclaw-bot:mine-previous",
        " tinyclaw-bot:mine tar ",
        "ancestor=tinyclaw-bot:mine ",
    ] {
        assert!(asked.contains(words), "{words}: {asked}");
    }
    assert!(!asked.contains(":latest"), "{asked}");
}

/// Without its profile compose does not see cloudflared: it stayed up, and `down` could not remove its networks.
#[test]
fn the_tunnel_and_the_gateway_start_where_they_are_wanted_and_end_wherever_they_run() {
    let checkout = Checkout::new(Some(""), "");
    let unit = fs::read_to_string(checkout.path("systemd/tinyclaw.service")).expect("the unit");
    let unit = unit.replace("\\\n", " ");
    let at_boot = |verb: &str| {
        let line = unit.lines().find_map(|it| it.strip_prefix(verb)).expect("a line");
        let line = line.replace("__COMPOSE__", "docker compose").replace("$$", "$");
        let mut shell = Command::new("sh");
        let path = checkout.command(&[]);
        let path = path.get_envs().find(|it| it.0 == "PATH").and_then(|it| it.1).expect("a path");
        shell.args(["-c", &line]).env("PATH", path).current_dir(checkout.path(""));
        Said::of(shell.output().expect("a shell")).ok();
    };
    let asks = |what: &dyn Fn(), words: &str| {
        let _ = fs::remove_file(checkout.docker("asked"));
        what();
        assert!(
            checkout.asked().lines().any(|it| it.starts_with(words)),
            "{words}: {}",
            checkout.asked()
        );
    };
    let run = |verb: &str| drop(checkout.run(&[verb]).ok());
    asks(&|| run("start"), "compose up --detach --build");
    asks(&|| at_boot("ExecStart="), "compose up --detach --no-build");
    asks(&|| run("stop"), "(,tunnel,gateway) compose stop");
    fs::write(checkout.path("secrets/tunnel-token"), "eyJ").expect("a token");
    asks(&|| run("start"), "(,tunnel) compose up --detach --build");
    asks(&|| at_boot("ExecStart="), "(,tunnel) compose up --detach --no-build");
    asks(&|| at_boot("ExecStop="), "compose --profile tunnel --profile gateway stop");
    asks(&|| run("status"), "(,tunnel,gateway) compose ps");
    asks(&|| run("uninstall"), "(,tunnel,gateway) compose down");
    fs::write(checkout.path(".env"), "COMPOSE_PROFILES=gateway\n").expect(".env");
    asks(&|| run("start"), "(gateway,tunnel) compose up --detach --build");
    asks(&|| at_boot("ExecStart="), "(gateway,tunnel) compose up --detach --no-build");
}

/// In place of a container: setup itself, alone, with the Docker that was handed to it in front of every other.
const SETUP_RUNS: &str = r#"
    *" compose run "*) echo "Network created" >&2; sed "s/ID/$GITHUB_APP_ID/g" "$here/report.json" ;;
    *" run "*" tinyclaw setup "*)
        for it in "$@"; do case "$it" in *:/usr/local/bin/docker:ro) handed="${it%%:*}" ;; esac; done
        while [ "$1" != tinyclaw ]; do shift; done
        shift
        PATH="$(dirname "$handed"):$PATH" exec "$here/alone/tinyclaw" "$@" ;;"#;

/// Once `start` had given the key to the broker, its way out was the command that had just been typed.
#[test]
fn setup_in_a_container_has_the_broker_asked_outside_of_it() {
    let checkout = Checkout::new(Some("GITHUB_APP_ID=1\n"), SETUP_RUNS);
    fs::create_dir_all(checkout.docker("alone")).expect("a folder");
    fs::copy(env!("CARGO_BIN_EXE_tinyclaw"), checkout.docker("alone/tinyclaw"))
        .expect("the program");
    fs::create_dir(checkout.path("secrets")).expect("secrets");
    fs::write(checkout.path("secrets/github-app.pem"), "nobody here reads it").expect("a key");
    fs::set_permissions(checkout.path("secrets/github-app.pem"), fs::Permissions::from_mode(0o600))
        .expect("its mode");
    let report = r#"{"ok": true, "app_id": "ID", "app": "app-ID", "errors": [], "warnings": [], "installations": []}"#;
    fs::write(checkout.docker("report.json"), report).expect("a report");
    let said = checkout.run(&["setup", "github", "--app-id", "4711"]).ok();
    assert!(said.contains("GitHub takes the key of app-4711"), "{said}");
    let asked = checkout.asked();
    let words = " run --rm --no-deps -T -e GITHUB_APP_ID broker /tinyclaw-broker check --json";
    assert!(asked.lines().any(|it| it.ends_with(words)), "{asked}");
    let env = fs::read_to_string(checkout.path(".env")).expect(".env");
    assert!(env.contains("GITHUB_APP_ID=4711\n"), "{env}");
    // Nobody waits for a question any more, and what was lent is gone.
    let lent =
        asked.split_whitespace().find_map(|it| it.strip_suffix("/docker:/usr/local/bin/docker:ro"));
    assert!(!Path::new(lent.expect("it was lent")).exists());
}

#[test]
fn setup_in_a_container_sees_the_files_that_are_named() {
    let checkout = Checkout::new(Some(""), "");
    let home = checkout.place.home();
    for name in ["downloads/app.pem", "notes/token", "office/token", "office/below/token"] {
        fs::create_dir_all(home.join(name).parent().expect("a folder")).expect("a folder");
        fs::write(home.join(name), "x").expect("a file");
    }
    std::os::unix::fs::symlink(home.join("downloads/app.pem"), home.join("notes/key.pem"))
        .expect("a link");
    let path = |name: &str| home.join(name).display().to_string();
    let sees = |words: &[&str], folders: &[&str]| {
        let _ = fs::remove_file(checkout.docker("asked"));
        checkout.run(&[&["setup"], words].concat()).ok();
        let asked = checkout.asked();
        let run = asked.lines().find(|it| it.starts_with("run ")).expect("setup runs");
        let state = format!(" --env TINYCLAW_DIR={}/.tinyclaw ", home.join("office").display());
        assert!(run.contains(&state), "the image's own is closed to whoever is not the bot: {run}");
        let mut seen: Vec<String> = run
            .split(" --volume ")
            .skip(1)
            .filter_map(|it| {
                let mut parts = it.split(' ').next()?.split(':');
                let (from, to) = (parts.next()?, parts.next()?);
                let name = Path::new(from).strip_prefix(&home).ok().filter(|_| from == to)?;
                Some(format!("{} {}", name.display(), parts.next().unwrap_or_default()))
            })
            .collect();
        seen.sort();
        assert_eq!(seen, folders, "{words:?}");
    };
    sees(
        &["github", "--app-id", "1", "--pem", &path("downloads/app.pem")],
        &["downloads rw", "office "],
    );
    sees(
        &["github", "--pem", "../downloads/app.pem", "--app-id", "1"],
        &["downloads rw", "office "],
    );
    sees(
        &["github", &format!("--pem={}", path("notes/key.pem"))],
        &["downloads rw", "notes rw", "office "],
    );
    sees(&["telegram", "--token-file", &path("notes/token")], &["notes ro", "office "]);
    sees(&["claude", "--api-key-file", &path("notes/token")], &["notes ro", "office "]);
    for here in ["token", "below/token", "-", "../nowhere/token"] {
        sees(&["tunnel", "--token-file", here], &["office "]);
    }
}

/// A checkout whose origin has a version more, with a change by hand in it. Only the good version comes up.
fn outdated(answers: &str) -> (Checkout, String) {
    let answers = format!(
        "{answers}\n    *\" {{{{.State.Health.Status}}}} \"*) cat \"$here/../office/version\" ;;\n    \
        *\" run \"*\" tar \"*) tar -cz --files-from /dev/null ;;"
    );
    let checkout = Checkout::new(Some(""), &answers);
    let version = checkout.path("version");
    fs::write(&version, "healthy").expect("a version");
    let patient = fs::read_to_string(checkout.path("scripts/containers.sh")).expect("a script");
    let hasty = patient.replace("\nhealthy_max=60\n", "\nhealthy_max=1\n");
    assert_ne!(patient, hasty);
    fs::write(checkout.path("scripts/containers.sh"), hasty).expect("a script");
    checkout.git(&["init", "--quiet", "--initial-branch", "main"]);
    checkout.git(&["add", "."]);
    checkout.git(&["commit", "--quiet", "--message", "The good one"]);
    checkout.git(&["clone", "--quiet", ".", "../upstream"]);
    fs::write(checkout.path("../upstream/version"), "unhealthy").expect("a version");
    checkout.git(&["-C", "../upstream", "commit", "--quiet", "--all", "--message", "The bad one"]);
    checkout.git(&["remote", "add", "--fetch", "origin", "../upstream"]);
    checkout.git(&["branch", "--quiet", "--set-upstream-to", "origin/main"]);
    fs::write(checkout.path(".env.example"), "mine").expect("a change");
    let good = checkout.git(&["rev-parse", "HEAD"]);
    (checkout, good)
}

/// The old images came back, and the next start built the bad checkout again.
#[test]
fn a_bad_update_takes_back_what_it_pulled_and_nothing_else() {
    for (answers, says, replaced) in [
        ("", "the update was bad and is undone", 2),
        ("    *\" compose build \"*) exit 1 ;;", "the new one cannot be built", 0),
        ("    *\" run \"*\" tar \"*) exit 1 ;;", "the backup could not be written", 0),
        (
            "    *\" up --detach \"*) grep -qx healthy \"$here/../office/version\" ;;",
            "without what was pulled",
            2,
        ),
    ] {
        let (checkout, good) = outdated(answers);
        let said = checkout.run(&["update"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(says) && said.err.contains("The good one, without"), "{said:?}");
        assert_eq!(checkout.git(&["rev-parse", "main", "HEAD"]), good.repeat(2), "{says}");
        assert_eq!(checkout.git(&["diff", "--name-only"]), ".env.example\n");
        let asked = checkout.asked();
        assert!(
            asked.contains("\ntag tinyclaw-bot:latest-previous tinyclaw-bot:latest\n"),
            "{asked}"
        );
        assert_eq!(asked.matches(" up --detach").count(), replaced, "{asked}");
    }
}

#[test]
fn a_good_update_stays_and_a_bad_one_that_was_pulled_by_hand_is_named() {
    let (checkout, good) = outdated("    *\" {{.State.Health.Status}} \"*) echo healthy ;;");
    assert!(checkout.run(&["update"]).ok().contains("updated; the backup from before is"));
    assert_ne!(checkout.git(&["rev-parse", "HEAD"]), good);
    assert!(!checkout.asked().contains("latest-previous tinyclaw-bot:latest\n"));
    let (checkout, good) = outdated("");
    checkout.git(&["pull", "--quiet", "--ff-only"]);
    checkout.run(&["update"]).wrong("warn  nothing was pulled");
    assert_ne!(checkout.git(&["rev-parse", "HEAD"]), good);
}

/// A turn of five minutes was cut off by each update after 25 seconds, and asked once more.
#[test]
fn an_update_waits_for_running_turns_as_long_as_it_is_told_to() {
    let answers = "    *\" find /app/.tinyclaw/progress \"*) head -n 1 \"$here/turns\"; sed -i 1d \"$here/turns\" ;;\n    \
        *\" {{.State.Status}} \"*) echo running ;;\n    *\" run \"*\" tar \"*) tar -cz --files-from /dev/null ;;";
    let turns = |wait: &str, turns: &str| {
        let checkout = Checkout::new(Some(&format!("TINYCLAW_UPDATE_WAIT={wait}\n")), answers);
        fs::write(checkout.docker("running"), "b07\n").expect("a container");
        fs::write(checkout.docker("turns"), turns).expect("turns");
        let said = checkout.run(&["update"]);
        (said, checkout.asked())
    };
    // The turn is over at the second look.
    let (said, asked) = turns("9", "tg-1.json\n\n");
    assert!(!said.err.contains("read by no container"), "{said:?}");
    let told = said.ok();
    assert!(told.contains("waiting up to 9 s for what runs (1)"), "{told}");
    assert!(!told.contains("is resumed"), "{told}");
    let at = |words: &str| asked.find(words).unwrap_or_else(|| panic!("{words}: {asked}"));
    assert!(asked.matches(" find /app/.tinyclaw/progress ").count() == 2, "{asked}");
    assert!(at("compose build") < at(" find /app/") && at(" find /app/") < at("\npause b07"));
    assert!(at("\npause b07") < at(" up --detach"), "{asked}");
    // It never ends, and nobody waits for it.
    let told = turns("0", "tg-1.json\ntg-1.json\n").0.ok();
    assert!(!told.contains("waiting") && told.contains("1 running: what does not end"), "{told}");
    let (said, asked) = turns("soon", "");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("TINYCLAW_UPDATE_WAIT=soon is no number of seconds"), "{said:?}");
    assert!(!asked.contains(" build"), "nothing is begun: {asked}");
}
