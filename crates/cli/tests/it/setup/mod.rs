//! Setting up, as a script does it and as a person does, with everything real but Telegram, Anthropic and GitHub.

mod github;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tinyclaw_disk::Lock;
use tinyclaw_testkit::messages_api::MessagesApi;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, FakeTelegram, STRANGER, TOKEN};
use tokio::runtime::Runtime;

use crate::chat::Person;
use crate::{Office, Said, beside};

/// Nothing is set, and answers go to `settings.json` of `home/.tinyclaw`.
fn newcomer() -> Office {
    let mut office = Office::closed();
    for name in ["TINYCLAW_DIR", "TINYCLAW_ENGINE_KIND", "WORKSPACE_ROOT"] {
        office.env.remove(name);
    }
    office
}

/// The same in a checkout, where they go to `.env`.
fn checkout(env: &str) -> Office {
    let office = newcomer();
    let compose = include_str!("../../../../../docker-compose.yml");
    fs::write(office.place.path("home/docker-compose.yml"), compose).expect("compose file");
    fs::write(office.place.path("home/.env"), env).expect(".env");
    office
}

fn read(office: &Office, path: &str) -> String {
    fs::read_to_string(office.place.path(path)).unwrap_or_default()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

impl Said {
    /// It went wrong, and said so.
    #[track_caller]
    pub(crate) fn wrong(self, says: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.err.contains(says), "{says:?} is not in {self:?}");
        assert!(self.err.contains("→ "), "no way out: {self:?}");
    }
}

/// A Telegram that outlives the calls.
struct Telegram {
    runtime: Runtime,
    fake: FakeTelegram,
}

impl Telegram {
    fn start(office: &mut Office) -> Telegram {
        let runtime = Runtime::new().expect("a runtime");
        let fake = runtime.block_on(FakeTelegram::start()).expect("a fake Telegram");
        office.env.insert("TELEGRAM_API_URL".to_owned(), fake.url());
        Telegram { runtime, fake }
    }
}

fn token_file(office: &Office) -> String {
    let path = office.place.path("home/token");
    fs::write(&path, format!("{TOKEN}\n")).expect("a token");
    path.display().to_string()
}

#[test]
fn at_a_terminal_the_bot_its_forum_and_its_owner_are_met() {
    let before =
        "# mine\nTELEGRAM_BOT_TOKEN=\nOTHER='left alone' # yes\nTELEGRAM_ALLOWED_USERS=\"102\"\n";
    let mut office = checkout(before);
    let Telegram { runtime: _runtime, fake } = Telegram::start(&mut office);
    fake.act(Control::SetPrivacy { reads_groups: false });
    fake.act(Control::AddChat {
        chat: -7,
        title: "Plain".to_owned(),
        forum: false,
        supergroup: false,
    });
    let mut ada = Person::sits_down(&office, &["setup", "telegram"]);
    ada.sees(&office, "(not shown)");
    ada.types("hello\r");
    ada.sees(&office, "this is no token");
    ada.sees(&office, "(not shown)");
    ada.types(&format!("{TOKEN}\r"));
    ada.sees(&office, "this is @tinyclaw_bot");
    ada.sees(&office, "/setprivacy");
    ada.sees(&office, "write anything");
    fake.say(ADA, None, ADA, "hello?");
    ada.sees(&office, "in private");
    fake.say(-7, None, ADA, "hello?");
    ada.sees(&office, "is no forum");
    fake.act(Control::SetAdmin { chat: FORUM, admin: false });
    fake.say(FORUM, None, STRANGER, "mine!");
    ada.sees(&office, "Stranger (666) wrote in");
    // Whoever presses Enter without reading gives the office to nobody.
    ada.types("\r");
    fake.say(FORUM, None, ADA, "hello");
    ada.sees(&office, "Ada (101) wrote in");
    ada.types("y\r");
    ada.sees(&office, "is no administrator");
    ada.sees(&office, "Enter looks again");
    fake.act(Control::SetAdmin { chat: FORUM, admin: true });
    ada.types("\r");
    ada.sees(&office, "is the home forum");
    assert!(ada.child.wait().expect("it ends").success());
    assert!(!ada.all.lock().expect("seen").contains("AAfake"), "the token is not shown");

    let after = read(&office, "home/.env");
    let expected =
        before.replace("BOT_TOKEN=", &format!("BOT_TOKEN={TOKEN}")).replace("\"102\"", "102,101")
            + &format!("TELEGRAM_CHAT_ID={FORUM}\n");
    assert_eq!(after, expected);
    assert_eq!(mode(&office.place.path("home/.env")), 0o600);
    assert_eq!(fake.unconfirmed(), 4, "the service will answer all of it");
}

#[test]
fn a_script_names_everything_and_nobody_is_disturbed() {
    let mut office = newcomer();
    let telegram = Telegram::start(&mut office);
    // An office runs already; that is what its lock says.
    fs::create_dir_all(office.place.path("home/.tinyclaw/locks")).expect("locks");
    let lock = office.place.path("home/.tinyclaw/locks/telegram-7000000001");
    let _running = Lock::try_take(&lock).expect("a lock").expect("free");
    let file = token_file(&office);
    let (chat, owner) = (FORUM.to_string(), ADA.to_string());
    let named =
        ["setup", "telegram", "--token-file", &file, "--chat", &chat, "--owner", &owner, "--json"];
    let done = office.run(&named).json();
    assert_eq!(done["found"]["bot"], "tinyclaw_bot");
    assert_eq!(done["found"]["allowedUsers"], json!([ADA]));
    let settings: Value =
        serde_json::from_str(&read(&office, "home/.tinyclaw/settings.json")).expect("JSON");
    assert_eq!(settings["telegram"]["botToken"], TOKEN);
    assert_eq!(settings["telegram"]["chatId"], chat);
    assert_eq!(mode(&office.place.path("home/.tinyclaw/settings.json")), 0o600);
    let methods: Vec<String> = telegram.fake.calls().into_iter().map(|it| it.method).collect();
    assert!(!methods.contains(&"getUpdates".to_owned()), "{methods:?}");
    // Waiting for a message would disturb it, so it does not even begin.
    let said = office.run(&["setup", "telegram", "--wait", "5"]);
    assert!(!said.err.contains(TOKEN));
    said.wrong("a running office serves this bot");
}

#[test]
fn a_script_may_wait_for_the_first_message_of_the_owner() {
    let mut office = checkout("");
    let telegram = Telegram::start(&mut office);
    telegram.fake.say(FORUM, None, STRANGER, "me first");
    telegram.fake.say(FORUM, None, ADA, "hello");
    let line =
        ["setup", "telegram", "--token-file", "-", "--owner", "101", "--wait", "30", "--yes"];
    let out = office.run_with(&line, TOKEN).ok();
    assert!(out.contains("who is not the one who was named"), "{out}");
    assert!(read(&office, "home/.env").contains("TELEGRAM_ALLOWED_USERS=101\n"));
    assert!(!out.contains("AAfake"));
    assert_eq!(telegram.fake.unconfirmed(), 2);
}

/// A service of the office, ended with the test.
struct Service(std::process::Child);

impl Service {
    fn start(office: &Office, name: &str) -> Service {
        let log = fs::File::create(office.place.path(&format!("{name}.out"))).expect("a log");
        let mut command = Command::new(beside(name));
        command.env_clear().envs(&office.env).current_dir(office.place.home());
        command
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        Service(command.spawn().expect("a service starts"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_message_that_setup_saw_is_answered_once_the_office_runs() {
    let mut office = newcomer();
    let telegram = Telegram::start(&mut office);
    telegram.fake.say(FORUM, None, ADA, "[demo: say good morning]");
    let line = ["setup", "telegram", "--token-file", "-", "--owner", "101", "--yes"];
    office.run_with(&line, TOKEN).ok();
    let state = office.place.path("home/.tinyclaw").display().to_string();
    let work = office.place.work().display().to_string();
    for (name, value) in [
        ("TINYCLAW_DIR", state.as_str()),
        ("TINYCLAW_ENGINE_KIND", "demo"),
        ("WORKSPACE_ROOT", &work),
    ] {
        office.env.insert(name.to_owned(), value.to_owned());
    }
    let _services =
        ["tinyclaw-processor", "tinyclaw-telegram"].map(|it| Service::start(&office, it));
    let answered =
        || telegram.fake.texts(FORUM).iter().any(|it| it.contains("good morning")).then_some(());
    office.wait_for("the answer", answered);
    // Every service says how it is every few seconds.
    let parts = || office.run(&["setup", "--json"]).json();
    office.wait_for("its word", || (parts()[0]["standing"] == "real").then_some(()));
}

#[test]
fn what_does_not_work_is_named_and_nothing_is_written() {
    let mut office = checkout("A=1\n");
    let Telegram { runtime, fake } = Telegram::start(&mut office);
    let file = token_file(&office);
    let chat = FORUM.to_string();
    let line = |chat: &str| {
        let words = ["setup", "telegram", "--token-file", &file, "--chat", chat, "--owner", "101"];
        office.run(&words)
    };
    fake.act(Control::SetAdmin { chat: FORUM, admin: false });
    line(&chat).wrong("is no administrator of “Office”");
    line("-100999").wrong("the bot is not in this chat");
    office
        .run(&["setup", "telegram", "--token-file", &file, "--wait", "0"])
        .wrong("nobody has written");
    office.run(&["setup", "telegram"]).wrong("--token-file FILE");
    office.run(&["setup"]).wrong("nobody to ask");
    office
        .run_with(&["setup", "telegram", "--token-file", "-"], "7000000001:AAwrong-token")
        .wrong("does not know this token");
    office
        .run_with(&["setup", "telegram", "--token-file", "-"], "")
        .wrong("does not hold a secret");
    runtime.block_on(async { drop(fake) });
    line(&chat).wrong("Telegram does not answer");
    let mut exported = office.command(&["setup", "telegram"]);
    let said = Said::of(exported.env("TELEGRAM_CHAT_ID", "-1").output().expect("it runs"));
    said.wrong("TELEGRAM_CHAT_ID is set here, and wins over .env");
    assert_eq!(read(&office, "home/.env"), "A=1\n");
}

#[test]
fn claude_is_asked_for_a_word_and_the_other_credential_goes() {
    let office = checkout("ANTHROPIC_API_KEY=sk-ant-api03-old\nTINYCLAW_ENGINE_KIND=demo\n");
    let engine = beside("tinyclaw-demo-engine").display().to_string();
    let key = "sk-ant-oat01-0123456789abcdef-wxyz";
    let line = ["setup", "claude", "--claude", &engine, "--oauth-token-file", "-"];
    let out = office.run_with(&line, key).ok();
    assert!(out.contains("Claude answered after") && !out.contains("0123456789"), "{out}");
    assert_eq!(
        read(&office, "home/.env"),
        format!("ANTHROPIC_API_KEY=\nTINYCLAW_ENGINE_KIND=\nCLAUDE_OAUTH_TOKEN={key}\n")
    );
    // Again, by a script: the one that is there is tried.
    office.run(&["setup", "claude", "--claude", &engine]).ok();
}

#[test]
fn a_claude_that_is_not_there_or_does_not_answer_changes_nothing() {
    let office = newcomer();
    let key = office.place.path("home/key");
    fs::write(&key, "sk-ant-api03-0123456789abcdef").expect("a key");
    let key = key.display().to_string();
    let line = |program: &str| {
        office.run(&["setup", "claude", "--claude", program, "--api-key-file", &key])
    };
    line("/nowhere/claude").wrong("the claude CLI is not here");
    let broken = office.place.path("home/claude");
    fs::write(&broken, "#!/bin/sh\necho cannot load libc >&2\nexit 127\n").expect("a program");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("executable");
    line(&broken.display().to_string()).wrong("claude --version");
    assert!(!office.place.path("home/.tinyclaw").exists());
}

/// The CLI that `scripts/install-claude.sh` installs.
#[expect(clippy::print_stderr, reason = "who runs the tests should know what was skipped")]
fn real_claude() -> Option<PathBuf> {
    tinyclaw_testkit::claude::program().map_err(|why| eprintln!("skipped: {why}")).ok()
}

#[test]
fn real_claude_tries_the_very_credential_that_is_given() {
    let Some(program) = real_claude() else { return };
    let runtime = Runtime::new().expect("a runtime");
    let api = runtime.block_on(MessagesApi::start()).expect("a fake API");
    let mut office = newcomer();
    office.env.insert("ANTHROPIC_BASE_URL".to_owned(), api.url());
    let program = program.display().to_string();
    let line = ["setup", "claude", "--claude", &program, "--api-key-file", "-"];
    let key = "sk-ant-api03-0123456789abcdef-1234";
    api.answer_always(Some(401));
    let said = office.run_with(&line, key);
    assert!(!said.err.contains("0123456789"));
    said.wrong("Anthropic does not take this: API key …1234");
    assert!(!office.place.path("home/.tinyclaw/settings.json").exists());
    api.answer_always(None);
    office.run_with(&line, key).ok();
    let settings: Value =
        serde_json::from_str(&read(&office, "home/.tinyclaw/settings.json")).expect("JSON");
    assert_eq!(
        (&settings["claude"]["apiKey"], &settings["engine"]["claude"]),
        (&json!(key), &json!(program))
    );
    assert!(
        api.asked().iter().all(|it| it.model.contains("haiku") && it.tools.is_empty()),
        "a word is cheap"
    );
    assert!(!office.place.path("home/.claude").exists(), "nothing of it is left in anybody's home");
}

#[test]
fn a_tunnel_keeps_local_names_and_its_token_to_itself() {
    let office = checkout("DASHBOARD_HOSTS=localhost:3100,mine.lan:3100\n");
    let token = format!("eyJ{}", "b".repeat(100));
    let aud = "0f".repeat(32);
    let line = [
        "setup",
        "tunnel",
        "--host",
        "https://Office.example.invalid/",
        "--access-team",
        "acme.cloudflareaccess.com",
        "--access-aud",
        &aud,
        "--token-file",
        "-",
    ];
    let out = office.run_with(&line, &format!("cloudflared tunnel run --token {token}")).ok();
    assert!(!out.contains(&token) && out.contains("starts cloudflared too"), "{out}");
    assert_eq!(
        read(&office, "home/.env"),
        format!(
            "DASHBOARD_HOSTS=127.0.0.1:3100,localhost:3100,mine.lan:3100,office.example.invalid\n\
             CF_ACCESS_TEAM=acme\nCF_ACCESS_AUD={aud}\n"
        )
    );
    let kept = office.place.path("home/secrets/tunnel-token");
    assert_eq!((fs::read_to_string(&kept).expect("the token"), mode(&kept)), (token, 0o600));
    // Another name later leaves the rest as it is.
    office.run(&["setup", "tunnel", "--host", "b.example.invalid"]).ok();
    let env = read(&office, "home/.env");
    assert!(
        env.contains(",office.example.invalid,b.example.invalid\n")
            && env.contains("CF_ACCESS_TEAM=acme\n")
    );
    office.run(&["setup", "tunnel", "--host", "10.0.0.1"]).wrong("is no public name");
    assert_eq!(office.run(&["setup", "tunnel", "--access-team", "acme"]).code, Some(2));
}

#[test]
fn the_office_has_a_zone_and_a_budget_each_by_itself() {
    let office = newcomer();
    office.run(&["setup", "office", "--timezone", "europe/berlin"]).ok();
    let done = office.run(&["setup", "office", "--budget", "$20", "--json"]).json();
    assert_eq!(done["found"], json!({"timezone": "Europe/Berlin", "budgetPerDayUsd": "20.00"}));
    office
        .run(&["setup", "office", "--timezone", "Europe/Berln"])
        .wrong("did you mean Europe/Berlin?");
    office.run(&["setup", "office", "--budget", "lots"]).wrong("is no amount");
    let parts = office.run(&["setup", "--json"]).json();
    assert_eq!(parts[4]["why"], "Europe/Berlin, $20.00 a day at most");
    assert_eq!((&parts[0]["name"], &parts[0]["standing"]), (&json!("telegram"), &json!("off")));
    let shown = office.run(&["setup", "--show"]).ok();
    assert!(shown.contains("telegram  off     there is no bot"), "{shown}");
}

#[test]
fn a_person_walks_through_skips_fails_thrice_and_sees_how_it_stands() {
    let office = checkout("");
    let mut ada = Person::sits_down(&office, &["setup"]);
    ada.sees(&office, "Answers go to .env");
    for part in ["telegram", "claude", "github", "tunnel"] {
        ada.sees(&office, &format!("Set up {part}?"));
        ada.types(if part == "tunnel" { "y\r" } else { "n\r" });
    }
    for name in ["office", "10.0.0.1", "a b"] {
        ada.sees(&office, "Public name of the dashboard");
        ada.types(&format!("{name}\r"));
        ada.sees(&office, "is no public name");
    }
    ada.sees(&office, "tunnel stays as it was");
    ada.sees(&office, "Set up office?");
    ada.types("\r");
    ada.sees(&office, "Time zone");
    ada.types("Asia/Tokyo\r");
    ada.sees(&office, "a day at most, or none");
    ada.types("7.5\r");
    ada.sees(&office, "real    Asia/Tokyo, $7.50 a day at most");
    ada.sees(&office, "./tinyclaw.sh doctor");
    assert_eq!(
        ada.child.wait().expect("it ends").code(),
        Some(1),
        "a part that was wanted does not work"
    );
    assert_eq!(
        read(&office, "home/.env"),
        "TINYCLAW_TIMEZONE=Asia/Tokyo\nTINYCLAW_BUDGET_OFFICE_PER_DAY=7.50\n"
    );
}

#[test]
fn ctrl_c_at_a_secret_leaves_the_terminal_and_the_files_as_they_were() {
    let office = checkout("");
    let mut ada = Person::sits_down(&office, &["setup", "telegram"]);
    ada.sees(&office, "(not shown)");
    ada.types("7000000001:AA-half-a-tok\u{3}");
    ada.sees(&office, "nothing more is changed");
    assert_eq!(ada.child.wait().expect("it ends").code(), Some(1));
    let modes = rustix::termios::tcgetattr(&ada.terminal).expect("modes").local_modes;
    assert!(
        modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON)
    );
    assert!(!ada.all.lock().expect("seen").contains("half"));
    assert_eq!(read(&office, "home/.env"), "");
}
