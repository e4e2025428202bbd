//! Tokens for git on devboxes: of one repository each, which an admin has said, and only where git there asks.
//!
//! The broker is asked as a desk's git asks it, by a capability for that repository alone. What is handed on lives for an hour;
//! the capability and the broker's address stay here. Without a signing secret nobody gets any.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Weak;
use std::time::{Duration, Instant};

use tinyclaw_devbox::Devbox;
use tinyclaw_domain::DevboxName;
use tinyclaw_engine::find_sibling;
use tinyclaw_service::now_ms;
use tokio::io::AsyncWriteExt as _;

use super::Fleet;
use crate::blocking::{lock, on_disk};
use crate::desks::capability;
use crate::desks::repo::{self, host_of};

/// The broker asks GitHub, at most so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// A token that was handed on is handed on again for so long, without the broker: git asks at each fetch and push.
const KEPT: Duration = Duration::from_secs(60);
/// What git reads is a few lines.
const ANSWER_BYTES_MAX: usize = 4096;

/// What was handed on a moment ago.
#[derive(Default)]
pub(super) struct Tokens(HashMap<DevboxName, (String, Instant)>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Tokens {
    /// Nothing that was handed on is handed on again.
    pub(super) fn forget(&mut self, name: &DevboxName) {
        self.0.remove(name);
    }

    fn fresh(&self, name: &DevboxName) -> Option<String> {
        let (said, at) = self.0.get(name)?;
        (at.elapsed() < KEPT).then(|| said.clone())
    }
}

/// `github.com/acme/site`.
pub(super) fn address(server: &str, repository: &str) -> String {
    let server = server.split_once("://").map_or(server, |it| it.1);
    format!("{}/{repository}", server.trim_end_matches('/'))
}

/// Which repository lies in a directory on a devbox, by what its git says where it comes from. The error is a sentence.
pub(crate) fn repository_of(
    origin: Option<&str>,
    dir: &str,
    server: &str,
) -> Result<String, String> {
    let host = host_of(server);
    let Some(origin) = origin else {
        return Err(format!("There is no git repository with a remote `origin` in `{dir}`."));
    };
    let here = address(server, "");
    let path = origin.strip_prefix("https://").map(|it| match it.split_once('@') {
        // Who is logged in as, and perhaps a password, is not ours to read.
        Some((user, rest)) if !user.contains('/') => rest,
        _ => it,
    });
    let name = path.and_then(|it| it.strip_prefix(&here)).map(|it| it.trim_end_matches('/'));
    match name.map(repo::full_name) {
        Some(Ok(name)) => Ok(name),
        _ if path.is_none() => Err(format!(
            "`origin` in `{dir}` is not fetched over https, and tokens go no other way. There: git remote set-url origin https://{host}/OWNER/NAME"
        )),
        _ => Err(format!("`origin` in `{dir}` is no repository of {host}.")),
    }
}

impl Fleet {
    /// What git on a devbox gets to read: a token of the one repository, or nothing.
    pub(super) async fn answer_git(&self, name: &DevboxName, asked: &[u8]) -> Vec<u8> {
        match self.token(name, asked).await {
            Ok(said) => said.into_bytes(),
            Err(why) => {
                tracing::warn!("git on {name} gets no token: {why}");
                Vec::new()
            }
        }
    }

    async fn token(&self, name: &DevboxName, asked: &[u8]) -> Result<String, String> {
        let Some(Devbox { git: Some(repository), thread, id, .. }) = self.get(name)? else {
            return Err("nobody has said that it may".to_owned());
        };
        let server = self.settings.current().github.url.clone();
        let asked = Asked::read(asked).ok_or("what it asks is not what git asks")?;
        if !asked.is_about(&server, &repository) {
            return Err(format!("it asks about something else than {repository}"));
        }
        if asked.is_refused {
            // What GitHub does not take is not handed on again.
            lock(&self.tokens).forget(name);
            return Ok(String::new());
        }
        if let Some(said) = lock(&self.tokens).fresh(name) {
            return Ok(said);
        }
        let desks = self.desks.get().and_then(Weak::upgrade).ok_or("the office begins or ends")?;
        let capability = on_disk(|| capability::for_devbox(&desks, &thread, &repository));
        let capability = capability.ok_or("github.capabilitySecret is not set")?;
        let said = self.ask_broker(&capability, &server, &repository).await;
        if let Err(err) = on_disk(|| tinyclaw_disk::remove(&capability)) {
            tracing::warn!("{err}");
        }
        let said = said?;
        self.with(|it| it.event(now_ms(), Some(id), None, "token", &repository))?;
        lock(&self.tokens).0.insert(name.clone(), (said.clone(), Instant::now()));
        Ok(said)
    }

    /// Asks the broker as git does.
    async fn ask_broker(
        &self,
        capability: &Path,
        server: &str,
        repository: &str,
    ) -> Result<String, String> {
        let helper = find_sibling("git-credential-tinyclaw")
            .ok_or("git-credential-tinyclaw is not beside this program")?;
        let url = self.settings.current().github.broker_url.clone();
        let url = url.ok_or("github.brokerUrl is not set")?;
        let host = host_of(server);
        #[expect(
            clippy::disallowed_methods,
            reason = "the broker's own helper knows how it is asked"
        )]
        let mut helper = tokio::process::Command::new(helper)
            .arg("get")
            .env_clear()
            .env("CREDENTIAL_BROKER_URL", url)
            .env("TINYCLAW_GIT_HOST", host)
            .env("TINYCLAW_CAPABILITY_FILE", capability)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|err| format!("the broker's helper does not start: {err}"))?;
        let about = format!("protocol=https\nhost={host}\npath={repository}\n\n");
        if let Some(mut stdin) = helper.stdin.take() {
            let said = stdin.write_all(about.as_bytes()).await;
            said.map_err(|err| format!("the broker's helper does not listen: {err}"))?;
        }
        let output = tokio::time::timeout(PATIENCE, helper.wait_with_output()).await;
        let output =
            output.map_err(|_| format!("no answer of the broker in {} s", PATIENCE.as_secs()))?;
        let output = output.map_err(|err| format!("the broker's helper failed: {err}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || !said.contains("password=") || said.len() > ANSWER_BYTES_MAX
        {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().next().unwrap_or("it said nothing");
            return Err(format!("the broker gives none: {}", tinyclaw_service::conceal(why)));
        }
        Ok(said)
    }
}

/// What git on a devbox asks.
struct Asked<'a> {
    /// A password did not do.
    is_refused: bool,
    about: HashMap<&'a str, &'a str>,
}

impl<'a> Asked<'a> {
    fn read(text: &'a [u8]) -> Option<Asked<'a>> {
        let text = std::str::from_utf8(text).ok()?;
        let (action, about) = text.split_once('\n')?;
        let is_refused = match action {
            "get" => false,
            "erase" => true,
            _ => return None,
        };
        Some(Asked {
            is_refused,
            about: about.lines().filter_map(|it| it.split_once('=')).collect(),
        })
    }

    fn is_about(&self, server: &str, repository: &str) -> bool {
        let of = |name: &str| self.about.get(name).copied().unwrap_or_default();
        let asked = format!("{}/{}", of("host"), of("path"));
        let asked = asked.trim_end_matches('/');
        let asked = asked.strip_suffix(".git").unwrap_or(asked);
        of("protocol") == "https" && asked.eq_ignore_ascii_case(&address(server, repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_one_repository_and_nothing_else() {
        let is_about = |text: &str| {
            let asked = Asked::read(text.as_bytes());
            asked.is_some_and(|it| it.is_about("https://github.com", "acme/site"))
        };
        assert!(is_about("get\nprotocol=https\nhost=github.com\npath=acme/site.git\n\n"));
        assert!(is_about("get\nprotocol=https\nhost=GitHub.com\npath=acme/site\n"));
        for other in [
            "",
            "get",
            "store\nprotocol=https\nhost=github.com\npath=acme/site\n",
            "get\nprotocol=http\nhost=github.com\npath=acme/site\n",
            "get\nprotocol=https\nhost=github.com\n",
            "get\nprotocol=https\nhost=github.com\npath=acme/site/../other\n",
            "get\nprotocol=https\nhost=github.com\npath=acme/site.git.git\n",
            "get\nprotocol=https\nhost=github.com.example.org\npath=acme/site\n",
            "get\nprotocol=https\nhost=github.com\npath=acme/site\npath=acme/other\n",
        ] {
            assert!(!is_about(other), "{other:?}");
        }
    }

    #[test]
    fn the_repository_is_the_one_that_the_directory_comes_from() {
        let of = |origin: &str| repository_of(Some(origin), "/srv/api", "https://github.com/");
        assert_eq!(of("https://github.com/acme/site.git").as_deref(), Ok("acme/site"));
        assert_eq!(of("https://ada:secret@github.com/acme/site/").as_deref(), Ok("acme/site"));
        let says = |origin: &str, what: &str| {
            let why = of(origin).unwrap_err();
            assert!(why.contains(what) && !why.contains("secret"), "{origin}: {why}");
        };
        says("git@github.com:acme/site.git", "tokens go no other way");
        says("http://github.com/acme/site", "tokens go no other way");
        says("https://ada:secret@gitlab.com/acme/site", "no repository of github.com");
        says("https://github.com/acme/site/extra", "no repository of github.com");
        says("https://github.com/../site", "no repository of github.com");
        says("https://github.com@gitlab.com/acme/site", "no repository of github.com");
        let why = repository_of(None, "/srv/api", "https://github.com").unwrap_err();
        assert!(why.contains("no git repository"), "{why}");
    }
}
