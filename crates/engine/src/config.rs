//! What an engine is told when it is made, and when its settings change.
//!
//! Nothing here is read from the environment or from a file: the caller does that, and hands in values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tinyclaw_domain::{CacheTtl, Catalogue, Model, Trust};

use crate::home::CLAUDE_DIR;
use crate::launch::Access;
use crate::users::Users;

/// The variable that keeps the CLI from whatever it does not need for an answer.
pub(crate) const QUIET: &str = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC";

/// Everything an engine has to know.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// `claude`, or `tinyclaw-demo-engine`: a path, or a name to be found on `path`.
    pub program: PathBuf,
    /// `tinyclaw-leash`; see [`find_sibling`].
    pub leash: PathBuf,
    /// The state folder (`TINYCLAW_DIR`), absolute: `locks/session-<thread>` and `files/<thread>` lie in it.
    pub state: PathBuf,
    /// The office's home, where Claude's login is (`.claude/`). Desks have homes of their own, `home/<thread>` in the state
    /// folder, and get copies of the login.
    pub claude_home: PathBuf,
    /// How Claude identifies itself.
    pub auth: Auth,
    /// Another address of the API: a proxy, a gateway, a fake.
    pub base_url: Option<String>,
    /// Whether processes stay between messages.
    pub mode: Mode,
    /// How many idle processes stay at most.
    pub warm_max: usize,
    /// How long an idle process stays; six times as long while something runs in the background.
    pub idle_ttl: Duration,
    /// Folders in front of PATH: credential helpers, the `gh` shim.
    pub path_prefix: Vec<PathBuf>,
    /// The rest of PATH.
    pub path: String,
    /// More environment for Claude and its tools, such as `CREDENTIAL_BROKER_URL`. No secrets: tools see it.
    pub env: BTreeMap<String, String>,
    /// The name of a thread's capability for the credential broker, in `files/<thread>/`. Its path is handed on as
    /// `TINYCLAW_CAPABILITY_FILE` if it is there when the process starts; other threads' are out of reach.
    pub capability: Option<String>,
    /// What Claude may reach besides its own, such as tools' folders.
    pub access: Access,
    /// Whether Claude is confined.
    pub landlock: Landlock,
    /// Desks that are users of their own on this machine, if this process may start any.
    pub users: Option<Users>,
    /// Which of Claude's own settings files count besides the repository's, on which each desk has its word: `user`, `local`,
    /// with commas between. None by default: what they name runs, unasked.
    pub setting_sources: String,
    /// How long the API keeps what it has read of a conversation; `None` as Claude Code decides.
    pub prompt_cache: Option<CacheTtl>,
    /// From so many tokens on a conversation is summed up.
    pub compact_window: u64,
    /// The models, by the names that Claude is asked for.
    pub catalogue: Catalogue,
    /// The model that takes over when one is overloaded.
    pub fallback_model: Option<Model>,
    /// Steps a turn may take at most.
    pub turns_max: Option<u32>,
    /// All patience.
    pub times: Times,
}

impl EngineConfig {
    /// A configuration with the usual defaults for this program, leash, state folder and home.
    pub fn new(
        program: impl Into<PathBuf>,
        leash: impl Into<PathBuf>,
        state: impl Into<PathBuf>,
        claude_home: impl Into<PathBuf>,
    ) -> EngineConfig {
        EngineConfig {
            program: program.into(),
            leash: leash.into(),
            state: state.into(),
            claude_home: claude_home.into(),
            auth: Auth::Login,
            base_url: None,
            mode: Mode::Warm,
            // Some 240 MB for the first and 110 MB for each further one.
            warm_max: 4,
            idle_ttl: Duration::from_secs(600),
            path_prefix: Vec::new(),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            env: BTreeMap::new(),
            capability: None,
            access: Access::default(),
            landlock: Landlock::Auto,
            users: None,
            setting_sources: String::new(),
            prompt_cache: None,
            compact_window: 200_000,
            catalogue: Catalogue::default(),
            fallback_model: None,
            turns_max: None,
            times: Times::default(),
        }
    }

    /// With the folders that the operator named where they really are: he may reach them through links, and from here on
    /// none is followed.
    pub(crate) fn resolved(mut self) -> EngineConfig {
        let real = |it: &mut PathBuf| {
            if let Ok(there) = it.canonicalize() {
                *it = there;
            }
        };
        let places = [&mut self.state, &mut self.claude_home].into_iter();
        let access = self.access.readable.iter_mut().chain(&mut self.access.writable);
        places.chain(access).chain(&mut self.path_prefix).for_each(real);
        self
    }

    /// What follows on this configuration when `new` is wanted, and what of it has to wait for the next start.
    pub(crate) fn succeeded_by(&self, new: EngineConfig) -> (EngineConfig, Vec<&'static str>) {
        let changes = [
            ("program", self.program != new.program || self.leash != new.leash),
            ("state", self.state != new.state),
            ("home", self.claude_home != new.claude_home),
            ("landlock", self.landlock != new.landlock),
        ];
        let left = changes.into_iter().filter(|it| it.1).map(|it| it.0).collect();
        let next = EngineConfig {
            program: self.program.clone(),
            leash: self.leash.clone(),
            state: self.state.clone(),
            claude_home: self.claude_home.clone(),
            landlock: self.landlock,
            users: self.users.clone(),
            ..new
        };
        (next, left)
    }

    pub(crate) fn model_name(&self, model: Model) -> String {
        self.catalogue.id_of(model)
    }

    /// When Claude's program was put where it is, in ms since 1970.
    pub(crate) fn installed_at(&self) -> Option<u64> {
        let before = self.path_prefix.iter().cloned();
        let named = self.path.split(':').map(PathBuf::from);
        // One that is a path of its own is joined to none of these.
        let mut found = before.chain(named).map(|it| it.join(&self.program));
        let about = found.find_map(|it| std::fs::metadata(it).ok().filter(|it| it.is_file()))?;
        let since = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    /// Which settings files count for a desk.
    pub(crate) fn setting_sources(&self, trust: Trust) -> String {
        let all = self.setting_sources.split(',').map(str::trim);
        let others = all.filter(|it| !it.is_empty() && *it != "project");
        let project = (trust == Trust::Settings).then_some("project");
        others.chain(project).collect::<Vec<_>>().join(",")
    }

    /// The environment of every program of a desk with this home.
    pub(crate) fn tool_environment(&self, home: &Path) -> BTreeMap<String, String> {
        let mut path: Vec<String> =
            self.path_prefix.iter().map(|it| it.display().to_string()).collect();
        path.push(self.path.clone());
        let mut env = self.env.clone();
        let mut set = |name: &str, value: String| {
            env.insert(name.to_owned(), value);
        };
        set("HOME", home.display().to_string());
        set("PATH", path.join(":"));
        set("LANG", "C.UTF-8".to_owned());
        env
    }

    /// The whole environment of a Claude with this home: nothing of ours gets in by accident.
    pub(crate) fn environment(&self, home: &Path, trust: Trust) -> BTreeMap<String, String> {
        let mut env = self.tool_environment(home);
        let mut set = |name: &str, value: String| {
            env.insert(name.to_owned(), value);
        };
        set("CLAUDE_CONFIG_DIR", home.join(CLAUDE_DIR).display().to_string());
        match &self.auth {
            Auth::Login => {}
            Auth::OAuthToken(it) => set("CLAUDE_CODE_OAUTH_TOKEN", it.expose_secret().to_owned()),
            Auth::ApiKey(it) => set("ANTHROPIC_API_KEY", it.expose_secret().to_owned()),
        }
        if let Some(it) = &self.base_url {
            set("ANTHROPIC_BASE_URL", it.clone());
        }
        self.behave(&mut env, trust);
        env
    }

    /// How a Claude behaves wherever it runs, as far as its environment says that: no secret, no path of this machine.
    pub(crate) fn behave(&self, env: &mut BTreeMap<String, String>, trust: Trust) {
        let mut set = |name: &str, value: String| {
            env.insert(name.to_owned(), value);
        };
        // What a repository brings is text: no turns of its own, and no folder that some file calls trusted.
        set("CLAUDE_CODE_DISABLE_CRON", "1".to_owned());
        if trust < Trust::Settings {
            set("CLAUDE_CODE_IGNORE_PERSISTED_TRUST", "1".to_owned());
        }
        if trust == Trust::Text {
            set("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1".to_owned());
        }
        set("CLAUDE_CODE_AUTO_COMPACT_WINDOW", self.compact_window.to_string());
        match self.prompt_cache {
            Some(CacheTtl::OneHour) => set("ENABLE_PROMPT_CACHING_1H", "1".to_owned()),
            Some(CacheTtl::FiveMinutes) => set("FORCE_PROMPT_CACHING_5M", "1".to_owned()),
            None => {}
        }
        // Habits rather than necessities: `env` may say otherwise.
        let mut habit = |name: &str, value: String| {
            env.entry(name.to_owned()).or_insert(value);
        };
        for it in [
            QUIET,
            "DISABLE_TELEMETRY",
            "DISABLE_ERROR_REPORTING",
            "DISABLE_AUTOUPDATER",
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS",
        ] {
            habit(it, "1".to_owned());
        }
        // Claude says what it has to do and how far it is as one list, which a status can show: off where nobody sits at a
        // terminal, and of two kinds of lists this is the one that comes whole each time.
        habit("CLAUDE_CODE_ENABLE_TODO_TOOLS", "1".to_owned());
        habit("CLAUDE_CODE_ENABLE_TASKS", "0".to_owned());
        // Ten by default, which is three minutes of silence for a wrong key.
        habit("CLAUDE_CODE_MAX_RETRIES", "3".to_owned());
        habit("BASH_MAX_TIMEOUT_MS", self.times.bash_max().as_millis().to_string());
    }
}

/// How Claude identifies itself to the API.
#[derive(Clone)]
pub enum Auth {
    /// By what `claude login` left in its home, or not at all.
    Login,
    /// A subscription's token, from `claude setup-token`.
    OAuthToken(SecretString),
    /// An API key.
    ApiKey(SecretString),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::Login => "Login",
            Auth::OAuthToken(_) => "OAuthToken(…)",
            Auth::ApiKey(_) => "ApiKey(…)",
        })
    }
}

/// Whether processes stay between messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They do: the next turn in the thread starts at once.
    #[default]
    Warm,
    /// Every message gets a process of its own, which ends with it.
    Spawn,
}

/// Whether Claude is confined to what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Landlock {
    /// Where the kernel can.
    #[default]
    Auto,
    /// Always: where the kernel cannot, Claude does not start.
    On,
    /// No.
    Off,
}

/// A word of the settings that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not known: use {words}")]
pub struct ConfigError {
    /// The word.
    pub text: String,
    /// The words that are known.
    pub words: &'static str,
}

impl Landlock {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Landlock::Auto => "auto",
            Landlock::On => "on",
            Landlock::Off => "off",
        }
    }
}

impl FromStr for Landlock {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Landlock, ConfigError> {
        [Landlock::Auto, Landlock::On, Landlock::Off]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| ConfigError { text: text.to_owned(), words: "auto, on or off" })
    }
}

impl FromStr for Mode {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Mode, ConfigError> {
        match text {
            "warm" => Ok(Mode::Warm),
            "spawn" => Ok(Mode::Spawn),
            _ => Err(ConfigError { text: text.to_owned(), words: "warm or spawn" }),
        }
    }
}

/// All patience. The watchdogs rest while a permission question is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Until a started process is ready. It took over two seconds on a loaded machine.
    pub start: Duration,
    /// Without any line while no tool runs.
    pub silence: Duration,
    /// Without any line while a tool runs.
    pub tool: Duration,
    /// For a whole turn.
    pub turn: Duration,
    /// For an answer to a permission question.
    pub ask: Duration,
    /// After `interrupt`, before SIGINT.
    pub interrupt: Duration,
    /// After SIGINT, before the leash ends everything.
    pub sigint: Duration,
    /// After our prompt was echoed and nothing else came: Claude has seen its uuid before.
    pub duplicate: Duration,
    /// For an idle process to leave after end of file.
    pub close: Duration,
    /// Without its link, before whoever waits for the turn is told. All other patience stands still meanwhile.
    pub lost: Duration,
}

impl Default for Times {
    fn default() -> Times {
        let s = Duration::from_secs;
        Times {
            start: s(30),
            silence: s(120),
            tool: s(11 * 60),
            turn: s(30 * 60),
            ask: s(10 * 60),
            interrupt: s(10),
            sigint: s(10),
            duplicate: s(10),
            close: s(5),
            lost: s(30),
        }
    }
}

impl Times {
    /// How long Claude lets a command run: a minute less than the watchdog, so that Claude notices first.
    fn bash_max(&self) -> Duration {
        self.tool.saturating_sub(Duration::from_secs(60)).max(Duration::from_secs(1))
    }
}

/// A binary of ours that lies beside the running one (or one folder above it, as for tests and examples).
pub fn find_sibling(name: &str) -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let dir = here.parent()?;
    [Some(dir), dir.parent()]
        .into_iter()
        .flatten()
        .map(|it: &Path| it.join(name))
        .find(|it| it.is_file())
}

/// The helper that other machines are given: the leash beside this program, which images and packages have static. Programs of
/// `cargo build` have one that is not, and `tinyclaw-helper` beside it where somebody put what `scripts/helper.sh` makes.
pub fn find_helper() -> Option<PathBuf> {
    find_sibling("tinyclaw-helper").or_else(|| find_sibling("tinyclaw-leash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_gets_what_it_needs_and_a_debug_line_gets_no_secret() {
        let mut config = EngineConfig::new("claude", "leash", "/state", "/home/claude");
        config.auth = Auth::ApiKey("hush".into());
        config.path_prefix = vec!["/opt/helpers".into()];
        let env = config.environment(Path::new("/state/home/7"), Trust::Text);
        assert_eq!(env["ANTHROPIC_API_KEY"], "hush");
        assert_eq!(
            (&*env["HOME"], &*env["CLAUDE_CONFIG_DIR"]),
            ("/state/home/7", "/state/home/7/.claude")
        );
        assert!(env["PATH"].starts_with("/opt/helpers:/usr/local"));
        assert_eq!(env["BASH_MAX_TIMEOUT_MS"], "600000");
        assert!(!env.contains_key("TELEGRAM_BOT_TOKEN"));
        assert!(!format!("{config:?}").contains("hush"));
    }
}
