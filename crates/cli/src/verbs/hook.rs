//! `tinyclaw hook`: Claude Code's hooks to the event bus, and putting it into Claude's settings.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tinyclaw_disk::Lock;

use tinyclaw_service::now_ms;

use crate::hook::{
    Account, Config, Installed, Spool, check, drain, install, keep, named, number_of, remove,
};
use crate::place;
use crate::terminal;

/// Claude's own file, which has the name of ours.
const CLAUDES_SETTINGS: &str = "settings.json";

/// Bring Claude Code's hooks to the event bus. Without a verb it is the hook itself: it keeps what stands on its input.
#[derive(Debug, Args)]
pub(crate) struct Hook {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put it into Claude's settings, for every hook.
    Install(Install),
    /// Take it out of Claude's settings again.
    Remove(Where),
    /// Bring what waits to the bus now, and say what keeps it.
    Drain,
    /// Say whether every hook that fired here is on the bus: once, and in order. Exit code 1 when one is not, or waits.
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// The file that holds a token with the scope read, or - for the input; else the one that brings the hooks.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Install {
    /// Where the gateway is.
    #[arg(long, default_value = "http://127.0.0.1:3200")]
    url: String,

    /// The file that holds a token with the scope ingest; else it is read from the input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// What tells this machine's hooks from another's.
    #[arg(long)]
    source: Option<String>,

    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
struct Where {
    /// Claude's settings, when they are not in ~/.claude.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

impl Hook {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let environment = place::environment();
        let spool = Spool::of_person(|name| environment.get(name).cloned());
        match self.verb {
            // Claude goes on whatever happens here; only a person is told what went wrong.
            None => {
                let _ = spool.and_then(|it| hook(&it));
                return Ok(ExitCode::SUCCESS);
            }
            Some(Verb::Drain) => drain(&spool?)?,
            Some(Verb::Check(it)) => return it.run(&spool?),
            Some(Verb::Install(it)) => it.run(&spool?)?,
            Some(Verb::Remove(it)) => {
                let settings = it.settings()?;
                let what = match remove(&settings)? {
                    Installed::Changed => "the hooks are out of",
                    Installed::Same => "there were no hooks of ours in",
                };
                let mut out = std::io::stdout();
                writeln!(out, "{what} {}", settings.display())?;
                forget(&spool?, &settings, &mut out)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Keeps one hook, and sees that somebody brings it.
fn hook(spool: &Spool) -> anyhow::Result<()> {
    let source = match spool.config() {
        // They were removed while this session ran: nobody would ever bring what is kept now.
        Ok(None) => return Ok(()),
        Ok(Some(it)) => it.source,
        // A file that a person broke is mended some day.
        Err(_) => own_source(),
    };
    keep(spool, &source, std::io::stdin().lock())?;
    // Whoever holds the lock looks again after letting go of it.
    if Lock::try_take(&spool.lock())?.is_none() {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    #[expect(clippy::disallowed_methods, reason = "it starts itself, to go on when Claude does")]
    let mut drainer = Command::new(program);
    drainer
        .args(["hook", "drain"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Of its own group: what Claude sends to its hooks at its end does not reach it.
    drainer.process_group(0).current_dir("/").spawn().context("cannot start the drainer")?;
    Ok(())
}

/// Forgets the bus, and its token, when no settings bring hooks there and none waits for it; else says what keeps it.
fn forget(spool: &Spool, settings: &Path, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let Some(mut config) = spool.config()? else { return Ok(()) };
    let settings = whole(settings)?;
    config.settings.retain(|it| *it != settings && it.exists());
    let (waiting, file) = (spool.waiting()?.0.len(), spool.config_path().display());
    if let Some(other) = config.settings.first() {
        writeln!(out, "hooks of {} still go to {}", other.display(), config.url)?;
        writeln!(out, "  → out, too: tinyclaw hook remove --settings {}", other.display())?;
        return spool.set_config(&config);
    }
    if waiting > 0 {
        let hooks = terminal::count(waiting, "hook");
        writeln!(out, "{hooks} still to be brought to {}: its token stays in {file}", config.url)?;
        writeln!(out, "  → bring and forget: tinyclaw hook drain && tinyclaw hook remove")?;
        return Ok(());
    }
    spool.forget_config()?;
    writeln!(out, "{} and its token are forgotten; {file} is gone", config.url)?;
    writeln!(out, "  → where the token is of no more use: tinyclaw token revoke")?;
    Ok(())
}

/// A path that means the same in another folder.
fn whole(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

fn own_source() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_letter = |it: &char| it.is_ascii_alphanumeric() || *it == '-' || *it == '.';
    format!("claude@{}", host.chars().filter(is_letter).take(64).collect::<String>())
}

impl Install {
    fn run(&self, spool: &Spool) -> anyhow::Result<()> {
        let token = token_in(self.token_file.as_deref())?;
        if token.is_empty() || token.contains(char::is_whitespace) {
            bail!(
                "that is no token; do: tinyclaw token new NAME --scope ingest | tinyclaw hook install"
            );
        }
        crate::hook::check_url(&self.url)?;
        let source = self.source.clone().unwrap_or_else(own_source);
        // What waits already goes to this bus, too.
        let oldest = spool.waiting()?.0.iter().find_map(|it| number_of(it.file_name()?.to_str()?));
        let first_number = oldest.map_or_else(|| spool.last_number().map(|it| it + 1), Ok)?;
        let (url, settings) = (self.url.clone(), self.place.settings()?);
        let mut all = spool.config().ok().flatten().map_or_else(Vec::new, |it| it.settings);
        all.retain(|it| it.exists());
        let own = whole(&settings)?;
        if !all.contains(&own) {
            all.push(own);
        }
        spool.set_config(&Config {
            url,
            token,
            source,
            first_number,
            since: now_ms(),
            settings: all,
        })?;
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let what = match install(&settings, &program)? {
            Installed::Changed => "Claude's hooks go to",
            Installed::Same => "Claude's hooks went already to",
        };
        let mut out = std::io::stdout();
        writeln!(out, "{what} {}, from its next session on", self.url)?;
        writeln!(out, "  → out again: tinyclaw hook remove")?;
        Ok(())
    }
}

/// A token from a file; from the input when none is named, or `-`.
fn token_in(file: Option<&Path>) -> anyhow::Result<String> {
    let text = match file.filter(|it| *it != Path::new("-")) {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        None => std::io::read_to_string(std::io::stdin()).context("cannot read the token")?,
    };
    Ok(text.trim().to_owned())
}

impl Check {
    fn run(&self, spool: &Spool) -> anyhow::Result<ExitCode> {
        let token = self.token_file.as_deref().map(|it| token_in(Some(it))).transpose()?;
        let (config, account) = check(spool, token)?;
        let mut out = std::io::stdout().lock();
        let (hooks, since) =
            (terminal::count(account.fired as usize, "hook"), terminal::ago(config.since));
        writeln!(out, "{hooks} of {} fired since they were installed {since} ago", config.source)?;
        let on_the_bus = match &account.ends {
            Some((first, last)) => format!("{}, {first} to {last}", account.told),
            None => account.told.to_string(),
        };
        let rows = [
            ("on the bus", on_the_bus, true),
            ("there twice", named(&account.twice), !account.twice.is_empty()),
            ("out of order", named(&account.early), !account.early.is_empty()),
            ("kept no longer", account.retired.to_string(), account.retired > 0),
            ("waiting", account.waiting.to_string(), true),
            ("refused", named(&account.refused), !account.refused.is_empty()),
            ("given up", account.given_up.to_string(), account.given_up > 0),
            ("missing", named(&account.missing), true),
        ];
        for (what, value, _) in rows.into_iter().filter(|it| it.2) {
            writeln!(out, "  {what:<15}{value}")?;
        }
        writeln!(out, "{}", verdict(&account))?;
        Ok(if account.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn verdict(account: &Account) -> &'static str {
    match account {
        it if it.is_whole() && it.fired == 0 => "no hook fired yet",
        it if it.is_whole() => {
            "nothing is missing: each is there once, in the order in which they fired"
        }
        it if !it.missing.is_empty() || it.given_up > 0 => "hooks are missing",
        it if it.waiting > 0 => "not all are there yet; tinyclaw hook drain says what keeps them",
        _ => "all are there or set aside, and not as they fired",
    }
}

impl Where {
    fn settings(&self) -> anyhow::Result<PathBuf> {
        if let Some(it) = &self.settings {
            return Ok(it.clone());
        }
        let environment = place::environment();
        if let Some(dir) = environment.get("CLAUDE_CONFIG_DIR").filter(|it| !it.is_empty()) {
            return Ok(PathBuf::from(dir).join(CLAUDES_SETTINGS));
        }
        let home =
            environment.get("HOME").context("HOME is not set; name the file with --settings")?;
        Ok(PathBuf::from(home).join(".claude").join(CLAUDES_SETTINGS))
    }
}
