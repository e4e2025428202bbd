//! How each part of an office stands: real, demo, broken or off, and what to do about it.
//!
//! Told from the settings and from what the services last said of themselves. It asks nobody but the broker on its
//! `/ready`, spends nothing, writes nothing, and never shows a secret.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tinyclaw_ledger::{StateDir, health};
use tinyclaw_service::healthcheck::{BROKER_IDLES, ProbeError, probe};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::{
    self, Dashboard, EngineKind, Environment, Mistakes, Office, Reader, Section, Settings,
};

/// A broker that is there answers at once.
const BROKER_PATIENCE: Duration = Duration::from_millis(800);
/// Less of a secret than this is not hinted at.
const SECRET_CHARS_MIN: usize = 12;

/// One part of an office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartStanding {
    /// `telegram`, `claude`, `github`, `tunnel`, `office`: what `tinyclaw setup` calls it.
    pub(crate) name: &'static str,
    /// How it stands.
    pub(crate) standing: Standing,
    /// What it is, or why it is not, in one line for a person.
    pub(crate) why: String,
    /// The one thing to do about it, where there is one.
    pub(crate) way_out: Option<String>,
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It plays the part, and says so.
    Demo,
    /// It is configured, and nothing speaks against it.
    Real,
    /// It is configured, and does not work.
    Broken,
    /// It is not configured, and the office does without.
    Off,
}

impl Standing {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Standing::Demo => "demo",
            Standing::Real => "real",
            Standing::Broken => "broken",
            Standing::Off => "off",
        }
    }
}

impl PartStanding {
    fn new(name: &'static str, standing: Standing, why: impl Into<String>) -> PartStanding {
        PartStanding { name, standing, why: why.into(), way_out: None }
    }

    fn way_out(mut self, way_out: impl Into<String>) -> PartStanding {
        self.way_out = Some(way_out.into());
        self
    }

    /// With the command of its own as the way out.
    fn set_up(self) -> PartStanding {
        let way_out = format!("tinyclaw setup {}", self.name);
        self.way_out(way_out)
    }
}

/// How every part stands, in the order in which one sets them up.
///
/// `environment` is what the services see: in an operator's checkout, `.env` belongs into it.
pub(crate) fn standing(state: &StateDir, environment: &Environment) -> Vec<PartStanding> {
    let file = std::fs::read_to_string(state.settings()).unwrap_or_default();
    let asked = Asked { state, environment, file };
    vec![asked.telegram(), asked.claude(), asked.github(), asked.tunnel(), asked.office()]
}

/// The end of a secret, enough to tell two apart.
pub(crate) fn hint(secret: &str) -> String {
    let secret = secret.trim();
    let count = secret.chars().count();
    let shown = if count < SECRET_CHARS_MIN { 0 } else { 4 };
    format!("…{}", secret.chars().skip(count - shown).collect::<String>())
}

struct Asked<'a> {
    state: &'a StateDir,
    environment: &'a Environment,
    file: String,
}

impl Asked<'_> {
    /// A section as the service that reads it would have it.
    fn settings<S: Section>(&self) -> Result<S, Mistakes> {
        Reader::new(&self.file, self.environment).finish::<S>().map(|(section, _)| section)
    }

    /// What a service says of itself, when it is there to say it.
    fn health(&self, service: &str) -> Option<tinyclaw_domain::Health> {
        let seen = health::read(self.state, service, now_ms()).ok().flatten()?;
        seen.is_fresh().then_some(seen.health)
    }

    fn telegram(&self) -> PartStanding {
        const NAME: &str = "telegram";
        let it = match self.settings::<(Office, settings::Telegram)>() {
            Ok((_, it)) => it,
            Err(mistakes) => return mistaken(NAME, &mistakes),
        };
        let Some(token) = it.bot_token else {
            return PartStanding::new(
                NAME,
                Standing::Off,
                "there is no bot: the office is reached from here only",
            )
            .set_up();
        };
        if bot_id(&token).is_none() {
            let why = "TELEGRAM_BOT_TOKEN is no token: BotFather's look like 123456:ABC-DEF";
            return PartStanding::new(NAME, Standing::Broken, why).set_up();
        }
        if it.allowed_users.is_empty() {
            let why = "nobody may speak: TELEGRAM_ALLOWED_USERS is empty";
            return PartStanding::new(NAME, Standing::Broken, why).set_up();
        }
        let mut what = format!("bot {}", hint(token.expose_secret()));
        match it.chat_id {
            Some(chat) => what += &format!(" in forum {chat}"),
            None => what += " in private chats only",
        }
        let people = it.allowed_users.len();
        what += &format!(", {people} {} may speak", if people == 1 { "person" } else { "people" });
        if it.api_url != "https://api.telegram.org" {
            what += &format!(", through {}", it.api_url);
        }
        let part = self.served(NAME, "telegram", what);
        match it.chat_id {
            None if part.standing == Standing::Real => part.set_up(),
            _ => part,
        }
    }

    fn claude(&self) -> PartStanding {
        const NAME: &str = "claude";
        let all = match self.settings::<Settings>() {
            Ok(it) => it,
            Err(mistakes) => return mistaken(NAME, &mistakes),
        };
        if all.engine.kind == EngineKind::Demo {
            let why = "the demo engine answers: engine.kind is demo";
            return PartStanding::new(NAME, Standing::Demo, why).set_up();
        }
        let home = all.engine.home.or_else(std::env::home_dir);
        let login = home.map(|it| it.join(".claude/.credentials.json")).filter(|it| it.is_file());
        let mut what = match (&all.claude.oauth_token, &all.claude.api_key, login) {
            (Some(token), ..) => format!("subscription {}", hint(token.expose_secret())),
            (None, Some(key), _) => format!("API key {}", hint(key.expose_secret())),
            (None, None, Some(path)) => format!("the login in {}", path.display()),
            (None, None, None) => {
                return PartStanding::new(
                    NAME,
                    Standing::Broken,
                    "there is no login: no token, no API key",
                )
                .set_up();
            }
        };
        if let Some(url) = &all.claude.base_url {
            what += &format!(", through {url}");
        }
        // Where no state folder is, the services run elsewhere, and the CLI with them.
        if self.state.root().is_dir()
            && find_program(&all.engine.claude, self.environment).is_none()
        {
            let why = format!("the claude CLI is not there: {}", all.engine.claude.display());
            return PartStanding::new(NAME, Standing::Broken, why).way_out(
                "npm install -g @anthropic-ai/claude-code, or set engine.claude to where it is",
            );
        }
        self.served(NAME, "processor", what)
    }

    fn github(&self) -> PartStanding {
        const NAME: &str = "github";
        let it = match self.settings::<settings::GitHub>() {
            Ok(it) => it,
            Err(mistakes) => return mistaken(NAME, &mistakes),
        };
        let app = it.app_id.as_ref().map(|it| format!("App {it}"));
        let off = || PartStanding::new(NAME, Standing::Off, "agents get no GitHub tokens").set_up();
        let real = |what: &str| {
            let app = app.clone().unwrap_or_else(|| "an App".to_owned());
            PartStanding::new(NAME, Standing::Real, format!("{app}, {what}"))
        };
        let said = self.health("broker").map(|it| match it.ready {
            true => Ok(()),
            false => Err(it.why.join("; ")),
        });
        let said = said.or_else(|| {
            let address = it.broker_url.as_ref()?.strip_prefix("http://")?;
            Some(probe(address, "/ready", BROKER_PATIENCE).map(|_| ()).map_err(|err| match err {
                ProbeError::Reach { address, .. } => format!("nothing answers at {address}"),
                other => other.why(),
            }))
        });
        match said {
            Some(Ok(())) => real("the broker mints tokens"),
            // What the broker answers before anybody has named an App to it.
            Some(Err(why)) if app.is_none() && why.contains(BROKER_IDLES) => off(),
            Some(Err(why)) => {
                PartStanding::new(NAME, Standing::Broken, format!("the broker is not ready: {why}"))
                    .set_up()
            }
            None if app.is_some() => real("the broker does not run here"),
            None => off(),
        }
    }

    fn tunnel(&self) -> PartStanding {
        const NAME: &str = "tunnel";
        let it = match self.settings::<Dashboard>() {
            Ok(it) => it,
            Err(mistakes) => return mistaken(NAME, &mistakes),
        };
        let names: Vec<&str> =
            it.hosts.iter().map(String::as_str).filter(|it| !is_local(it)).collect();
        if names.is_empty() {
            return PartStanding::new(
                NAME,
                Standing::Off,
                "the dashboard is seen from this machine only",
            )
            .set_up();
        }
        let names = names.join(", ");
        match it.access_team {
            Some(team) => PartStanding::new(
                NAME,
                Standing::Real,
                format!("{names}, every request checked with Access of {team}"),
            ),
            None => {
                let why = format!("{names}; the tunnel's Access alone keeps strangers out");
                PartStanding::new(NAME, Standing::Real, why)
                    .way_out("tinyclaw setup tunnel --access-team TEAM --access-aud TAG")
            }
        }
    }

    fn office(&self) -> PartStanding {
        const NAME: &str = "office";
        let read = self.settings::<(Office, settings::Budget)>();
        let (office, budget) = match read {
            Ok(it) => it,
            Err(mistakes) => return mistaken(NAME, &mistakes),
        };
        let zone = office.timezone.iana_name().unwrap_or("UTC").to_owned();
        match budget.office_a_day {
            Some(usd) => {
                PartStanding::new(NAME, Standing::Real, format!("{zone}, ${usd:.2} a day at most"))
            }
            None if zone == "UTC" => {
                PartStanding::new(NAME, Standing::Off, "UTC, no daily budget").set_up()
            }
            None => {
                PartStanding::new(NAME, Standing::Real, format!("{zone}, no daily budget")).set_up()
            }
        }
    }

    /// A configured part, by what the service that lives on it says.
    fn served(&self, name: &'static str, service: &str, what: String) -> PartStanding {
        let Some(said) = self.health(service) else {
            return PartStanding::new(
                name,
                Standing::Real,
                format!("{what}; {service} does not run here"),
            );
        };
        if !said.ready {
            let why = format!("{what}; {}", said.why.join("; "));
            return PartStanding::new(name, Standing::Broken, why).set_up();
        }
        let concerns = said.numbers.get("concerns").and_then(|it| it.as_array()).cloned();
        let concerns: Vec<String> = concerns
            .into_iter()
            .flatten()
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect();
        let why = std::iter::once(what).chain(concerns).collect::<Vec<_>>().join("; ");
        PartStanding::new(name, Standing::Real, why)
    }
}

/// With a mistake in its settings a service does nothing at all.
fn mistaken(name: &'static str, mistakes: &Mistakes) -> PartStanding {
    PartStanding::new(name, Standing::Broken, mistakes.to_string())
        .way_out("tinyclaw settings set KEY VALUE, or mend what is named")
}

/// The number in front of a bot's token: its user id.
pub(crate) fn bot_id(token: &SecretString) -> Option<i64> {
    let (id, rest) = token.expose_secret().split_once(':')?;
    id.parse().ok().filter(|_| !rest.is_empty())
}

/// Whether a name of the dashboard's is this machine's own.
pub(crate) fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// Where a program is: a path that is there, or a name on the environment's PATH.
pub(crate) fn find_program(
    program: &Path,
    environment: &Environment,
) -> Option<std::path::PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = environment.get("PATH")?;
    std::env::split_paths(path).map(|it| it.join(program)).find(|it| it.is_file())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests lay files down as services and operators do")]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use tinyclaw_domain::Health;

    use super::*;

    struct Ground(tempfile::TempDir, Environment);

    impl Ground {
        fn new(variables: &[(&str, &str)]) -> Ground {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("health")).unwrap();
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let mut environment: Environment = variables.iter().map(pair).collect();
            environment.insert("TINYCLAW_ENGINE_HOME".to_owned(), dir.path().display().to_string());
            Ground(dir, environment)
        }

        fn settings(self, json: &str) -> Ground {
            std::fs::write(self.0.path().join("settings.json"), json).unwrap();
            self
        }

        fn says(&self, service: &str, ready: bool, why: &str) {
            let health = Health {
                service: service.to_owned(),
                version: "1".to_owned(),
                pid: 1,
                started_at: 1,
                at: now_ms(),
                alive: true,
                ready,
                why: if why.is_empty() { vec![] } else { vec![why.to_owned()] },
                numbers: Default::default(),
            };
            health::write(&StateDir::new(self.0.path()), service, &health).unwrap();
        }

        fn part(&self, name: &str) -> PartStanding {
            let parts = standing(&StateDir::new(self.0.path()), &self.1);
            assert_eq!(
                parts.iter().map(|it| it.name).collect::<Vec<_>>(),
                ["telegram", "claude", "github", "tunnel", "office"]
            );
            parts.into_iter().find(|it| it.name == name).unwrap()
        }

        #[track_caller]
        fn is(&self, name: &str, standing: Standing, why: &str) -> PartStanding {
            let part = self.part(name);
            assert_eq!(part.standing, standing, "{part:?}");
            assert!(part.why.contains(why), "{part:?}");
            part
        }
    }

    const TOKEN: &str = "7000000001:AAfake-token-of-a-bot-wxyz";

    #[test]
    fn an_office_with_nothing_set_says_what_it_lacks_and_how_to_get_it() {
        let office = Ground::new(&[]);
        for (name, standing) in [
            ("telegram", Standing::Off),
            ("claude", Standing::Broken),
            ("github", Standing::Off),
            ("tunnel", Standing::Off),
            ("office", Standing::Off),
        ] {
            let part = office.is(name, standing, "");
            assert_eq!(part.way_out, Some(format!("tinyclaw setup {name}")));
        }
    }

    #[test]
    fn telegram_stands_as_its_service_says_and_its_token_is_not_shown() {
        let office = Ground::new(&[("TELEGRAM_BOT_TOKEN", TOKEN), ("TELEGRAM_CHAT_ID", "-1001")]);
        office.is("telegram", Standing::Broken, "nobody may speak");
        let office = Ground(office.0, {
            let mut environment = office.1;
            environment.insert("TELEGRAM_ALLOWED_USERS".to_owned(), "101".to_owned());
            environment
        });
        let part =
            office.is("telegram", Standing::Real, "bot …wxyz in forum -1001, 1 person may speak");
        assert!(part.why.contains("does not run here") && !part.why.contains("AAfake"));
        office.says("telegram", true, "");
        assert!(!office.part("telegram").why.contains("run here"));
        office.says("telegram", false, "Telegram does not know TELEGRAM_BOT_TOKEN");
        office.is("telegram", Standing::Broken, "Telegram does not know");
    }

    #[test]
    fn claude_is_a_demo_has_a_login_or_has_none() {
        let office = Ground::new(&[]).settings(r#"{"engine":{"kind":"demo"}}"#);
        office.is("claude", Standing::Demo, "demo engine");
        let key = ("ANTHROPIC_API_KEY", "sk-ant-api03-secretsecret-1234");
        let office = Ground::new(&[key]);
        office.is("claude", Standing::Broken, "the claude CLI is not there");
        let bin = office.0.path().join("claude");
        std::fs::write(&bin, "").unwrap();
        let office = office.settings(&format!(r#"{{"engine.claude": {bin:?}}}"#));
        let part = office.is("claude", Standing::Real, "API key …1234");
        assert!(!part.why.contains("secretsecret"));
        office.says("processor", false, "Claude is not logged in.");
        office.is("claude", Standing::Broken, "Claude is not logged in.");
    }

    #[test]
    fn github_is_what_the_broker_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let broker = std::thread::spawn(move || {
            for body in ["{\"ready\":false,\"why\":[\"GITHUB_APP_ID is not set\"]}"; 2] {
                let (mut stream, _) = listener.accept().unwrap();
                // All of it: closing over unread bytes would break the connection off.
                let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
                asked.find(|it| it.as_ref().is_ok_and(String::is_empty)).unwrap().unwrap();
                write!(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        let office = Ground::new(&[("CREDENTIAL_BROKER_URL", &url)]);
        office.is("github", Standing::Off, "no GitHub tokens");
        let office = Ground::new(&[("CREDENTIAL_BROKER_URL", &url), ("GITHUB_APP_ID", "4711")]);
        office.is("github", Standing::Broken, "GITHUB_APP_ID is not set");
        broker.join().unwrap();
        office.is("github", Standing::Broken, "nothing answers");
        office.says("broker", true, "");
        office.is("github", Standing::Real, "App 4711");
        let office = Ground::new(&[("GITHUB_APP_ID", "4711")]);
        office.is("github", Standing::Real, "does not run here");
    }

    #[test]
    fn a_public_name_without_access_has_a_way_out() {
        let hosts = ("DASHBOARD_HOSTS", "localhost:3100,127.0.0.1:3100,office.example.org");
        let part = Ground::new(&[hosts]).is("tunnel", Standing::Real, "office.example.org; ");
        assert!(part.way_out.is_some_and(|it| it.contains("--access-team")));
        let access = [hosts, ("CF_ACCESS_TEAM", "acme"), ("CF_ACCESS_AUD", "abc")];
        Ground::new(&access).is("tunnel", Standing::Real, "checked with Access of acme");
        Ground::new(&access[..2]).is("tunnel", Standing::Broken, "accessAud");
    }

    #[test]
    fn a_mistake_in_the_file_breaks_what_reads_it_and_is_named() {
        let office = Ground::new(&[]).settings(r#"{"timezoen": "UTC"}"#);
        for name in ["telegram", "claude", "github", "tunnel", "office"] {
            office.is(name, Standing::Broken, "did you mean timezone?");
        }
        let office = Ground::new(&[("TINYCLAW_TIMEZONE", "Mars")]);
        office.is("office", Standing::Broken, "TINYCLAW_TIMEZONE");
        office.is("tunnel", Standing::Off, "");
    }

    #[test]
    fn only_the_end_of_a_long_secret_is_hinted_at() {
        assert_eq!(hint("sk-ant-0123456789\n"), "…6789");
        assert_eq!(hint("short"), "…");
        assert_eq!(hint("日本語日本語日本語日本語"), "…語日本語");
    }
}
