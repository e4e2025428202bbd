//! Mirrors: a bare copy of each repository that some desk works on, in the state folder where no desk can write.
//!
//! Git runs here with the office's rights, and only here: with no configuration but what stands below, no hooks, no
//! filters, no submodules, no transport but HTTP, and never in a folder that an agent wrote. A desk gets a clone of its
//! own from the mirror, made under its own leash (`checkout.rs`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tinyclaw_domain::ThreadId;
use tinyclaw_engine::find_sibling;

use crate::desks::capability;
use crate::desks::repo::{Repo, host_of, parse};
use crate::desks::threads::Desks;
use crate::text::shortened;

/// A large repository over a slow line.
const FETCH_TIME: Duration = Duration::from_secs(600);
const GIT_TIME: Duration = Duration::from_secs(60);
/// So much of git's words is told on.
const WORDS_MAX: usize = 300;

/// The whole of git's configuration. `fetch.fsckObjects` is not in it: many old and honest repositories fail it, and what
/// comes of a bad one comes under a leash.
const CONFIG: [&str; 13] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.sshCommand=false",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "init.templateDir=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
];
/// What git is given of our environment: how to reach the network, as the operator set it.
const NETWORK: [&str; 9] = [
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
];

/// The mirror of a repository as it is now, fetched with this thread's capability. The error is for people.
pub(crate) async fn refresh(
    desks: &Desks,
    thread: &ThreadId,
    repo: &Repo<'_>,
) -> Result<PathBuf, String> {
    let mirror = desks.state.mirror(repo.owner, repo.name);
    let parent = mirror.parent().unwrap_or(&mirror).to_owned();
    std::fs::create_dir_all(&parent)
        .map_err(|err| format!("`{}` cannot be made: {err}.", parent.display()))?;
    // The broker serves this thread for this repository; without a signing secret it serves its private network.
    let capability = capability::for_office(desks, thread, &repo.full_name());
    let git = Git { desks, capability: capability.as_deref() };
    let refreshed = bring_up_to_date(&git, repo, mirror, &parent).await;
    if let Some(path) = &capability
        && let Err(err) = tinyclaw_disk::remove(path)
    {
        tracing::warn!("{err}");
    }
    refreshed
}

async fn bring_up_to_date(
    git: &Git<'_>,
    repo: &Repo<'_>,
    mirror: PathBuf,
    parent: &Path,
) -> Result<PathBuf, String> {
    if mirror.is_dir() && fetch(git, &mirror, repo).await.is_ok() {
        return Ok(mirror);
    }
    // Anew, beside the old one: it may have been left half written, and it is the last one while the network is down.
    let partial = parent.join(format!(".{}.partial", repo.name));
    let _ = std::fs::remove_dir_all(&partial);
    let made = async {
        let path = partial.display().to_string();
        git.run(&["init", "--quiet", "--bare", "--template=", "--", &path], GIT_TIME).await?;
        fetch(git, &partial, repo).await
    };
    if let Err(err) = made.await {
        let _ = std::fs::remove_dir_all(&partial);
        return Err(format!("`{}` cannot be cloned: {err}", repo.full_name()));
    }
    let _ = std::fs::remove_dir_all(&mirror);
    tinyclaw_disk::rename(&partial, &mirror)
        .map_err(|err| format!("The mirror cannot be put in its place: {err}."))?;
    Ok(mirror)
}

/// Brings a mirror up to date: branches, tags, and which branch is the default.
async fn fetch(git: &Git<'_>, mirror: &Path, repo: &Repo<'_>) -> Result<(), String> {
    let dir = format!("--git-dir={}", mirror.display());
    let address = repo.address(&git.desks.settings.current().github.url);
    let refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
    let fetch =
        ["--quiet", "--prune", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"];
    let args = [&[&*dir, "fetch"][..], &fetch, &["--", &address], &refs].concat();
    git.run(&args, FETCH_TIME).await?;
    let told = git.run(&[&dir, "ls-remote", "--symref", "--", &address, "HEAD"], GIT_TIME).await?;
    // `ref: refs/heads/main<tab>HEAD`; an empty repository has none.
    let head = told.lines().find_map(|it| it.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
    if let Some(head) = head.filter(|it| it.starts_with("refs/heads/")) {
        git.run(&[&dir, "symbolic-ref", "HEAD", head], GIT_TIME).await?;
    }
    Ok(())
}

/// Asks git about a mirror, with no rights towards the network. The error is for people.
pub(crate) async fn ask(desks: &Desks, mirror: &Path, args: &[&str]) -> Result<String, String> {
    let dir = format!("--git-dir={}", mirror.display());
    Git { desks, capability: None }.run(&[&[&*dir][..], args].concat(), GIT_TIME).await
}

/// Begins to print a mirror as one file, for a desk to clone. `None`: there is nothing in it yet. It ends with what is
/// given back. The error is for people.
pub(crate) fn bundle(
    desks: &Desks,
    mirror: &Path,
) -> Result<Option<tokio::process::Child>, String> {
    let has = |it: &str| {
        let entries = std::fs::read_dir(mirror.join(it)).into_iter().flatten();
        entries.flatten().next().is_some()
    };
    if !has("refs/heads") && !mirror.join("packed-refs").is_file() {
        return Ok(None);
    }
    let git = Git { desks, capability: None };
    let dir = format!("--git-dir={}", mirror.display());
    let mut command = git.command(&[&dir, "bundle", "create", "--quiet", "-", "--all"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map(Some).map_err(|err| format!("git cannot be started: {err}."))
}

/// Removes the mirrors of repositories that no thread works on: they can be had again. While a thread gets its checkout it
/// removes none, for that thread does not say yet what it works on.
pub(crate) fn retire(desks: &Desks) {
    let Some(_nobody) = desks.nobody_checks_out() else { return };
    let wanted: Vec<PathBuf> = {
        let all = desks.all();
        let repos = all.values().filter_map(|it| it.repo.as_deref());
        let parsed = repos.filter_map(|it| parse(it).ok());
        parsed.map(|it| desks.state.mirror(it.owner, it.name)).collect()
    };
    let folders = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|it| it.path()).filter(|it| it.is_dir()).collect::<Vec<PathBuf>>()
    };
    let all = folders(&desks.state.mirrors()).into_iter().flat_map(|it| folders(&it));
    for mirror in all.filter(|it| !wanted.contains(it)) {
        if let Err(err) = std::fs::remove_dir_all(&mirror) {
            tracing::warn!("cannot let go of {}: {err}", mirror.display());
        }
    }
}

/// Git, with the rights of one thread towards the network.
struct Git<'a> {
    desks: &'a Desks,
    capability: Option<&'a Path>,
}

impl Git<'_> {
    /// Runs git and gives back what it printed. The error is for people.
    async fn run(&self, args: &[&str], time: Duration) -> Result<String, String> {
        let mut command = self.command(args);
        match tokio::time::timeout(time, command.output()).await {
            Ok(Ok(output)) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Ok(Ok(output)) => Err(last_word(&String::from_utf8_lossy(&output.stderr))),
            Ok(Err(err)) => Err(format!("git cannot be started: {err}.")),
            Err(_) => Err(format!("git was not done after {} s.", time.as_secs())),
        }
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        #[expect(
            clippy::disallowed_methods,
            reason = "a mirror is fetched where no agent can write, with a configuration of ours alone"
        )]
        let mut command = tokio::process::Command::new("git");
        let mirrors = self.desks.state.mirrors();
        command.current_dir(&mirrors).env_clear();
        let mut path = std::env::var("PATH").unwrap_or_default();
        for it in CONFIG {
            command.args(["-c", it]);
        }
        if let Some(dir) =
            find_sibling("git-credential-tinyclaw").and_then(|it| it.parent().map(Path::to_owned))
        {
            path = format!("{}:{path}", dir.display());
            command.args(["-c", "credential.helper=tinyclaw", "-c", "credential.useHttpPath=true"]);
        }
        // Nothing of ours lies in the home, and no file but these words configures git.
        command.env("HOME", &mirrors).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_ATTR_NOSYSTEM", "1");
        // Nobody is there to type a password.
        command.env("GIT_TERMINAL_PROMPT", "0").env("LANG", "C.UTF-8").env("PATH", path);
        for name in NETWORK {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(path) = self.capability {
            command.env("TINYCLAW_CAPABILITY_FILE", path);
        }
        let settings = self.desks.settings.current();
        if let Some(url) = &settings.github.broker_url {
            command.env("CREDENTIAL_BROKER_URL", url);
        }
        command.env("TINYCLAW_GIT_HOST", host_of(&settings.github.url));
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// The last thing git said, as a sentence.
pub(crate) fn last_word(words: &str) -> String {
    let last = words.lines().rev().find(|it| !it.trim().is_empty()).unwrap_or("git said nothing");
    let shown = shortened(&tinyclaw_service::conceal(last), WORDS_MAX);
    format!("{}.", shown.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mirror_in_the_making_is_not_let_go_of() {
        let place = tempfile::tempdir().unwrap();
        let desks = Desks::empty(place.path());
        let partial = desks.state.mirrors().join("acme/.site.partial");
        std::fs::create_dir_all(&partial).unwrap();
        let checkout = desks.checking_out().await;
        retire(&desks);
        assert!(partial.is_dir(), "somebody clones into it");
        drop(checkout);
        retire(&desks);
        assert!(!partial.exists(), "it was left by a process that is gone");
    }
}
