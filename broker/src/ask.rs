//! What a caller asks for: the query string of `/token` and `/explain`, parsed once at the door.
//!
//! Whatever is not exactly understood is refused. A broker that guesses hands out a token for
//! more than was meant: an unknown key, a doubled one, an empty list or a number in another
//! spelling is a 400 with its reason, never a default.

use std::borrow::Cow;

use crate::names::{self, Owner, RepoName};
use crate::permission::Permissions;
use crate::refusal::Refusal;

/// GitHub's own limit for one token.
const REPOSITORIES_MAX: usize = 500;
/// A token lives for 60 minutes and is renewed 10 before its end.
const MIN_TTL_SECONDS_MAX: u32 = 3_000;
const GRANT_BYTES_MAX: usize = 64;

/// Whose installation of the App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By its number.
    Installation(u64),
    /// The one of a user or an organisation.
    Owner(Owner),
    /// The one that sees this repository.
    Repo(Owner, RepoName),
}

/// A request as it was meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    /// Whose installation; a grant may know it instead.
    pub target: Option<Target>,
    /// Sorted, each once; with `repo=` the one.
    pub repositories: Option<Vec<RepoName>>,
    /// Named one by one.
    pub permissions: Option<Permissions>,
    /// Named by the policy.
    pub grant: Option<String>,
    /// Seconds that the token must still live.
    pub min_ttl: Option<u32>,
}

impl Ask {
    /// Parses a query string as it stands in the URL.
    pub fn parse(query: &str) -> Result<Ask, Refusal> {
        let mut ask = Ask::default();
        let mut seen: Vec<Cow<'_, str>> = Vec::with_capacity(4);
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                let error = format!("query part {:?} is not key=value", shortened(pair));
                Refusal::malformed("bad_query", error, "write key=value pairs joined by '&'")
            })?;
            let (key, value) = (decoded(key)?, decoded(value)?);
            if seen.contains(&key) {
                let error = format!("{} is given twice", shortened(&key));
                return Err(Refusal::malformed("duplicate_key", error, "give each key once"));
            }
            ask.take(&key, &value)?;
            seen.push(key);
        }
        if ask.grant.is_some() && ask.permissions.is_some() {
            return Err(Refusal::malformed(
                "conflict",
                "grant and permissions exclude each other",
                "a grant already names its permissions: leave one of the two out",
            ));
        }
        if matches!(ask.target, Some(Target::Repo(..)))
            && seen.iter().any(|it| it == "repositories")
        {
            return Err(Refusal::malformed(
                "conflict",
                "repo and repositories exclude each other",
                "repo=owner/name already names the repository: use owner= with repositories=",
            ));
        }
        Ok(ask)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        match key {
            "installation_id" => self.aim(Target::Installation(installation(value)?)),
            "owner" => {
                let owner = value.parse().map_err(|bad: names::BadName| {
                    Refusal::malformed("bad_owner", bad.to_string(), "owner=acme")
                })?;
                self.aim(Target::Owner(owner))
            }
            "repo" => {
                let (owner, repo) = names::full_name(value).map_err(|bad| {
                    Refusal::malformed("bad_repo", bad.to_string(), "repo=acme/site")
                })?;
                self.repositories = Some(vec![repo.clone()]);
                self.aim(Target::Repo(owner, repo))
            }
            "repositories" => {
                self.repositories = Some(repositories(value)?);
                Ok(())
            }
            "permissions" => {
                self.permissions = Some(Permissions::parse(value).map_err(|bad| {
                    let hint = "permissions=contents:write,pull_requests:write; leave the key out \
                                for the policy's default";
                    Refusal::malformed("bad_permissions", bad.to_string(), hint)
                })?);
                Ok(())
            }
            "grant" => {
                let clean = !value.is_empty()
                    && value.len() <= GRANT_BYTES_MAX
                    && value.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
                if !clean {
                    let error = format!("grant {:?} is not a name", shortened(value));
                    return Err(Refusal::malformed("bad_grant", error, "grant=bot-pr"));
                }
                self.grant = Some(value.to_owned());
                Ok(())
            }
            "min_ttl" => {
                let seconds = plain_number(value).filter(|it| *it <= MIN_TTL_SECONDS_MAX.into());
                let seconds = seconds.ok_or_else(|| {
                    let error =
                        format!("min_ttl {:?} is not a number of seconds", shortened(value));
                    let hint = "0 to 3000: a token lives for an hour and is renewed before its end";
                    Refusal::malformed("bad_min_ttl", error, hint)
                })?;
                self.min_ttl = Some(seconds as u32);
                Ok(())
            }
            _ => Err(Refusal::malformed(
                "unknown_key",
                format!("{:?} is not known here", shortened(key)),
                "known are installation_id, owner, repo, repositories, permissions, grant, min_ttl",
            )),
        }
    }

    fn aim(&mut self, target: Target) -> Result<(), Refusal> {
        if self.target.is_some() {
            return Err(Refusal::malformed(
                "conflict",
                "installation_id, owner and repo exclude each other",
                "name the installation in one way only",
            ));
        }
        self.target = Some(target);
        Ok(())
    }
}

fn installation(value: &str) -> Result<u64, Refusal> {
    // GitHub's ids fit into a signed 64-bit number; 0 is none.
    let id = plain_number(value).filter(|it| *it > 0 && i64::try_from(*it).is_ok());
    id.ok_or_else(|| {
        let error = format!("installation_id {:?} is not an id", shortened(value));
        let hint = "plain decimal digits, as in the address of the installation's settings page";
        Refusal::malformed("bad_installation_id", error, hint)
    })
}

/// Digits only, without sign, blank or leading zero: one number, one spelling.
fn plain_number(value: &str) -> Option<u64> {
    let plain = value.bytes().all(|it| it.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'))
        && !value.is_empty();
    plain.then(|| value.parse().ok()).flatten()
}

fn repositories(value: &str) -> Result<Vec<RepoName>, Refusal> {
    let hint = "repositories=site,docs: names without their owner, at most 500";
    if value.is_empty() {
        let error = "the list of repositories is empty";
        return Err(Refusal::malformed("bad_repositories", error, hint));
    }
    // Counted before anything is kept, so that a long list costs nothing.
    if value.split(',').nth(REPOSITORIES_MAX).is_some() {
        let error = "more than 500 repositories for one token";
        return Err(Refusal::malformed("too_many_repositories", error, hint));
    }
    let mut names = value
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<RepoName>, _>>()
        .map_err(|bad| Refusal::malformed("bad_repositories", bad.to_string(), hint))?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Undoes `%xx`. A plus stays a plus: no value of ours has a blank in it.
fn decoded(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let bad = || {
        let error = format!("{:?} is not percent-encoded UTF-8", shortened(text));
        Refusal::malformed("bad_encoding", error, "write %XX with two hexadecimal digits")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|it| char::from(it).to_digit(16));
            let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| bad())
}

/// What a person wrote, short enough for an answer and without what could be a secret.
fn shortened(text: &str) -> String {
    crate::redact::scrub(&text.chars().take(60).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn refused(query: &str, expect: Expect) {
        let refusal = Ask::parse(query).expect_err("this must be refused");
        assert_eq!(refusal.status, 400);
        expect.assert_eq(&format!("{}: {}", refusal.code, refusal.error));
    }

    #[test]
    fn the_seeds_query() {
        let ask = Ask::parse(
            "installation_id=12345&repositories=my-repo&permissions=contents:write,pull_requests:write",
        )
        .unwrap();
        assert_eq!(ask.target, Some(Target::Installation(12345)));
        assert_eq!(ask.repositories, Some(vec!["my-repo".parse().unwrap()]));
        assert_eq!(ask.permissions.unwrap().to_string(), "contents:write,pull_requests:write");
    }

    #[test]
    fn order_case_and_repetition_make_no_other_request() {
        let one = Ask::parse("installation_id=7&repositories=b,A,a").unwrap();
        let two = Ask::parse("repositories=a%2Cb&installation_id=7").unwrap();
        assert_eq!(one, two);
    }

    #[test]
    fn a_typo_is_never_everything() {
        // The seed's broker asked for all permissions on all repositories with these.
        refused(
            "installation_id=1&permissions=contents",
            expect![[r#"bad_permissions: "contents" is not name:level"#]],
        );
        refused(
            "installation_id=1&repositories=&permissions=",
            expect!["bad_repositories: the list of repositories is empty"],
        );
        refused(
            "installation_id=1&permission=contents:read",
            expect![[r#"unknown_key: "permission" is not known here"#]],
        );
    }

    #[test]
    fn a_number_has_one_spelling() {
        for id in ["0x4d", "77.0", "+77", "%2077", "077", "7e1", "", "0", "-1", "９", "abc"] {
            let refusal = Ask::parse(&format!("installation_id={id}")).unwrap_err();
            assert_eq!(refusal.code, "bad_installation_id", "{id}");
        }
        for id in ["9223372036854775808", "18446744073709551616", "99999999999999999999999"] {
            assert!(Ask::parse(&format!("installation_id={id}")).is_err(), "{id}");
        }
    }

    #[test]
    fn odd_requests_are_named() {
        refused(
            "installation_id=1&installation_id=1",
            expect!["duplicate_key: installation_id is given twice"],
        );
        refused(
            "installation_id=1&%69nstallation_id=2",
            expect!["duplicate_key: installation_id is given twice"],
        );
        refused(
            "installation_id=1&owner=a",
            expect!["conflict: installation_id, owner and repo exclude each other"],
        );
        refused(
            "repo=a/b&repositories=c",
            expect!["conflict: repo and repositories exclude each other"],
        );
        refused(
            "repositories=acme/site",
            expect![[
                r#"bad_repositories: repository "acme/site" is not a name: 1 to 100 letters, digits, '-', '_' or '.', without its owner"#
            ]],
        );
        refused(
            "repositories=a%00b",
            expect![[
                r#"bad_repositories: repository "a\0b" is not a name: 1 to 100 letters, digits, '-', '_' or '.', without its owner"#
            ]],
        );
        refused(
            "repositories=%C3%28",
            expect![[r#"bad_encoding: "%C3%28" is not percent-encoded UTF-8"#]],
        );
        refused("repositories=%4", expect![[r#"bad_encoding: "%4" is not percent-encoded UTF-8"#]]);
        refused(
            "repo=acme",
            expect![[
                r#"bad_repo: repository "acme" is not a name: owner and name with one '/' between them"#
            ]],
        );
        refused(
            "repo=acme/..",
            expect![[
                r#"bad_repo: repository ".." is not a name: 1 to 100 letters, digits, '-', '_' or '.', without its owner"#
            ]],
        );
        refused(
            "min_ttl=3601",
            expect![[r#"bad_min_ttl: min_ttl "3601" is not a number of seconds"#]],
        );
        refused("a&b", expect![[r#"bad_query: query part "a" is not key=value"#]]);
        refused("installation_id=1&", expect![[r#"bad_query: query part "" is not key=value"#]]);
        refused(
            "grant=x&permissions=issues:read",
            expect!["conflict: grant and permissions exclude each other"],
        );
    }

    #[test]
    fn five_hundred_repositories_are_the_limit() {
        let list =
            |count: usize| (0..count).map(|it| format!("r{it}")).collect::<Vec<_>>().join(",");
        assert!(Ask::parse(&format!("repositories={}", list(500))).is_ok());
        let refusal = Ask::parse(&format!("repositories={}", list(501))).unwrap_err();
        assert_eq!(refusal.code, "too_many_repositories");
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".*") {
            let _ = Ask::parse(&query);
        }
    }
}
