//! The one table of all settings. A row is a field: its doc comment is what `docs/SETTINGS.md` says of it.
//!
//! A row reads `name: what the service gets as how it is checked = key, [variables], [the original's names], default`.
//! Without variables it is `TINYCLAW_` and the key. Nothing else in the workspace names a setting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};

use super::values::{
    Address, ByTier, CostLine, Effort, EngineKind, EngineMode, Flag, Keep, Landlock, List,
    LogLevel, MapOf, Number, Objects, OfficeZone, OneOf, Optional, OrOff, PathTo, Permission,
    PromptCache, QuietHours, QuietHoursOf, Secret, SettingSource, Span, TelegramId, Text,
    TimeOfDay, Url, Value, Whole,
};
use super::{Origin, Reader, Row, Section};

/// A group of rows.
#[derive(Debug, Clone)]
pub struct Group {
    /// What it is about.
    pub about: &'static [&'static str],
    /// Its rows.
    pub rows: Vec<Row>,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

macro_rules! settings {
    ($(
        $(#[doc = $group_about:literal])+
        $Group:ident / $group:ident { $(
            $(#[doc = $about:literal])+
            $field:ident: $Type:ty as $Kind:ty = $key:literal,
                [$($variable:literal),*], [$($alias:literal),*], $default:literal;
        )+ }
    )+) => {
        $(
            $(#[doc = $group_about])+
            #[derive(Debug, Clone)]
            pub struct $Group { $( $(#[doc = $about])+ pub $field: $Type, )+ }

            impl Section for $Group {
                fn rows() -> Vec<Row> {
                    vec![$( Row {
                        key: $key,
                        aliases: &[$($alias),*],
                        variables: &[$($variable),*],
                        default: $default,
                        looks: <$Kind>::looks(),
                        is_secret: <$Kind as Value>::IS_SECRET,
                        about: &[$($about),+],
                    } ),+]
                }

                fn read(from: &mut Reader<'_>) -> Option<$Group> {
                    let mut rows = Self::rows().into_iter();
                    // Every row is read before any is missed, so that all mistakes are named at once.
                    $( let $field = rows.next().and_then(|row| from.get::<$Kind>(&row)); )+
                    let section = $Group { $( $field: $field?, )+ };
                    section.check(from);
                    Some(section)
                }
            }
        )+

        /// All settings.
        #[derive(Debug, Clone)]
        pub struct Settings { $( $(#[doc = $group_about])+ pub $group: $Group, )+ }

        impl Section for Settings {
            fn rows() -> Vec<Row> {
                [$( $Group::rows() ),+].concat()
            }

            fn read(from: &mut Reader<'_>) -> Option<Settings> {
                $( let $group = $Group::read(from); )+
                Some(Settings { $( $group: $group? ),+ })
            }
        }

        /// The table, group by group.
        pub fn groups() -> Vec<Group> {
            vec![$( Group { about: &[$($group_about),+], rows: $Group::rows() } ),+]
        }
    };
}

settings! {
    /// The office.
    Office / office {
        /// The office's time zone: when a day begins, for budgets, notes and the daily reset.
        timezone: TimeZone as OfficeZone = "timezone", [], [], "UTC";
        /// Telegram ids of those who may do what others may not: let Claude ask less, allow something for good, work
        /// outside the allowed folders, stop and reset for others. None: whoever is alone in `telegram.allowedUsers`.
        admins: Vec<i64> as List<TelegramId> = "admins", [], [], "";
        /// The folder in which each new thread gets a folder of its own, when it is not `workspace.root`.
        cwd: Option<PathBuf> as Optional<PathTo> = "workspace.cwd", ["DEFAULT_CWD"], [], "";
        /// The folder that holds the threads' folders, with their clones of `/new NAME org/repo`; a thread may work in any
        /// free one below it.
        workspace: PathBuf as PathTo = "workspace.root", ["WORKSPACE_ROOT"], [], "~/workspace";
        /// More folders below which threads may work.
        allowed_roots: Vec<PathBuf> as List<PathTo> = "workspace.allowedRoots", [], [], "";
        /// Whether the queue may lie on a network file system (NFS, SMB), whose locks hang on a server.
        allow_network_disk: bool as Flag = "queue.allowNetworkDisk", [], [], "false";
        /// How much is logged.
        log_level: String as LogLevel = "log.level", ["TINYCLAW_LOG"], [], "info";
        /// Where the bot container's health is served (`/health`, `/ready`, `/metrics`).
        health_listen: SocketAddr as Address = "health.listen", [], [], "127.0.0.1:7777";
    }

    /// Telegram.
    Telegram / telegram {
        /// The token from BotFather. Without it the telegram service idles.
        bot_token: Option<SecretString> as Optional<Secret> = "telegram.botToken", ["TELEGRAM_BOT_TOKEN"], ["telegram_bot_token"], "";
        /// The home forum.
        chat_id: Option<i64> as Optional<TelegramId> = "telegram.chatId", ["TELEGRAM_CHAT_ID"], ["telegram_chat_id"], "";
        /// Who may speak. Empty means nobody.
        allowed_users: Vec<i64> as List<TelegramId> = "telegram.allowedUsers", ["TELEGRAM_ALLOWED_USERS"], [], "";
        /// Where they may speak, besides the home forum and their own private chats.
        allowed_chats: Vec<i64> as List<TelegramId> = "telegram.allowedChats", [], [], "";
        /// The Bot API, when it is not Telegram's own.
        api_url: String as Url = "telegram.apiUrl", ["TELEGRAM_API_URL"], [], "https://api.telegram.org";
        /// When an answer shows what it cost.
        cost_line: CostLine as OneOf<CostLine> = "telegram.costLine", [], [], "over";
        /// What an answer may cost before its cost line is shown.
        cost_over: f64 as Number = "telegram.costOver", [], [], "0.50";
        /// How many milliseconds a message waits for more of the same person, to be one turn with it: what is forwarded
        /// with a word about it arrives one after the other. 0 waits for nothing.
        burst_ms: u64 as Whole<0, 3000> = "telegram.burstMs", [], [], "800";
        /// When nothing that is said may make a sound, in the office's time zone. Not set, there are no such hours: a
        /// question and an answer that was waited for ring.
        quiet_hours: Option<QuietHours> as Optional<QuietHoursOf> = "telegram.quietHours", [], [], "";
        /// A command that prints the text of the voice message whose file is its last argument. It gets no variables
        /// but `PATH`, `LANG`, those of a proxy and `HOME`, which is `transcriber/` in the state folder; what else it
        /// needs a script of yours sets. Without it, voice is declined politely.
        transcriber: Option<String> as Optional<Text> = "telegram.transcriber", [], [], "";
        /// Where this service serves its own health (`/health`, `/ready`, `/metrics`) when it runs without the bot
        /// container's. When not set: nowhere.
        health_listen: Option<SocketAddr> as Optional<Address> = "telegram.healthListen", [], [], "";
    }

    /// Claude's account.
    Claude / claude {
        /// A subscription's token from `claude setup-token`; handed on as `CLAUDE_CODE_OAUTH_TOKEN`.
        oauth_token: Option<SecretString> as Optional<Secret> = "claude.oauthToken", ["CLAUDE_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"], [], "";
        /// An API key, instead of a subscription.
        api_key: Option<SecretString> as Optional<Secret> = "claude.apiKey", ["ANTHROPIC_API_KEY"], [], "";
        /// The Messages API, when it is not Anthropic's own.
        base_url: Option<String> as Optional<Url> = "claude.baseUrl", ["ANTHROPIC_BASE_URL"], [], "";
    }

    /// The engine: who answers, how many at once, and for how long.
    Engine / engine {
        /// Who answers: Claude, or the demo engine that needs no account.
        kind: EngineKind as OneOf<EngineKind> = "engine.kind", [], [], "claude";
        /// The `claude` CLI: a name on PATH, or where it is.
        claude: PathBuf as PathTo = "engine.claude", [], [], "claude";
        /// The office's home folder, where Claude's login is, when it is not the service's own. Desks have homes of their
        /// own in the state folder, and get copies of the login.
        home: Option<PathBuf> as Optional<PathTo> = "engine.home", [], [], "";
        /// Keep a process a thread, or start one a message.
        mode: EngineMode as OneOf<EngineMode> = "engine.mode", [], [], "warm";
        /// So many processes are kept warm, about 240 MB each.
        warm_max: u64 as Whole<1, 64> = "engine.warmMax", [], [], "4";
        /// A warm process that had nothing to do for so long is ended.
        idle: Duration as Span<MINUTE, DAY> = "engine.idle", [], [], "10m";
        /// So many turns run at once, over all threads.
        parallel_max: u64 as Whole<1, 64> = "engine.parallelMax", [], ["max_concurrent_sessions"], "4";
        /// What Claude may do in a new thread without asking; `/mode` changes it.
        permission: Permission as OneOf<Permission> = "engine.permission", [], [], "ask";
        /// No word from Claude for so long, while no tool runs, and the turn is stopped.
        silence: Duration as Span<10, HOUR> = "engine.silence", [], [], "2m";
        /// The same while a tool runs. Claude is told to end a command a minute sooner.
        tool_time: Duration as Span<10, DAY> = "engine.toolTime", [], [], "11m";
        /// A turn that takes longer is stopped.
        turn_time: Duration as Span<10, DAY> = "engine.turnTime", [], [], "30m";
        /// A permission question that nobody answers for so long is answered with no.
        ask_time: Duration as Span<10, DAY> = "engine.askTime", [], [], "10m";
        /// A turn that takes more steps is stopped.
        steps_max: Option<u64> as Optional<Whole<1, 1000>> = "engine.stepsMax", [], [], "";
        /// Which of Claude's own settings files count. None by default, so that what a repository brings is read and
        /// never run: with `project` its hooks, key helpers and variables run and count, unasked, with Claude's login at
        /// hand. For an office whose repositories are all its own; `/trust` says it for one desk.
        setting_sources: Vec<SettingSource> as List<OneOf<SettingSource>> = "engine.settingSources", [], [], "";
        /// Whether a turn that was begun with a smaller model goes on with the next stronger one when its tools show that it needs
        /// that: they fail twice, edit the same place a third time, or a red test is red again.
        escalate: bool as Flag = "engine.escalate", [], [], "true";
        /// A conversation of so many tokens is summed up, as each turn pays for all of it.
        compact_window: u64 as Whole<100_000, 1_000_000> = "engine.compactWindow", [], [], "200000";
        /// Whether the kernel confines Claude to its thread's folder, that thread's home and tmp.
        landlock: Landlock as OneOf<Landlock> = "engine.landlock", [], [], "auto";
        /// Whether Claude outlives a processor that is killed or stopped, so that the next one goes on with its turn. One that nobody
        /// comes back for ends with its turn after five minutes.
        link: bool as Flag = "engine.link", [], [], "true";
        /// Whether every desk is a user of its own where the office may start any (docs/SECURITY.md). `false` makes them one
        /// user again at the next start.
        users: bool as Flag = "engine.users", [], [], "true";
        /// More folders that a confined Claude may read and run programs from.
        readable: Vec<PathBuf> as List<PathTo> = "engine.readable", [], [], "";
        /// More folders that a confined Claude may write to.
        writable: Vec<PathBuf> as List<PathTo> = "engine.writable", [], [], "";
        /// Folders in front of PATH for Claude and its tools.
        tool_path: Vec<PathBuf> as List<PathTo> = "engine.toolPath", [], [], "";
        /// Whether Claude may read other threads' messages (its tool `read_thread`) and see where they work. The master thread
        /// may in any case, and every thread may send messages to every other.
        cross_thread_reading: bool as Flag = "engine.crossThreadReading", [], [], "false";
        /// So many lines of a thread's history go into a new session's first prompt.
        history_lines: u64 as Whole<0, 200> = "engine.historyLines", [], [], "20";
    }

    /// Models: which there are, and whose work each does.
    Models / models {
        /// Families of models besides `haiku`, `sonnet`, `opus` and `fable`, or more about these. The name is what people
        /// type; behind it stand, each if wanted, the full name that Claude Code is asked for, the price in dollars a million
        /// tokens of input and output, an emoji that is set under what it answered, and a colour:
        /// `claude-saga-7 12/60 👾 #a05000`.
        families: BTreeMap<String, String> as MapOf<Text> = "engine.models", [], [], "";
        /// Which model does the work of each tier that the router finds: `SIMPLE`, `MEDIUM` and `COMPLEX`, each a family or a
        /// full name. What is not named stays as it is by default. `/model complex fable` says it for one thread.
        tiers: BTreeMap<String, String> as MapOf<Text> = "engine.tiers", [], [], "SIMPLE=haiku,MEDIUM=sonnet,COMPLEX=opus";
        /// The model that takes over when one is overloaded: a family or a full name.
        fallback_model: Option<String> as Optional<Text> = "engine.fallbackModel", [], [], "";
        /// How hard Claude thinks before it answers: one word for all messages, or one for each tier. `/effort` says it for one
        /// thread, `[effort:high]` for one message.
        effort: BTreeMap<String, Effort> as ByTier<OneOf<Effort>> = "engine.effort", [], [], "SIMPLE=low,MEDIUM=high,COMPLEX=high";
        /// How long the API keeps what it has read of a conversation: an hour costs more to write, and a pause of more than five
        /// minutes then costs less. When not set, Claude Code decides: an hour with a plan, five minutes with an API key.
        prompt_cache: Option<PromptCache> as Optional<OneOf<PromptCache>> = "engine.promptCache", [], [], "";
    }

    /// MCP servers, which give Claude tools of others. A desk's own are added by `/mcp add`.
    Mcp / mcp {
        /// The office's servers, which every desk has, by name: `command` with `args` and `env`, or `url` with `headers`; `allow`
        /// lists tools that Claude uses without asking (`["*"]`: all). `${MCP_NAME}` stands for a secret: the variable
        /// of that name, or the file of that name in `mcp.secrets`. The agent that has a server can find its secret out.
        servers: BTreeMap<String, serde_json::Value> as Objects = "mcp.servers", [], [], "";
        /// The folder with the secrets of MCP servers, a file each. None: `mcp-secrets/` in the state folder, which no agent reads.
        secrets: Option<PathBuf> as Optional<PathTo> = "mcp.secrets", [], [], "";
    }

    /// GitHub, through the broker. The App's key is the broker's alone; its own variables are in `broker/README.md`.
    GitHub / github {
        /// The GitHub App's id; the broker reads it too.
        app_id: Option<String> as Optional<Text> = "github.appId", ["GITHUB_APP_ID"], [], "";
        /// Where repositories are cloned from: GitHub, or a GitHub Enterprise Server.
        url: String as Url = "github.url", ["GITHUB_URL"], [], "https://github.com";
        /// Where the broker is.
        broker_url: Option<String> as Optional<Url> = "github.brokerUrl", ["CREDENTIAL_BROKER_URL"], [], "";
        /// With it each Claude session gets a short-lived capability for its own repository. The broker has the same.
        capability_secret: Option<SecretString> as Optional<Secret> = "github.capabilitySecret", ["BROKER_CAPABILITY_SECRET"], [], "";
    }

    /// Budgets, in US dollars by Claude's own price table. Warned of at 80 %; when spent, a question comes instead of a turn.
    Budget / budget {
        /// What the whole office may spend in a day.
        office_a_day: Option<f64> as Optional<Number> = "budget.officePerDay", [], [], "";
        /// What one thread may spend in a day.
        thread_a_day: Option<f64> as Optional<Number> = "budget.threadPerDay", [], [], "";
    }

    /// Heartbeats: a thread looks by itself whether something is due in its `HEARTBEAT.md`.
    Heartbeat / heartbeat {
        /// Whether there are any.
        enabled: bool as Flag = "heartbeat.enabled", [], [], "false";
        /// How often a thread looks. The original's number of seconds is understood.
        interval: Duration as Span<MINUTE, { 7 * DAY }> = "heartbeat.interval", [], ["heartbeat_interval"], "1h";
        /// Another interval for some threads, or none.
        threads: BTreeMap<String, Option<Duration>> as MapOf<OrOff<Span<MINUTE, { 7 * DAY }>>> = "heartbeat.threads", [], [], "";
        /// When nobody wants to hear of anything, in the office's time zone. The same time twice: there are no such hours.
        quiet_hours: Option<QuietHours> as Optional<QuietHoursOf> = "heartbeat.quietHours", [], [], "22:00-07:00";
    }

    /// Memory.
    Memory / memory {
        /// Whether sessions end once a day, with a summary.
        reset: bool as Flag = "memory.dailyReset", [], [], "true";
        /// When they do, in the office's time zone.
        reset_at: Time as TimeOfDay = "memory.resetAt", [], [], "04:00";
        /// So many bytes of summaries and notes go into a new session's first prompt, the oldest left out first.
        context_bytes: u64 as Whole<0, 200000> = "memory.contextBytes", [], [], "24000";
        /// So many summaries at most.
        summaries: u64 as Whole<0, 50> = "memory.summaries", [], [], "5";
    }

    /// The dashboard.
    Dashboard / dashboard {
        /// Where it listens. Keep it on loopback; a tunnel is the way in.
        listen: SocketAddr as Address = "dashboard.listen", ["DASHBOARD_LISTEN"], [], "127.0.0.1:3100";
        /// The public names it answers to, with their ports. `localhost` and `127.0.0.1` with the port it listens on always
        /// count; all others are refused.
        hosts: Vec<String> as List<Text> = "dashboard.hosts", ["DASHBOARD_HOSTS"], [], "";
        /// The Cloudflare Access team (`NAME` of `NAME.cloudflareaccess.com`), to check every request's token.
        access_team: Option<String> as Optional<Text> = "dashboard.accessTeam", ["CF_ACCESS_TEAM"], [], "";
        /// The audience tag of the Access application.
        access_aud: Option<String> as Optional<Text> = "dashboard.accessAud", ["CF_ACCESS_AUD"], [], "";
        /// The keys that sign those tokens, as a file or address, when they are not the team's own.
        access_keys: Option<String> as Optional<Text> = "dashboard.accessKeys", ["CF_ACCESS_JWKS"], [], "";
        /// Where the host's `/proc` is; when not set, `/host/proc` if it is there, else `/proc` outside a container.
        proc: Option<PathBuf> as Optional<PathTo> = "dashboard.proc", ["DASHBOARD_PROC"], [], "";
    }

    /// Devboxes: remote machines on which Claude works, a thread each, over SSH (docs/DEVBOX.md).
    Devboxes / devbox {
        /// Whether there may be any.
        enabled: bool as Flag = "devbox.enabled", ["ENABLE_DEVBOX"], [], "false";
        /// The office's private key for all of them: its own file, which nobody else may read, without a passphrase.
        ssh_key: Option<PathBuf> as Optional<PathTo> = "devbox.sshKey", ["DEVBOX_SSH_KEY_PATH"], [], "";
        /// Who is logged in as where `/devbox add` does not say it.
        ssh_user: String as Text = "devbox.sshUser", ["DEVBOX_SSH_DEFAULT_USER"], [], "root";
        /// The directory there where `/devbox add` does not say it.
        dir: String as Text = "devbox.dir", ["DEVBOX_DEFAULT_WORK_DIR"], [], "/app";
        /// An ssh configuration with Host blocks, for jumps and odd options; `/devbox add` names their aliases.
        ssh_config: Option<PathBuf> as Optional<PathTo> = "devbox.sshConfig", [], [], "";
        /// A command that prints an OpenSSH certificate for the key, before each dial. It is started without a shell, and gets
        /// the devbox's name, its user, its host and the key's file as its last arguments.
        cert_command: Option<String> as Optional<Text> = "devbox.certCommand", [], [], "";
        /// How long a Claude there goes on without a word from here. Then it ends with its turn, and half an hour later in any case.
        lease: Duration as Span<MINUTE, { 7 * DAY }> = "devbox.lease", [], [], "15m";
        /// What each devbox may spend in a day, in US dollars by its own word. It pays with its own login: it is no part of
        /// `budget.officePerDay`.
        budget_a_day: Option<f64> as Optional<Number> = "devbox.budgetPerDay", [], [], "";
        /// Whether `/devbox add NAME local` may make this machine one, under this service's own user, to try things out.
        allow_local: bool as Flag = "devbox.allowLocal", [], [], "false";
    }

    /// Environments that are containers (`envs.json`): the porter has them made, and alone holds Docker's socket.
    Porter / porter {
        /// Where it listens. The processor has Claude work through it, and the gateway asks it how containers are.
        socket: PathBuf as PathTo = "porter.socket", [], [], "/run/tinyclaw-porter/porter.sock";
    }

    /// The gateway: the event bus over HTTP. Without a token (`tinyclaw token new`) it answers nobody.
    Gateway / gateway {
        /// Where it listens. Keep it on loopback; a tunnel or an ingress is the way in.
        listen: SocketAddr as Address = "gateway.listen", ["GATEWAY_LISTEN"], [], "127.0.0.1:3200";
        /// Another port than that of `gateway.listen`.
        port: Option<u64> as Optional<Whole<1, 65535>> = "gateway.port", ["PORT"], [], "";
        /// The public names it answers to, with their ports. `localhost` and `127.0.0.1` with the port it listens on always
        /// count; all others are refused.
        hosts: Vec<String> as List<Text> = "gateway.hosts", ["GATEWAY_HOSTS"], [], "";
        /// The pages that may use it, as `https://HOST[:PORT]`, exactly. None: no page.
        origins: Vec<String> as List<Text> = "gateway.origins", ["ALLOWED_ORIGINS"], [], "";
        /// A token of your own making that may do everything but administer, beside those of `tokens.json`; 32 characters
        /// or more.
        api_token: Option<SecretString> as Optional<Secret> = "gateway.apiToken", ["API_TOKEN"], [], "";
        /// The secret that signs JSON Web Tokens (HS256) which are good here; 32 characters or more.
        jwt_secret: Option<SecretString> as Optional<Secret> = "gateway.jwtSecret", [], [], "";
        /// The keys of whoever signs JSON Web Tokens (RS256, ES256): a JWKS, as a file or address.
        jwks: Option<String> as Optional<Text> = "gateway.jwks", [], [], "";
        /// The issuer that a JSON Web Token must name.
        jwt_issuer: Option<String> as Optional<Text> = "gateway.jwtIssuer", [], [], "";
        /// The audience that a JSON Web Token must name.
        jwt_audience: Option<String> as Optional<Text> = "gateway.jwtAudience", [], [], "";
        /// Hosts that events may be posted to (`/api/webhooks`), as `host` or `host:port`. None: no webhooks.
        webhook_hosts: Vec<String> as List<Text> = "gateway.webhookHosts", [], [], "";
        /// Whether `POST /sessions/ID/notify` also reaches Claude Code sessions that are not of this office: a note of a
        /// program's then waits up to an hour and stands, quoted, beside what that session's next hook posts over HTTP.
        notify_foreign: bool as Flag = "gateway.notifyForeign", [], [], "false";
        /// So many events a token may tell in a second, and a thousand at once.
        ingest_per_second: u64 as Whole<1, 1_000_000> = "gateway.ingestPerSecond", [], [], "1000";
        /// So many jobs a token may begin in a second, and ten at once.
        execute_per_second: u64 as Whole<1, 10_000> = "gateway.executePerSecond", [], [], "1";
        /// So many questions a token may ask in a second.
        read_per_second: u64 as Whole<1, 100_000> = "gateway.readPerSecond", [], [], "50";
        /// So many connections an address may have. A tunnel or an ingress is one address for everybody behind it.
        connections_per_address: u64 as Whole<1, 4096> = "gateway.connectionsPerAddress", [], [], "256";
        /// Events are kept for so long,
        keep: Duration as Span<MINUTE, { 3650 * DAY }> = "gateway.keep", [], [], "30d";
        /// so many of them,
        keep_rows: u64 as Whole<1000, 1_000_000_000> = "gateway.keepRows", [], [], "10000000";
        /// and while they weigh no more bytes than this.
        keep_bytes: u64 as Whole<16_777_216, 1_099_511_627_776> = "gateway.keepBytes", [], [], "4294967296";
    }

    /// Retention: how long what grows is kept.
    Retention / retention {
        /// `queue/done/`: finished messages. Also how long a key that comes again is known for a duplicate.
        done: Duration as Span<DAY, { 3650 * DAY }> = "retention.done", [], [], "7d";
        /// `jobs/`: the story of each turn, for whoever streams it; counted from its last line.
        jobs: Duration as Span<MINUTE, { 365 * DAY }> = "retention.jobs", [], [], "24h";
        /// `queue/dead/` and `queue/quarantine/`: what was given up, with its reason.
        dead: Option<Duration> as Keep = "retention.dead", [], [], "90d";
        /// `message-history.jsonl`, in segments of 64 MB.
        history: Option<Duration> as Keep = "retention.history", [], [], "forever";
        /// `routing-log.jsonl` and `routing-outcomes.jsonl`, in segments of 64 MB.
        routing: Option<Duration> as Keep = "retention.routing", [], [], "90d";
        /// `logs/prompts.jsonl`, in segments of 64 MB.
        prompts: Option<Duration> as Keep = "retention.prompts", [], [], "14d";
        /// `memory/conversations/`: every turn of every session. Summaries and notes are kept for ever.
        conversations: Option<Duration> as Keep = "retention.conversations", [], [], "365d";
        /// `files/`: what was sent, both ways.
        files: Option<Duration> as Keep = "retention.files", [], [], "90d";
    }
}

/// What is wrong with a section as a whole, beyond its rows.
trait Check {
    fn check(&self, from: &mut Reader<'_>);
}

macro_rules! nothing_more_to_check {
    ($($Group:ident),*) => { $(impl Check for $Group { fn check(&self, _: &mut Reader<'_>) {} })* };
}
nothing_more_to_check!(
    Telegram, Models, Mcp, GitHub, Budget, Heartbeat, Memory, Retention, Devboxes, Porter
);

impl Check for Office {
    fn check(&self, from: &mut Reader<'_>) {
        let roots = self.allowed_roots.iter().map(|it| ("workspace.allowedRoots", it));
        let paths = roots.chain([("workspace.root", &self.workspace)]);
        for (key, path) in paths.chain(self.cwd.iter().map(|it| ("workspace.cwd", it))) {
            if !path.is_absolute() {
                let says = format!("{} must begin with / or ~/", path.display());
                from.mistake(Origin::Key(key.to_owned()), says);
            }
        }
        if let Some(cwd) = &self.cwd
            && cwd.is_absolute()
            && !self.roots().any(|it| cwd.starts_with(it))
        {
            let says = format!(
                "{} is below neither workspace.root nor workspace.allowedRoots",
                cwd.display()
            );
            from.mistake(Origin::Key("workspace.cwd".to_owned()), says);
        }
    }
}

impl Office {
    /// The folders below which threads may work.
    pub fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.workspace).chain(&self.allowed_roots)
    }

    /// The folder in which each new thread gets one of its own.
    pub fn default_cwd(&self) -> &PathBuf {
        self.cwd.as_ref().unwrap_or(&self.workspace)
    }
}

impl Check for Claude {
    fn check(&self, from: &mut Reader<'_>) {
        if self.oauth_token.is_some() && self.api_key.is_some() {
            let says = "claude.oauthToken is set too; keep one of them, or the bill surprises you";
            from.mistake(Origin::Key("claude.apiKey".to_owned()), says);
        }
    }
}

impl Check for Engine {
    fn check(&self, from: &mut Reader<'_>) {
        if self.tool_time < self.silence {
            let says = "is shorter than engine.silence; a running tool is allowed more, not less";
            from.mistake(Origin::Key("engine.toolTime".to_owned()), says);
        }
    }
}

/// Shorter secrets could be guessed.
const SECRET_CHARS_MIN: usize = 32;

impl Gateway {
    /// Where the gateway listens: `PORT` is stronger than the address.
    pub fn listening(&self) -> SocketAddr {
        let mut listen = self.listen;
        if let Some(port) = self.port.and_then(|it| u16::try_from(it).ok()) {
            listen.set_port(port);
        }
        listen
    }
}

impl Check for Gateway {
    fn check(&self, from: &mut Reader<'_>) {
        let mut mistake = |key: &str, says: String| from.mistake(Origin::Key(key.to_owned()), says);
        for (key, secret) in
            [("gateway.apiToken", &self.api_token), ("gateway.jwtSecret", &self.jwt_secret)]
        {
            let length = secret.as_ref().map(|it| it.expose_secret().chars().count());
            if length.is_some_and(|it| it < SECRET_CHARS_MIN) {
                mistake(key, format!("is shorter than {SECRET_CHARS_MIN} characters"));
            }
        }
        let signs = self.jwt_secret.is_some() || self.jwks.is_some();
        for (key, value) in
            [("gateway.jwtIssuer", &self.jwt_issuer), ("gateway.jwtAudience", &self.jwt_audience)]
        {
            if signs && value.is_none() {
                mistake(key, "is needed beside gateway.jwtSecret and gateway.jwks".to_owned());
            }
        }
        for it in &self.origins {
            let host = it.strip_prefix("https://").or_else(|| it.strip_prefix("http://"));
            if host.is_none_or(|it| it.is_empty() || it.contains(['/', '*'])) {
                let says = format!("{it:?} is no origin; one looks like https://app.example.org");
                mistake("gateway.origins", says);
            }
        }
    }
}

impl Check for Dashboard {
    fn check(&self, from: &mut Reader<'_>) {
        let (has, lacks) = match (&self.access_team, &self.access_aud) {
            (Some(_), None) => ("dashboard.accessTeam", "dashboard.accessAud"),
            (None, Some(_)) => ("dashboard.accessAud", "dashboard.accessTeam"),
            _ => return,
        };
        from.mistake(Origin::Key(lacks.to_owned()), format!("is needed beside {has}"));
    }
}

/// The table.
pub fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(Settings::rows);
    &ROWS
}

/// Keys of the original that mean nothing any more, and why. They are told and forgiven.
pub fn retired() -> &'static [(&'static str, &'static str)] {
    &[
        ("session_idle_timeout_minutes", "sessions end once a day, at memory.resetAt"),
        ("model", "the router picks a model for each message; /model pins a thread to one"),
    ]
}
