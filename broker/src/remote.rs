//! Which repository a git URL or a command line of `gh` speaks of.
//!
//! Only https on the configured host counts: a token for GitHub is given to nobody else, however
//! alike the names look.

use crate::names::{self, Owner, RepoName};

/// The host that tokens are for, unless `TINYCLAW_GIT_HOST` names another.
pub const HOST: &str = "github.com";

/// One repository on the configured host.
pub type Repo = (Owner, RepoName);

/// The repository behind a path such as `acme/site.git/info/lfs`.
pub fn repo_of_path(path: &str) -> Option<Repo> {
    let mut parts = path.trim_matches('/').splitn(3, '/');
    let (owner, repo) = (parts.next()?, parts.next()?);
    let repo = repo.strip_suffix(".git").unwrap_or(repo);
    Some((owner.parse().ok()?, repo.parse().ok()?))
}

/// The repository behind a remote's URL, if it is on this host. SSH addresses name it too.
pub fn repo_of_url(url: &str, host: &str) -> Option<Repo> {
    let ours = |authority: &str| {
        let authority = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
        authority.eq_ignore_ascii_case(host)
    };
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_once('/')?;
        return (matches!(scheme, "https" | "ssh") && ours(authority))
            .then(|| repo_of_path(path))
            .flatten();
    }
    let (authority, path) = url.split_once(':')?;
    ours(authority).then(|| repo_of_path(path)).flatten()
}

/// The repository that a `gh` command line names itself, without looking at any folder.
pub fn repo_of_gh(words: &[String], host: &str) -> Named {
    let mut rest = words.iter().map(String::as_str);
    let mut plain: Vec<&str> = Vec::new();
    while let Some(word) = rest.next() {
        let flag = match word {
            "-R" | "--repo" => rest.next(),
            _ => word
                .strip_prefix("--repo=")
                .or_else(|| word.strip_prefix("-R").map(|it| it.trim_start_matches('='))),
        };
        match flag {
            Some(repo) => return Named::from(repo_argument(repo, host)),
            None if word == "--" => break,
            None => plain.push(word),
        }
    }
    for word in &plain {
        if word.starts_with("https://") {
            return Named::from(repo_of_url(word, host));
        }
    }
    match plain[..] {
        ["api", ..] => {
            // The endpoint may stand anywhere among the flags.
            let endpoint =
                plain.iter().find_map(|it| it.trim_start_matches('/').strip_prefix("repos/"));
            match endpoint {
                // `{owner}/{repo}` stands for the folder's own.
                Some(path) if !path.starts_with('{') => Named::from(repo_of_path(path)),
                _ => Named::Nothing,
            }
        }
        ["repo", "clone" | "view" | "fork" | "edit" | "sync" | "set-default", name, ..]
            if !name.starts_with('-') && name.contains('/') =>
        {
            Named::from(repo_argument(name, host))
        }
        _ => Named::Nothing,
    }
}

/// What a command line says about the repository.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// This one.
    Repo(Repo),
    /// One that no token is given for: another host's, or none at all.
    Foreign,
    /// Nothing: the folder decides.
    Nothing,
}

impl From<Option<Repo>> for Named {
    fn from(it: Option<Repo>) -> Named {
        it.map_or(Named::Foreign, Named::Repo)
    }
}

/// `owner/name`, `host/owner/name` or a URL.
pub fn repo_argument(text: &str, host: &str) -> Option<Repo> {
    if text.contains(':') {
        return repo_of_url(text, host);
    }
    match text.matches('/').count() {
        1 => names::full_name(text.strip_suffix(".git").unwrap_or(text)).ok(),
        2 => {
            let (other, path) = text.split_once('/')?;
            other.eq_ignore_ascii_case(host).then(|| repo_of_path(path)).flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo() -> Repo {
        ("acme".parse().unwrap(), "site".parse().unwrap())
    }

    #[test]
    fn urls_of_our_host_and_no_other() {
        for url in [
            "https://github.com/acme/site.git",
            "https://x-access-token@GitHub.com/Acme/Site",
            "git@github.com:acme/site.git",
            "ssh://git@github.com/acme/site",
            "https://github.com/acme/site/pull/7",
        ] {
            assert_eq!(repo_of_url(url, HOST), Some(repo()), "{url}");
        }
        for url in [
            "http://github.com/acme/site",
            "https://gitlab.com/acme/site",
            "https://github.com.evil.example/acme/site",
            "https://github.com@evil.example/acme/site",
            "https://evil.example/github.com/acme/site",
            "https://github.com:8443/acme/site",
            "https://github.com/acme",
            "/srv/git/site.git",
            "file:///srv/git/site.git",
        ] {
            assert_eq!(repo_of_url(url, HOST), None, "{url}");
        }
    }

    #[test]
    fn gh_names_a_repository_in_many_ways() {
        let gh =
            |line: &str| repo_of_gh(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), HOST);
        for line in [
            "pr create -R acme/site --title x",
            "pr create --repo=github.com/acme/site",
            "pr view https://github.com/acme/site/pull/7",
            "api repos/acme/site/pulls",
            "api -X POST /repos/acme/site/issues -f title=x",
            "repo clone acme/site",
        ] {
            assert_eq!(gh(line), Named::Repo(repo()), "{line}");
        }
        for line in ["pr create --repo gitlab.com/acme/site", "pr view https://evil.example/a/b"] {
            assert_eq!(gh(line), Named::Foreign, "{line}");
        }
        for line in ["pr create", "api repos/{owner}/{repo}/pulls", "auth status", "--version"] {
            assert_eq!(gh(line), Named::Nothing, "{line}");
        }
    }
}
