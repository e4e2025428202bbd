//! Under the name `gh`: stands in front of the real one and gives it a token for the repository at hand.
//!
//! Installed as `gh` in a folder before the real one in `PATH`. The repository is the one named
//! on the command line, in `GH_REPO`, or the `origin` of the working directory. The token lives
//! in the environment of that one `gh` and is written nowhere. Without a repository on the
//! configured host, or with a token given already, `gh` runs as it is.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use tinyclaw_broker::errand::Broker;
use tinyclaw_broker::process;
use tinyclaw_broker::remote::{self, Named, Repo};

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "gh (tinyclaw): {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the shim's one purpose is to become gh")]
fn run() -> anyhow::Result<std::convert::Infallible> {
    process::harden()?;
    let var = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
    let words: Vec<String> = std::env::args().skip(1).collect();
    let host = var("TINYCLAW_GIT_HOST").unwrap_or_else(|| remote::HOST.to_owned());
    let mut gh = Command::new(real_gh(var("TINYCLAW_GH"), var("PATH"))?);
    gh.args(&words);
    let has_token = var("GH_TOKEN").or_else(|| var("GITHUB_TOKEN")).is_some();
    if !has_token && needs_token(&words) {
        match repo(&words, var("GH_REPO"), &host)? {
            Some((owner, repo)) => {
                let broker = Broker::from_env(var)?;
                let token = broker.token(owner.as_str(), repo.as_str(), &[])?;
                // gh reads one variable for github.com and another for a server of one's own.
                let ours = host == remote::HOST;
                let name = if ours { "GH_TOKEN" } else { "GH_ENTERPRISE_TOKEN" };
                gh.env(name, token.token.expose_secret());
                if !ours {
                    gh.env("GH_HOST", &host);
                }
            }
            None => {
                let _ = writeln!(
                    std::io::stderr(),
                    "gh (tinyclaw): no repository on {host} is named or checked out here, so gh \
                     has no token; add --repo owner/name"
                );
            }
        }
    }
    Err(gh.exec()).with_context(|| format!("cannot start {}", gh.get_program().display()))
}

/// Some commands never speak to GitHub.
fn needs_token(words: &[String]) -> bool {
    let quiet = ["help", "--help", "-h", "version", "--version", "completion", "alias", "config"];
    words.first().is_some_and(|it| !quiet.contains(&it.as_str()))
}

fn repo(words: &[String], gh_repo: Option<String>, host: &str) -> anyhow::Result<Option<Repo>> {
    match remote::repo_of_gh(words, host) {
        Named::Repo(repo) => return Ok(Some(repo)),
        Named::Foreign => return Ok(None),
        Named::Nothing => {}
    }
    if let Some(named) = gh_repo {
        return Ok(remote::repo_argument(&named, host));
    }
    Ok(origin()?.and_then(|url| remote::repo_of_url(&url, host)))
}

/// The `origin` of the working directory, if it is one of git's.
#[expect(clippy::disallowed_methods, reason = "git alone knows where a working copy came from")]
fn origin() -> anyhow::Result<Option<String>> {
    let mut git = Command::new("git");
    git.args(["remote", "get-url", "origin"]).stderr(Stdio::null()).stdin(Stdio::null());
    let output = git.output().context("cannot ask git for the origin")?;
    let url = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.status.success() && !url.is_empty()).then_some(url))
}

/// The first `gh` in the path that is not this program.
fn real_gh(named: Option<String>, path: Option<String>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.into());
    }
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let own = identity(Path::new("/proc/self/exe"));
    let path = path.unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        let candidate = folder.join("gh");
        let executable =
            std::fs::metadata(&candidate).is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0);
        if executable && identity(&candidate) != own {
            return Ok(candidate);
        }
    }
    bail!("gh is not in the PATH: install it (https://cli.github.com), or set TINYCLAW_GH")
}
