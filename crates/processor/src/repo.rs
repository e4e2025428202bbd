//! Checkouts for threads: a repository is cloned once, through the credential helper; a second thread on it gets a
//! worktree and a branch of its own, so that two desks never write the same files.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::ThreadId;
use tinyclaw_engine::find_sibling;

use crate::office::Office;
use crate::prompt::shortened;

/// A clone of a large repository over a slow line.
const CLONE_TIME: Duration = Duration::from_secs(600);
const GIT_TIME: Duration = Duration::from_secs(60);
/// So much of git's words is told on.
const WORDS_MAX: usize = 300;

/// Where a thread works on a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checkout {
    pub(crate) path: PathBuf,
    /// What is special about it, to be said after its path.
    pub(crate) remark: String,
}

/// `owner/name`, checked: it becomes a path and a part of an address.
#[derive(Debug, PartialEq, Eq)]
struct Repo<'a> {
    owner: &'a str,
    name: &'a str,
}

fn parse(text: &str) -> Result<Repo<'_>, String> {
    let wrong = || format!("`{}` is no repository; write it as `owner/name`.", shortened(text, 80));
    let clean = |it: &str| {
        !it.is_empty()
            && it.len() <= 100
            && !it.starts_with(['.', '-'])
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.'))
    };
    match text.split_once('/') {
        Some((owner, name)) if clean(owner) && clean(name) => {
            Ok(Repo { owner, name: name.strip_suffix(".git").unwrap_or(name) })
        }
        _ => Err(wrong()),
    }
}

/// `owner/name` as GitHub knows it, whatever way it was written.
pub(crate) fn full_name(text: &str) -> Result<String, String> {
    parse(text).map(|it| format!("{}/{}", it.owner, it.name))
}

/// A directory with the repository for this thread alone. The error is for people.
pub(crate) async fn checkout(
    office: &Arc<Office>,
    thread: &ThreadId,
    repo: &str,
) -> Result<Checkout, String> {
    let repo = parse(repo)?;
    let settings = office.settings();
    let place = settings.office.workspace.join(repo.owner).join(repo.name);
    if !place.join(".git").exists() {
        clone(office, thread, &repo, &place).await?;
    }
    let is_taken = crate::office::lock(&office.book)
        .all()
        .iter()
        .any(|(id, it)| id != thread && Path::new(&it.cwd) == place);
    if !is_taken {
        return Ok(Checkout { path: place, remark: String::new() });
    }
    let own = settings.office.workspace.join(repo.owner).join(format!("{}.{thread}", repo.name));
    let branch = format!("tinyclaw/{thread}");
    if !own.exists() {
        let path = own.display().to_string();
        let add =
            git(office, None, &place, &["worktree", "add", "-B", &branch, &path], GIT_TIME).await;
        add.map_err(|err| {
            format!("A worktree of `{}/{}` cannot be made: {err}", repo.owner, repo.name)
        })?;
    }
    Ok(Checkout { path: own, remark: format!(", a worktree of its own on branch `{branch}`") })
}

async fn clone(
    office: &Arc<Office>,
    thread: &ThreadId,
    repo: &Repo<'_>,
    place: &Path,
) -> Result<(), String> {
    let settings = office.settings();
    let parent = place.parent().unwrap_or(place);
    std::fs::create_dir_all(parent)
        .map_err(|err| format!("`{}` cannot be made: {err}.", parent.display()))?;
    let address =
        format!("{}/{}/{}.git", settings.github.url.trim_end_matches('/'), repo.owner, repo.name);
    // Under another name first: a clone that was cut off must not look like a checkout.
    let partial = parent.join(format!(".{}.partial", repo.name));
    let _ = std::fs::remove_dir_all(&partial);
    let path = partial.display().to_string();
    // The broker serves this thread for this repository; without a signing secret it serves its private network.
    let capability =
        crate::capability::write(office, thread, &format!("{}/{}", repo.owner, repo.name));
    let cloned = git(
        office,
        capability.as_deref(),
        parent,
        &["clone", "--quiet", "--", &address, &path],
        CLONE_TIME,
    )
    .await;
    if let Err(err) = cloned {
        let _ = std::fs::remove_dir_all(&partial);
        return Err(format!("`{}/{}` cannot be cloned: {err}", repo.owner, repo.name));
    }
    tinyclaw_disk::rename(&partial, place)
        .map_err(|err| format!("The clone cannot be put in its place: {err}."))
}

/// The host of an address, with its port: whose passwords the credential helper knows.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |it| it.1);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

async fn git(
    office: &Arc<Office>,
    capability: Option<&Path>,
    dir: &Path,
    args: &[&str],
    time: Duration,
) -> Result<(), String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "opening a thread clones its repository; no Claude is involved yet"
    )]
    let mut command = tokio::process::Command::new("git");
    command.current_dir(dir).env_clear();
    let mut path = std::env::var("PATH").unwrap_or_default();
    if let Some(dir) =
        find_sibling("git-credential-tinyclaw").and_then(|it| it.parent().map(Path::to_owned))
    {
        path = format!("{}:{path}", dir.display());
        command.args(["-c", "credential.helper=tinyclaw", "-c", "credential.useHttpPath=true"]);
    }
    command.env("PATH", path).env("HOME", std::env::var("HOME").unwrap_or_default());
    // Nobody is there to type a password.
    command.env("GIT_TERMINAL_PROMPT", "0").env("LANG", "C.UTF-8");
    if let Some(path) = capability {
        command.env("TINYCLAW_CAPABILITY_FILE", path);
    }
    let settings = office.settings();
    if let Some(url) = &settings.github.broker_url {
        command.env("CREDENTIAL_BROKER_URL", url);
    }
    command.env("TINYCLAW_GIT_HOST", host_of(&settings.github.url));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(time, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let last =
                words.lines().rev().find(|it| !it.trim().is_empty()).unwrap_or("git said nothing");
            Err(format!(
                "{}.",
                shortened(&tinyclaw_service::conceal(last), WORDS_MAX).trim_end_matches('.')
            ))
        }
        Ok(Err(err)) => Err(format!("git cannot be started: {err}.")),
        Err(_) => Err(format!("git was not done after {} s.", time.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_for_the_host_that_repositories_come_from() {
        assert_eq!(host_of("https://github.com"), "github.com");
        assert_eq!(host_of("https://ghe.example.com:8443/git/"), "ghe.example.com:8443");
    }

    #[test]
    fn a_repository_is_owner_and_name_and_nothing_else() {
        assert_eq!(parse("acme/site.git"), Ok(Repo { owner: "acme", name: "site" }));
        for bad in
            ["acme", "acme/../x", "-x/y", "a/b/c", "acme/", "https://example.org/a/b", "a b/c"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
