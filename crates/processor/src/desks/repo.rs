//! The name of a repository, parsed before it becomes a path and a part of an address. Pure.

use crate::text::shortened;

/// `owner/name`, checked: it becomes a path and a part of an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repo<'a> {
    pub(crate) owner: &'a str,
    pub(crate) name: &'a str,
}

impl Repo<'_> {
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Where it is cloned from, on this server.
    pub(crate) fn address(&self, server: &str) -> String {
        format!("{}/{}/{}.git", server.trim_end_matches('/'), self.owner, self.name)
    }
}

pub(crate) fn parse(text: &str) -> Result<Repo<'_>, String> {
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
    parse(text).map(|it| it.full_name())
}

/// The host of an address, with its port: whose passwords the credential helper knows.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |it| it.1);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
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
