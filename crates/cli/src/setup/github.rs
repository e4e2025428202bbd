//! `tinyclaw setup github`: the GitHub App and its key, as the broker finds them.
//!
//! Only the broker reads the key: `tinyclaw-broker check` tries it, beside this program or in its container. The key is
//! moved, given to another user or closed to others only with a word about it.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tinyclaw_disk::{remove, rename, sync_dir};
use tinyclaw_engine::find_sibling;
use tinyclaw_service::settings::GitHub as Settings;

use super::answers::keep_private;
use super::standing::find_program;
use super::tunnel::secrets;
use super::{Done, SetupContext, Wrong};
use crate::terminal::one_line;

/// The user of the broker's image (`broker/Dockerfile`).
const BROKER_UID: u32 = 10_002;
const PEM: &str = "github-app.pem";
const APP_ID: &str = "github.appId";
const BROKER_URL: &str = "github.brokerUrl";
const CAPABILITY: &str = "github.capabilitySecret";

/// Let agents have GitHub tokens, by an App of one's own.
#[derive(Debug, Default, Args)]
pub(crate) struct GitHub {
    /// The App's id, from the top of its settings page.
    #[arg(long, value_name = "ID")]
    app_id: Option<String>,

    /// The App's private key, as it was downloaded. [default: secrets/github-app.pem]
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,

    /// Where the broker will be, when no compose file says so. [default: this machine, port 3000]
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
}

/// What `tinyclaw-broker check --json` says, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Report {
    ok: bool,
    app: Option<String>,
    installations: Vec<Installation>,
    errors: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
struct Installation {
    id: u64,
    account: Option<String>,
    repositories: Option<String>,
    suspended: bool,
    missing: Vec<String>,
    dangerous: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    error: String,
    hint: String,
}

impl GitHub {
    pub(crate) fn run(self, desk: &SetupContext) -> anyhow::Result<Done> {
        let (answers, person) = (&desk.answers, &desk.person);
        let is_compose = answers.checkout().is_some();
        answers.must_count(if is_compose { &[APP_ID] } else { &[APP_ID, BROKER_URL] })?;
        let now = answers.current::<Settings>()?;

        if self.app_id.is_none() && person.is_terminal() && now.app_id.is_none() {
            person.say("Make a GitHub App (your account, Settings, Developer settings) with Contents, Issues and Pull requests")?;
            person.say("read and write, and never Administration. Install it on the repositories, and make a private key.")?;
        }
        let mut known_id = now.app_id.clone();
        let mut first_id = self.app_id.clone();
        let mut first_pem = self.pem.clone();
        let ask = || {
            let id = match (first_id.take(), &known_id) {
                (Some(id), _) => id,
                (None, Some(id)) if !person.is_terminal() => id.clone(),
                (None, known) => person.line("App id", known.as_deref(), "--app-id ID")?,
            };
            // What is right of it need not be typed again.
            known_id = app_id(&id).ok().or_else(|| known_id.take());
            let usual = answers.checkout().map(|it| it.join("secrets").join(PEM));
            let pem = match (first_pem.take(), &usual) {
                (Some(pem), _) => pem,
                (None, Some(usual)) if usual.is_file() => usual.clone(),
                (None, usual) => {
                    let default = usual.as_ref().map(|it| it.display().to_string());
                    let typed =
                        person.line("Private key's file", default.as_deref(), "--pem FILE")?;
                    match (typed.strip_prefix("~/"), std::env::home_dir()) {
                        (Some(rest), Some(home)) => home.join(rest),
                        _ => PathBuf::from(typed),
                    }
                }
            };
            Ok((id, pem))
        };
        let attempt = |(id, pem): (String, PathBuf)| {
            let id = app_id(&id)?;
            let pem = close(desk, &pem)?;
            let report = check(desk, &id, &pem)?;
            Ok((id, pem, report))
        };
        let (id, pem, report) = match (self.app_id, self.pem) {
            (Some(id), Some(pem)) => attempt((id, pem))?,
            _ => person.thrice(ask, attempt)?,
        };

        let mut warnings = tell(desk, &report)?;
        let mut changes = vec![(APP_ID, Some(id.clone()))];
        if is_compose {
            if now.capability_secret.is_none() {
                // Without it the broker cannot tell one thread from another, and serves any of them any repository.
                changes.push((CAPABILITY, Some(new_secret())));
            }
        } else {
            let given = self.broker_url.or(now.broker_url);
            changes.push((
                BROKER_URL,
                Some(given.unwrap_or_else(|| "http://127.0.0.1:3000".to_owned())),
            ));
        }
        let wrote = answers.write(&changes)?;
        let pem = match answers.checkout() {
            Some(checkout) => place(desk, checkout, &pem, &mut warnings)?,
            None => {
                person.say(&format!(
                    "      the broker reads the key by itself: start it with GITHUB_APP_PEM={}",
                    pem.display()
                ))?;
                pem
            }
        };
        let installations: Vec<_> = report.installations.iter().map(|it| json!({
            "id": it.id, "account": it.account, "missing": it.missing, "dangerous": it.dangerous, "suspended": it.suspended,
        })).collect();
        let found =
            json!({ "appId": id, "app": report.app, "key": pem, "installations": installations });
        desk.done("github", found, wrote, warnings)
    }
}

/// Made up by this machine, known to the bot and the broker alone: 244 bits, as letters and digits.
fn new_secret() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}

fn app_id(text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    if !text.is_empty()
        && text.len() <= 40
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'.')
    {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{text:?} is no App id"),
        "the number at the top of the App's settings page",
    )
    .into())
}

/// The key's file, which nobody else may read from now on.
fn close(desk: &SetupContext, pem: &Path) -> anyhow::Result<PathBuf> {
    let pem = std::path::absolute(pem).context("cannot tell which file this is")?;
    let shown = pem.display();
    let Ok(about) = std::fs::metadata(&pem) else {
        let way_out = match is_in_container() {
            // It sees the folders of files that were named to the script, and not all of the machine.
            true => "name it to the script: ./tinyclaw.sh setup github --pem FILE",
            false => "the App's settings page, Private keys, makes and downloads one",
        };
        return Err(Wrong::new(format!("{shown} is not there"), way_out).into());
    };
    if about.is_dir() {
        let says = format!("{shown} is a folder: Docker made it when the key was not there");
        return Err(Wrong::new(says, format!("rmdir {shown}, then copy the key there")).into());
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        if std::fs::set_permissions(&pem, Permissions::from_mode(0o600)).is_err() {
            let says = format!("{shown} may be read by others (mode {mode:04o})");
            return Err(Wrong::new(says, format!("sudo chmod 600 {shown}")).into());
        }
        desk.person
            .ok(&format!("{shown} was mode {mode:04o} and is 0600: nobody else may read it"))?;
    }
    Ok(pem)
}

/// What the broker finds. Tokens can be had, or it is something wrong.
fn check(desk: &SetupContext, id: &str, pem: &Path) -> anyhow::Result<Report> {
    let output = ask_broker(desk, id, pem)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let begin = said.find('{').unwrap_or(said.len());
    let Ok(report) = serde_json::from_str::<Report>(&said[begin..]) else {
        let err = one_line(&String::from_utf8_lossy(&output.stderr));
        let says =
            if err.is_empty() { "tinyclaw-broker check says nothing".to_owned() } else { err };
        return Err(Wrong::new(says, "mend what it names, then try again").into());
    };
    if let Some(it) = report.errors.first() {
        return Err(Wrong::new(one_line(&it.error), one_line(&it.hint)).into());
    }
    if !report.ok {
        let says = "every installation of the App is suspended";
        return Err(Wrong::new(says, "its owner ends that: Settings, Applications, the App").into());
    }
    Ok(report)
}

/// The broker beside this program, or, where only its own user may read the key, the one in the container.
fn ask_broker(desk: &SetupContext, id: &str, pem: &Path) -> anyhow::Result<Output> {
    let environment = desk.answers.environment();
    let is_ours = std::fs::File::open(pem).is_ok();
    if let Some(program) = find_sibling("tinyclaw-broker").filter(|_| is_ours) {
        #[expect(clippy::disallowed_methods, reason = "only the broker reads the key")]
        let mut command = Command::new(&program);
        command.args(["check", "--json"]).env("GITHUB_APP_ID", id).env("GITHUB_APP_PEM", pem);
        for name in ["GITHUB_API_URL", "GITHUB_API_INSECURE"] {
            if let Some(value) = environment.get(name) {
                command.env(name, value);
            }
        }
        return run(command, &program);
    }
    let Some(checkout) = desk.answers.checkout() else {
        if is_ours {
            bail!(
                "tinyclaw-broker is not beside this program; install all of TinyClaw's binaries together"
            );
        }
        let says = format!("{} cannot be read by this user", pem.display());
        return Err(Wrong::new(says, "run this as the key's owner").into());
    };
    let docker = find_program(Path::new("docker"), &environment);
    let is_at_home = pem == checkout.join("secrets").join(PEM);
    if docker.is_none() || !is_at_home {
        let shown = pem.display();
        let (says, way_out) = match (is_ours, is_at_home) {
            (true, _) => (
                format!("there is no tinyclaw-broker beside this program that could try {shown}"),
                "./tinyclaw.sh setup github, which brings one along".to_owned(),
            ),
            (false, true) => (
                format!(
                    "{shown} is the broker's alone, and there is no Docker to ask the broker with"
                ),
                "./tinyclaw.sh setup github, on the machine that has Docker".to_owned(),
            ),
            (false, false) => (
                format!("{shown} cannot be read by this user"),
                format!("sudo chown \"$USER\" {shown}, then again"),
            ),
        };
        return Err(Wrong::new(says, way_out).into());
    }
    let words = [
        "run",
        "--rm",
        "--no-deps",
        "-T",
        "-e",
        "GITHUB_APP_ID",
        "broker",
        "/tinyclaw-broker",
        "check",
        "--json",
    ];
    let new = Path::new("docker-compose");
    let (program, first): (&Path, &[&str]) = match find_program(new, &environment) {
        Some(_) if !has_compose_plugin() => (new, &[]),
        _ => (Path::new("docker"), &["compose"]),
    };
    #[expect(clippy::disallowed_methods, reason = "only the broker reads the key")]
    let mut command = Command::new(program);
    command.args(first).args(words).env("GITHUB_APP_ID", id).current_dir(checkout);
    run(command, program)
}

/// Whether this is a container of ours that ends with the setup.
fn is_in_container() -> bool {
    Path::new("/.dockerenv").exists()
}

fn has_compose_plugin() -> bool {
    #[expect(clippy::disallowed_methods, reason = "compose comes in two shapes")]
    let mut command = Command::new("docker");
    command.args(["compose", "version"]);
    run(command, Path::new("docker")).is_ok_and(|it| it.status.success())
}

fn run(mut command: Command, program: &Path) -> anyhow::Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    output.with_context(|| format!("cannot run {}", program.display()))
}

/// Says what each installation allows, and what of it should be otherwise.
fn tell(desk: &SetupContext, report: &Report) -> anyhow::Result<Vec<String>> {
    let person = &desk.person;
    let mut warnings = Vec::new();
    let mut warn = |says: String, way_out: &str| {
        warnings.push(format!("{says} → {way_out}"));
        person.warn(&says, way_out)
    };
    let app = one_line(report.app.as_deref().unwrap_or("the App"));
    person.ok(&format!("GitHub takes the key of {app}"))?;
    for it in &report.installations {
        let account = one_line(it.account.as_deref().unwrap_or("somebody"));
        let which = it.repositories.as_deref().unwrap_or("some");
        if it.suspended {
            warn(
                format!("{account} has suspended the App"),
                "its owner ends that: Settings, Applications, the App",
            )?;
            continue;
        }
        if it.missing.is_empty() {
            person.ok(&format!("{account}, {which} repositories: everything agents need"))?;
        } else {
            let missing = it.missing.join(", ");
            let way_out = "grant it in the App's permissions, then have it approved there";
            warn(format!("{account}, {which} repositories: {missing} is missing"), way_out)?;
        }
    }
    let all = report.installations.len();
    let mut names: Vec<&str> = report
        .installations
        .iter()
        .flat_map(|it| it.dangerous.iter().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = report
            .installations
            .iter()
            .filter(|it| it.dangerous.iter().any(|it| it == name))
            .count();
        let says = match name {
            "administration" => format!(
                "the App may administer {of} of {all} installations; TinyClaw never needs that"
            ),
            _ => format!("the App has {name} in {of} of {all} installations; no agent needs that"),
        };
        let title = name.replace('_', " ");
        let title = title[..1].to_uppercase() + &title[1..];
        warn(says, &format!("remove \"{title}\" in the App's permissions"))?;
    }
    Ok(warnings)
}

/// The key where the compose file mounts it from, and the broker's alone.
fn place(
    desk: &SetupContext,
    checkout: &Path,
    pem: &Path,
    warnings: &mut Vec<String>,
) -> anyhow::Result<PathBuf> {
    let person = &desk.person;
    let home = secrets(checkout)?.join(PEM);
    if pem != home {
        let shown = home.strip_prefix(checkout).unwrap_or(&home).display().to_string();
        let is_taken = home.is_file();
        let question = match is_taken {
            true => {
                format!("Move {} to {shown}, in place of the key that is there?", pem.display())
            }
            false => format!("Move {} to {shown}?", pem.display()),
        };
        let may = if person.is_terminal() || person.agrees_to_all() {
            person.agrees(&question, !is_taken)?
        } else {
            false
        };
        if !may {
            let says =
                format!("the broker looks for the key in {shown}, and it is in {}", pem.display());
            let way_out = format!("mv {} {}", pem.display(), home.display());
            person.warn(&says, &way_out)?;
            warnings.push(format!("{says} → {way_out}"));
            return Ok(pem.to_owned());
        }
        move_file(pem, &home)?;
        person.ok(&format!("the key is {shown} now"))?;
    }
    let owner = std::fs::metadata(&home).map(|it| it.uid()).ok();
    if owner != Some(BROKER_UID) {
        if chown(&home, Some(BROKER_UID), None).is_ok() {
            person.ok("the key belongs to the broker alone")?;
        } else {
            let says = "the key has to belong to the broker alone";
            let way_out = format!(
                "./tinyclaw.sh start does it, or: sudo chown {BROKER_UID} {}",
                home.display()
            );
            person.warn(says, &way_out)?;
            warnings.push(format!("{says} → {way_out}"));
        }
    }
    Ok(home)
}

/// Moves a file, also from another disk.
fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    match rename(from, to) {
        Ok(()) => {}
        Err(err) if err.source.kind() == std::io::ErrorKind::CrossesDevices => {
            let bytes =
                std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            keep_private(to, &bytes, false)?;
            remove(from)?;
        }
        Err(err) => return Err(err.into()),
    }
    sync_dir(to.parent().unwrap_or_else(|| Path::new(".")))?;
    Ok(())
}
