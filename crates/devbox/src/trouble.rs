//! What ssh and the other end say when a connection comes to nothing, in words for a person.
//!
//! ssh tells by sentences and not by numbers, so they are looked for here, once. What the other end says besides is a
//! stranger's word: it is cut short, and no control character of it is passed on.

use std::fmt;

use crate::ssh::Route;

/// What a stranger says is shown up to here.
const SHOWN_MAX: usize = 160;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name leads nowhere.
    Unresolved,
    /// Nobody listens.
    RefusesConnections,
    /// Nobody answers.
    Silent,
    /// There is no way.
    NoRoute,
    /// Whoever answers does not speak SSH.
    NotSsh,
    /// No person has said yet whose key that is.
    KeyUnknown,
    /// It is another key than the one that was approved.
    KeyChanged,
    /// Our key is not taken.
    NotLetIn,
    /// Our own key file is not as it should be.
    OwnKey,
    /// No certificate was made for our key.
    NoCertificate,
    /// It waits for a person.
    WantsPerson,
    /// It opens no session.
    NoSession,
    /// There is no shell for the user.
    NoShell,
    /// The helper cannot be put there.
    NoHelper,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether it lasts until a person does something: trying again changes nothing.
    pub fn is_lasting(self) -> bool {
        use Kind::{KeyChanged, KeyUnknown, NoHelper, NoShell, NotLetIn, OwnKey};
        matches!(self, KeyChanged | KeyUnknown | NotLetIn | OwnKey | NoShell | NoHelper)
    }
}

/// Why a devbox was not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// What kind it is.
    pub kind: Kind,
    /// In words that follow "… is out of reach: ", without a full stop.
    pub text: String,
}

/// What was heard until a connection came to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// ssh's own words.
    pub stderr: &'a str,
    /// What came from the other end.
    pub stdout: &'a str,
    /// With what ssh ended, if it did: 255 is its own, all else the other end's.
    pub code: Option<i32>,
}

impl Trouble {
    /// Trouble of this kind, in these words.
    pub fn new(kind: Kind, text: impl Into<String>) -> Trouble {
        Trouble { kind, text: text.into() }
    }

    /// What that means of a connection that was to be made.
    pub fn of(route: &Route, said: &Said<'_>) -> Trouble {
        let has = |words: &[&str]| words.iter().any(|it| said.stderr.contains(it));
        let (host, at) = (route.host.host(), route.host.with_port());
        let (name, who) = (&route.name, format!("{}@{}", route.user, route.host.host()));
        if has(&["IDENTIFICATION HAS CHANGED"]) {
            return Trouble::new(
                Kind::KeyChanged,
                format!(
                    "the key of {name} has changed; it was set up anew, or somebody stands between (/devbox forget key {name} asks again)"
                ),
            );
        }
        if has(&["Host key verification failed", "host key is known"]) {
            let text =
                format!("nobody has approved the key of {name} (/devbox doctor {name} shows it)");
            return Trouble::new(Kind::KeyUnknown, text);
        }
        if has(&["Permission denied ("]) {
            let text = format!("{who} does not take our key (/devbox key shows it)");
            return Trouble::new(Kind::NotLetIn, text);
        }
        if has(&["bad permissions", "UNPROTECTED PRIVATE KEY"]) {
            return Trouble::new(Kind::OwnKey, "the key file may be read by others (chmod 600)");
        }
        if has(&["Could not resolve", "Name or service not known"]) {
            return Trouble::new(Kind::Unresolved, format!("{host} is no name that resolves"));
        }
        if has(&["Connection refused"]) {
            return Trouble::new(Kind::RefusesConnections, format!("{at} refuses connections"));
        }
        if has(&["kex_exchange_", "banner exchange", "Bad remote protocol version"]) {
            let text = format!("something answers at {at}, not as SSH or too busy");
            return Trouble::new(Kind::NotSsh, text);
        }
        if has(&["timed out", "Operation timed out"]) {
            return Trouble::new(Kind::Silent, format!("{at} does not answer (10 s)"));
        }
        if has(&["No route to host", "Network is unreachable", "Network unreachable"]) {
            return Trouble::new(Kind::NoRoute, format!("there is no way to {host}"));
        }
        if has(&["open failed", "administratively prohibited"]) {
            let text = format!("{name} opens no session (MaxSessions)");
            return Trouble::new(Kind::NoSession, text);
        }
        match said.code {
            Some(97) => {
                let why = match has(&["No space left", "Disk quota exceeded"]) {
                    true => "its disk is full".to_owned(),
                    false => first_line(said.stderr).map_or_else(
                        || "it did not arrive whole".to_owned(),
                        |it| format!("`{it}`"),
                    ),
                };
                return Trouble::new(
                    Kind::NoHelper,
                    format!("the helper cannot be put there: {why}"),
                );
            }
            Some(126) => {
                let text =
                    "the helper cannot be started there: programs in the home are not run (noexec)";
                return Trouble::new(Kind::NoHelper, text);
            }
            _ => {}
        }
        match (said.code, first_line(said.stdout)) {
            (Some(code), line) if code != 255 => {
                let line = line.or_else(|| last_line(said.stderr));
                let line = line.map_or_else(String::new, |it| format!(": `{it}`"));
                Trouble::new(Kind::NoShell, format!("there is no shell for {}{line}", route.user))
            }
            // A server says it before the login, in its banner, which ssh passes on; a shell after it.
            (None, line) => {
                let linked = linked_line(said.stderr).or_else(|| linked_line(said.stdout));
                let text = match linked.or(line).or_else(|| first_line(said.stderr)) {
                    Some(line) => format!("{name} wants a person: `{line}`"),
                    None => format!("{name} lets us in and says nothing"),
                };
                Trouble::new(Kind::WantsPerson, text)
            }
            (Some(_), _) => Trouble::new(
                Kind::Other,
                match last_line(said.stderr) {
                    Some(line) => format!("the connection ended: `{line}`"),
                    None => "the connection ended".to_owned(),
                },
            ),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn first_line(text: &str) -> Option<String> {
    text.lines().map(plain).find(|it| !it.is_empty())
}

/// The first line with an address to visit, which may stand below a greeting.
fn linked_line(text: &str) -> Option<String> {
    text.lines().filter(|it| it.contains("://")).map(plain).find(|it| !it.is_empty())
}

fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(plain).find(|it| !it.is_empty())
}

/// One line of a stranger's, fit to be shown between backticks.
fn plain(line: &str) -> String {
    plain_words(line, SHOWN_MAX)
}

/// A stranger's words, fit to be shown between backticks: so many letters at most, and nothing that is hidden or that changes
/// how the rest is shown. Brackets become round ones: words in square ones may be a link that says it leads elsewhere.
pub fn plain_words(text: &str, letters_max: usize) -> String {
    let is_hidden = |it: &char| {
        it.is_control()
            || *it == '`'
            || matches!(*it, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = |it| match it {
        '[' => '(',
        ']' => ')',
        other => other,
    };
    let text: String =
        text.chars().filter(|it| !is_hidden(it)).map(shown).take(letters_max).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(stderr: &str, stdout: &str, code: Option<i32>, expect: Expect) {
        let route = Route {
            name: "api".parse().unwrap(),
            host: "api.example.org".parse().unwrap(),
            user: "deploy".parse().unwrap(),
            key: "/key".into(),
            config: None,
            known_hosts: "/known".into(),
            cert_command: None,
        };
        let Trouble { kind, text } = Trouble::of(&route, &Said { stderr, stdout, code });
        let way = if kind.is_lasting() { "H" } else { "W" };
        expect.assert_eq(&format!("{way} {kind}: {text}"));
    }

    #[test]
    fn what_ssh_says_is_one_sentence_of_ours() {
        let own = Some(255);
        check(
            "ssh: Could not resolve hostname x.invalid: Name or service not known",
            "",
            own,
            expect!["W Unresolved: api.example.org is no name that resolves"],
        );
        check(
            "ssh: connect to host h port 22: Connection refused",
            "",
            own,
            expect!["W RefusesConnections: api.example.org:22 refuses connections"],
        );
        check(
            "ssh: connect to host h port 22: Connection timed out",
            "",
            own,
            expect!["W Silent: api.example.org:22 does not answer (10 s)"],
        );
        check(
            "ssh: connect to host h port 22: No route to host",
            "",
            own,
            expect!["W NoRoute: there is no way to api.example.org"],
        );
        check(
            "Connection timed out during banner exchange\nConnection to h port 22 timed out",
            "",
            own,
            expect!["W NotSsh: something answers at api.example.org:22, not as SSH or too busy"],
        );
        check(
            "kex_exchange_identification: read: Connection reset by peer",
            "",
            own,
            expect!["W NotSsh: something answers at api.example.org:22, not as SSH or too busy"],
        );
        check(
            "No ED25519 host key is known for api and you have requested strict checking.\nHost key verification failed.",
            "",
            own,
            expect![
                "H KeyUnknown: nobody has approved the key of api (/devbox doctor api shows it)"
            ],
        );
        check(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "",
            own,
            expect![
                "H KeyChanged: the key of api has changed; it was set up anew, or somebody stands between (/devbox forget key api asks again)"
            ],
        );
        check(
            "deploy@h: Permission denied (publickey).",
            "",
            own,
            expect![
                "H NotLetIn: deploy@api.example.org does not take our key (/devbox key shows it)"
            ],
        );
        check(
            "channel 0: open failed: administratively prohibited: open failed",
            "",
            own,
            expect!["W NoSession: api opens no session (MaxSessions)"],
        );
        check(
            "",
            "This account is currently not available.\n",
            Some(1),
            expect![
                "H NoShell: there is no shell for deploy: `This account is currently not available.`"
            ],
        );
        check(
            "head: write error: No space left on device",
            "",
            Some(97),
            expect!["H NoHelper: the helper cannot be put there: its disk is full"],
        );
        check(
            "",
            "",
            Some(97),
            expect!["H NoHelper: the helper cannot be put there: it did not arrive whole"],
        );
        check(
            "sh: 1: exec: leash: Permission denied",
            "",
            Some(126),
            expect![
                "H NoHelper: the helper cannot be started there: programs in the home are not run (noexec)"
            ],
        );
        check(
            "# An additional check is required.\n# To authenticate, visit https://login.example/a/1\n",
            "",
            None,
            expect![
                "W WantsPerson: api wants a person: `# To authenticate, visit https://login.example/a/1`"
            ],
        );
        check(
            "Authorized use only.\n",
            "Enter the code:\n",
            None,
            expect!["W WantsPerson: api wants a person: `Enter the code:`"],
        );
        check(
            "",
            "# To authenticate, visit https://login.example/a/1\n",
            None,
            expect![
                "W WantsPerson: api wants a person: `# To authenticate, visit https://login.example/a/1`"
            ],
        );
        check(
            "Connection to h closed by remote host.",
            "",
            own,
            expect!["W Other: the connection ended: `Connection to h closed by remote host.`"],
        );
    }

    #[test]
    fn a_strangers_words_are_short_and_plain() {
        let nasty = format!("\x1b]0;title\x07\u{202e}`red`{}\n", "x".repeat(500));
        let route_free = plain(&nasty);
        assert!(!route_free.contains(char::is_control) && !route_free.contains(['`', '\u{202e}']));
        assert!(route_free.len() <= SHOWN_MAX);
    }
}
