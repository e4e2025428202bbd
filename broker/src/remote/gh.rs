//! Which repository a command line of `gh` names.
//!
//! A text in a flag's value names nothing, however much it looks like a repository: the body of
//! an issue may be any URL. So this knows which of `gh`'s flags take a value. What follows a flag
//! that it does not know is looked at by nobody; where nothing clear is left, the folder decides.

use super::{Repo, repo_argument, repo_of_path, repo_of_url};

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

/// Whether a flag takes the next word as its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Value,
    Nothing,
    /// A flag we do not know: the next word may be anything.
    Unknown,
}

#[rustfmt::skip]
const LONG_WITH_VALUE: &[&str] = &[
    "add-assignee", "add-label", "add-project", "add-reviewer", "add-topic", "app", "archive", "assignee", "attempt",
    "author", "author-email", "base", "body", "body-file", "branch", "cache", "color", "comment", "commit", "created",
    "default-branch", "description", "dir", "discussion-category", "env", "event", "field", "fork-name", "gitignore",
    "head", "header", "homepage", "hostname", "input", "interval", "job", "jq", "json", "label", "license", "limit",
    "match-head-commit", "mention", "method", "milestone", "name", "notes", "notes-file", "notes-start-tag", "org",
    "output", "pattern", "preview", "project", "raw-field", "reason", "recover", "ref", "remote-name", "remove-assignee",
    "remove-label", "remove-project", "remove-reviewer", "remove-topic", "reviewer", "search", "source", "state",
    "status", "subject", "tag", "target", "team", "template", "title", "user", "visibility", "workflow",
];

#[rustfmt::skip]
const LONG_WITHOUT: &[&str] = &[
    "add-readme", "admin", "all", "approve", "auto", "cleanup-tag", "clobber", "clone", "comments", "debug",
    "delete-branch", "delete-last", "detach", "disable-auto", "disable-issues", "disable-wiki", "draft", "dry-run",
    "edit-last", "editor", "exit-status", "fail-fast", "failed", "fill", "fill-first", "fill-verbose", "force",
    "generate-notes", "help", "include", "internal", "latest", "log", "log-failed", "merge", "name-only",
    "no-maintainer-edit", "no-milestone", "notes-from-tag", "paginate", "patch", "prerelease", "private", "public",
    "push", "rebase", "recurse-submodules", "request-changes", "required", "silent", "skip-existing", "slurp", "squash",
    "undo", "verbose", "verify-tag", "watch", "web", "yes",
];

/// Letters with a value, unless the command is among the exceptions.
const LETTERS_WITH_VALUE: &str = "abilmnpqrstuABDFHLOSTX";
const LETTERS_WITHOUT: &str = "cdefvwy";
/// The same letter is another flag there.
const WITHOUT_VALUE_HERE: &[(&str, &str, &str)] = &[
    ("api", "", "i"),
    ("pr", "merge", "mrs"),
    ("pr", "review", "acr"),
    ("release", "create", "p"),
    ("run", "list", "a"),
];
const WITH_VALUE_HERE: &[(&str, &str, &str)] = &[
    ("api", "", "f"),
    ("issue", "close", "c"),
    ("pr", "close", "c"),
    ("repo", "create", "dg"),
    ("repo", "edit", "d"),
    ("run", "list", "cew"),
    ("run", "rerun", "j"),
    ("run", "view", "j"),
    ("workflow", "run", "f"),
];

/// The repository that a `gh` command line names itself, without looking at any folder.
pub fn repo_of_gh(words: &[String], host: &str) -> Named {
    let mut words = words.iter().map(String::as_str);
    let Some(command) = words.next() else { return Named::Nothing };
    let line = CommandLine::read(command, words);
    if let Some(named) = line.repo {
        return Named::from(repo_argument(named, host));
    }
    match (command, line.verb, line.object) {
        ("api", ..) if line.hostname.is_some_and(|it| !it.eq_ignore_ascii_case(host)) => {
            Named::Foreign
        }
        ("api", endpoint, _) => of_endpoint(endpoint, host),
        ("pr" | "issue" | "repo" | "release" | "run", _, url) if url.starts_with("https://") => {
            Named::from(repo_of_url(url, host))
        }
        (
            "repo",
            "archive" | "clone" | "delete" | "edit" | "fork" | "set-default" | "sync" | "unarchive"
            | "view",
            name,
        ) if name.contains('/') => Named::from(repo_argument(name, host)),
        _ => Named::Nothing,
    }
}

/// `repos/acme/site/pulls`, with a slash before it or as a whole URL of the API.
fn of_endpoint(endpoint: &str, host: &str) -> Named {
    let path = match endpoint.split_once("://") {
        Some(("https", rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let api = authority.split_at_checked(4).filter(|it| it.0.eq_ignore_ascii_case("api."));
            if api.is_some_and(|it| it.1.eq_ignore_ascii_case(host)) {
                path
            } else if let Some(path) = path.strip_prefix("api/v3/")
                && authority.eq_ignore_ascii_case(host)
            {
                path
            } else {
                return Named::Foreign;
            }
        }
        Some(_) => return Named::Foreign,
        None => endpoint.trim_start_matches('/'),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match path.strip_prefix("repos/") {
        // `{owner}/{repo}` stands for the folder's own.
        Some(path) if !path.starts_with(['{', ':']) => Named::from(repo_of_path(path)),
        _ => Named::Nothing,
    }
}

/// A command line taken apart as far as it is clear.
#[derive(Debug, Default)]
struct CommandLine<'a> {
    /// The word after the command: `create`, or the endpoint of `api`.
    verb: &'a str,
    /// The first word after that, which is no flag and no flag's value.
    object: &'a str,
    /// `--repo`.
    repo: Option<&'a str>,
    /// `--hostname`.
    hostname: Option<&'a str>,
}

impl<'a> CommandLine<'a> {
    fn read(command: &'a str, words: impl Iterator<Item = &'a str>) -> CommandLine<'a> {
        let mut line = CommandLine::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            let (flag, attached) = match word.strip_prefix("--") {
                Some(long) => match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                },
                None if word.len() > 1 && word.starts_with('-') => line.letters(command, word),
                None => {
                    line.word(word);
                    continue;
                }
            };
            let takes = if flag.chars().count() == 1 {
                line.letter(command, flag)
            } else {
                line.long(command, flag)
            };
            let value = match (attached, takes) {
                (Some(value), _) => Some(value),
                (None, Takes::Value) => words.next(),
                (None, Takes::Unknown) => words.next_if(|it| !it.starts_with('-')),
                (None, Takes::Nothing) => None,
            };
            match flag {
                "R" | "repo" => line.repo = line.repo.or(value),
                "hostname" => line.hostname = value,
                _ => {}
            }
        }
        line
    }

    fn word(&mut self, word: &'a str) {
        if self.verb.is_empty() {
            self.verb = word;
        } else if self.object.is_empty() {
            self.object = word;
        }
    }

    /// The last flag of `-dR` or `-Racme/site`, and the value that sticks to it.
    fn letters(&self, command: &str, word: &'a str) -> (&'a str, Option<&'a str>) {
        let letters = &word[1..];
        for (place, letter) in letters.char_indices() {
            let end = place + letter.len_utf8();
            let (flag, rest) = (&letters[place..end], &letters[end..]);
            if rest.is_empty() {
                return (flag, None);
            }
            if self.letter(command, flag) != Takes::Nothing {
                return (flag, Some(rest.strip_prefix('=').unwrap_or(rest)));
            }
        }
        (letters, None)
    }

    fn letter(&self, command: &str, letter: &str) -> Takes {
        let here = |table: &[(&str, &str, &str)]| {
            let mut table = table.iter().filter(|it| it.0 == command);
            table.any(|it| (it.1.is_empty() || it.1 == self.verb) && it.2.contains(letter))
        };
        if letter == "R" || here(WITH_VALUE_HERE) {
            Takes::Value
        } else if here(WITHOUT_VALUE_HERE) || LETTERS_WITHOUT.contains(letter) {
            Takes::Nothing
        } else if LETTERS_WITH_VALUE.contains(letter) {
            Takes::Value
        } else {
            Takes::Unknown
        }
    }

    fn long(&self, command: &str, name: &str) -> Takes {
        // `pr review --comment` says what kind of review it is; `issue close --comment` has a text.
        if (command, self.verb, name) == ("pr", "review", "comment") {
            Takes::Nothing
        } else if name == "repo" || LONG_WITH_VALUE.contains(&name) {
            Takes::Value
        } else if LONG_WITHOUT.contains(&name) {
            Takes::Nothing
        } else {
            Takes::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::HOST;
    use super::*;

    /// Splits a line at blanks, but not between quotation marks.
    fn named_on(line: &str, host: &str) -> Named {
        let mut words = Vec::new();
        for (place, part) in line.split('"').enumerate() {
            if place % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        repo_of_gh(&words, host)
    }

    fn named(line: &str) -> Named {
        named_on(line, HOST)
    }

    fn site() -> Named {
        Named::Repo(("acme".parse().unwrap(), "site".parse().unwrap()))
    }

    #[test]
    fn gh_names_a_repository_in_many_ways() {
        for line in [
            "pr create -R acme/site --title x",
            "pr create --repo=github.com/acme/site",
            "pr create -Racme/site",
            "pr create -dR acme/site",
            "pr merge -sdR=acme/site 7",
            "pr list --repo https://github.com/acme/site",
            "pr view https://github.com/acme/site/pull/7",
            "pr view --web https://github.com/acme/site/pull/7",
            "pr review -a https://github.com/acme/site/pull/7",
            "issue comment https://github.com/acme/site/issues/5 --body hello",
            "api repos/acme/site/pulls",
            "api -X POST /repos/acme/site/issues -f title=x",
            "api repos/acme/site?per_page=1",
            "api -i https://api.github.com/repos/acme/site/pulls",
            "repo clone acme/site",
            "repo clone https://github.com/acme/site -- --depth 1",
        ] {
            assert_eq!(named(line), site(), "{line}");
        }
        let enterprise = "https://git.example.com/api/v3/repos/acme/site/pulls";
        assert_eq!(named_on(&format!("api {enterprise}"), "git.example.com"), site());
    }

    #[test]
    fn another_host_gets_no_token() {
        for line in [
            "pr create --repo gitlab.com/acme/site",
            "pr view https://evil.example/a/b",
            "api https://evil.example/repos/acme/site",
            "api https://api.github.com.evil.example/repos/acme/site",
            "api http://api.github.com/repos/acme/site",
            "api https://github.com/repos/acme/site",
            "api --hostname git.example.com repos/acme/site",
        ] {
            assert_eq!(named(line), Named::Foreign, "{line}");
        }
    }

    #[test]
    fn a_flags_value_names_nothing() {
        for line in [
            "pr create",
            "api repos/{owner}/{repo}/pulls",
            "api repos/:owner/:repo/pulls",
            "api graphql -f query=x",
            "api user -f repos/acme/site",
            "auth status",
            "--version",
            "issue comment 5 --body https://ci.example.com/build/1",
            "issue comment 5 -b https://ci.example.com/build/1",
            "pr create --body \"https://github.com/other/lib/issues/3\"",
            "pr create --fill --body \"-Removed x\"",
            "pr create -b \"-Removed x\" -t \"-Rother/lib\"",
            "pr create --body=--repo=other/lib",
            "pr close 5 -c https://github.com/other/lib/issues/3",
            "issue create --later https://github.com/other/lib/issues/3",
            "issue create --title --repo --body other/lib",
            "release create v1 --notes https://github.com/other/lib/releases",
            "run list -w https://github.com/other/lib/actions",
            "repo create --description other/lib",
            "search issues https://github.com/other/lib",
            "repo clone x -- -R other/lib",
        ] {
            assert_eq!(named(line), Named::Nothing, "{line}");
        }
    }
}
