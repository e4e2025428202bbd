//! Which repository a git URL or a command line of `gh` speaks of.
//!
//! Only https on the configured host counts: a token for GitHub is given to nobody else, however
//! alike the names look.

mod gh;

use crate::names::{self, Owner, RepoName};

pub use gh::{Named, repo_of_gh};

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
}
