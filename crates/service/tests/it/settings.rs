use std::fs;
use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};
use secrecy::ExposeSecret;
use serde_json::json;
use tinyclaw_service::settings::{
    Engine, EngineMode, Environment, Heartbeat, Mistakes, Models, Reader, Refreshed, Section,
    Settings, Store, Telegram, edited, rows,
};

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read<S: Section>(file: &str, pairs: &[(&str, &str)]) -> Result<(S, Vec<String>), Mistakes> {
    Reader::new(file, &environment(pairs)).finish()
}

#[track_caller]
fn mistakes(file: &str, pairs: &[(&str, &str)], expect: Expect) {
    let Mistakes(all) = read::<Settings>(file, pairs).expect_err("there are mistakes");
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    expect.assert_eq(&all.join("\n"));
}

#[test]
fn nothing_set_is_a_good_start() {
    let (settings, notes) = read::<Settings>("", &[]).unwrap();
    assert_eq!(settings.engine.warm_max, 4);
    assert_eq!(settings.memory.reset_at.to_string(), "04:00:00");
    assert!(!settings.heartbeat.enabled);
    assert!(settings.telegram.allowed_users.is_empty(), "empty means nobody");
    assert_eq!(notes, [""; 0]);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file = r#"{ "engine": { "mode": "spawn", "idle": "1h" }, "engine.warmMax": 2 }"#;
    let pairs = [("TINYCLAW_ENGINE_WARM_MAX", "7"), ("TINYCLAW_ENGINE_IDLE", "  ")];
    let (engine, _) = read::<Engine>(file, &pairs).unwrap();
    assert_eq!(engine.mode, EngineMode::Spawn);
    assert_eq!(engine.warm_max, 7);
    assert_eq!(engine.idle, Duration::from_secs(3600), "an empty variable is not set");
    assert_eq!(engine.parallel_max, 4);
}

#[test]
fn every_mistake_is_named_with_its_key_all_at_once() {
    mistakes(
        r#"{
            "timezone": "Europe/Atlantis",
            "engine": { "warmMaxx": 3, "mode": "hot", "silence": "1h", "toolTime": "5m" },
            "telegram": "yes",
            "dashboard": { "accessTeam": "ada" },
            "retention": { "done": [1] },
            "telegram_chat_id": "general",
            "colour": "blue"
        }"#,
        &[("TELEGRAM_ALLOWED_USERS", "Ada"), ("TELEGRAM_BOT_TOKEN", "two\tparts")],
        expect![[r#"
            settings.json: engine.warmMaxx: there is no such setting; did you mean engine.warmMax?
            settings.json: telegram: is a group; expected an object: { … }
            settings.json: colour: there is no such setting; docs/SETTINGS.md lists them all
            settings.json: timezone: "Europe/Atlantis" will not do; expected a time zone, such as Europe/Berlin or UTC
            TELEGRAM_BOT_TOKEN: this will not do; expected a secret of one line
            settings.json: telegram.chatId: "general" will not do; expected a Telegram id, such as 123456789 or -1001234567890
            TELEGRAM_ALLOWED_USERS: "Ada" will not do; expected a list, with commas between, of: a Telegram id, such as 123456789 or -1001234567890
            settings.json: engine.mode: "hot" will not do; expected warm or spawn
            settings.json: dashboard.accessAud: is needed beside dashboard.accessTeam
            settings.json: retention.done: ["1"] will not do; expected a duration from 1d to 3650d, such as 90s, 30m, 2h or 7d"#]],
    );
    mistakes(
        "{ oops",
        &[],
        expect!["settings.json: is not JSON: key must be a string at line 1 column 3"],
    );
}

#[test]
fn models_and_their_tiers_are_said_by_name() {
    let pairs = [
        ("TINYCLAW_ENGINE_MODELS", "haiku=claude-haiku-4-5, saga=claude-saga-7 12/60 👾"),
        ("TINYCLAW_ENGINE_TIERS", "COMPLEX=saga"),
    ];
    let it = read::<Models>("", &pairs).unwrap().0;
    assert_eq!(it.families["haiku"], "claude-haiku-4-5");
    assert_eq!(it.families["saga"], "claude-saga-7 12/60 👾");
    assert_eq!(it.tiers["COMPLEX"], "saga");
    let file = r#"{ "engine": { "tiers": { "SIMPLE": "sonnet" } } }"#;
    assert_eq!(read::<Models>(file, &[]).unwrap().0.tiers["SIMPLE"], "sonnet");
}

#[test]
fn an_effort_is_said_for_all_or_for_each_tier() {
    let read = |text: &str| {
        let models = read::<Models>("", &[("TINYCLAW_ENGINE_EFFORT", text)]).ok()?.0;
        let all: Vec<String> =
            models.effort.iter().map(|it| format!("{} {}", it.0, it.1)).collect();
        Some(all.join(", "))
    };
    assert_eq!(read("max").as_deref(), Some("COMPLEX max, MEDIUM max, SIMPLE max"));
    assert_eq!(read("COMPLEX=xhigh").as_deref(), Some("COMPLEX xhigh"));
    assert_eq!(read("HARD=high"), None);
    assert_eq!(read("enormous"), None);
}

#[test]
fn a_section_that_contradicts_itself_is_told_so() {
    mistakes(
        r#"{ "engine": { "silence": "1h", "toolTime": "5m" }, "workspace.cwd": "/srv/x",
             "claude": { "oauthToken": "aaaaaaaaaa", "apiKey": "bbbbbbbbbb" } }"#,
        &[("WORKSPACE_ROOT", "/home/ada/work")],
        expect![[r#"
            settings.json: workspace.cwd: /srv/x is below neither workspace.root nor workspace.allowedRoots
            settings.json: claude.apiKey: claude.oauthToken is set too; keep one of them, or the bill surprises you
            settings.json: engine.toolTime: is shorter than engine.silence; a running tool is allowed more, not less"#]],
    );
}

#[test]
fn a_secret_comes_by_variable_or_by_file_and_never_by_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "123456:the-token\n").unwrap();
    let path = path.to_str().unwrap();
    let (telegram, _) = read::<Telegram>("", &[("TELEGRAM_BOT_TOKEN_FILE", path)]).unwrap();
    assert_eq!(telegram.bot_token.as_ref().unwrap().expose_secret(), "123456:the-token");
    assert!(!format!("{telegram:?}").contains("the-token"));
    assert_eq!(tinyclaw_service::conceal("got 123456:the-token"), "got [hidden]");

    mistakes(
        "",
        &[("TELEGRAM_BOT_TOKEN_FILE", path), ("TELEGRAM_BOT_TOKEN", "x")],
        expect!["TELEGRAM_BOT_TOKEN: TELEGRAM_BOT_TOKEN_FILE is set too; keep one of them"],
    );
    mistakes(
        "",
        &[("ANTHROPIC_API_KEY_FILE", "/nowhere/key")],
        expect![
            "ANTHROPIC_API_KEY_FILE: cannot read /nowhere/key: No such file or directory (os error 2)"
        ],
    );
}

#[test]
fn a_secret_comes_as_a_credential_when_no_variable_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    let token = |pairs: &[(&str, &str)]| {
        let (telegram, _) = read::<Telegram>("", pairs).unwrap();
        telegram.bot_token.as_ref().map(|it| it.expose_secret().to_owned())
    };
    let handed = [("CREDENTIALS_DIRECTORY", here)];
    assert_eq!(token(&handed), None, "what is not handed over is not set");
    fs::write(dir.path().join("telegram-bot-token"), "123456:handed\n").unwrap();
    assert_eq!(token(&handed).as_deref(), Some("123456:handed"));
    let both = [("CREDENTIALS_DIRECTORY", here), ("TELEGRAM_BOT_TOKEN", "123456:typed")];
    assert_eq!(token(&both).as_deref(), Some("123456:typed"));
    fs::write(dir.path().join("telegram-bot-token"), "\n").unwrap();
    assert_eq!(token(&handed), None, "an empty one is none, as an empty variable is");
    fs::remove_file(dir.path().join("telegram-bot-token")).unwrap();
    fs::create_dir(dir.path().join("telegram-bot-token")).unwrap();
    let Mistakes(all) = read::<Settings>("", &handed).expect_err("a folder is no secret");
    let says = format!("cannot read {here}/telegram-bot-token: it is a folder");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].to_string().starts_with(&format!("the credential telegram-bot-token: {says}")));
}

#[test]
fn a_settings_file_of_the_original_works_as_it_is() {
    let file = r#"{ "timezone": "UTC", "telegram_bot_token": "1:x", "telegram_chat_id": "-1001234567890",
        "heartbeat_interval": 300, "max_concurrent_sessions": 2, "session_idle_timeout_minutes": 30 }"#;
    let (settings, notes) = read::<Settings>(file, &[]).unwrap();
    assert_eq!(settings.telegram.chat_id, Some(-1_001_234_567_890));
    assert_eq!(settings.heartbeat.interval, Duration::from_secs(300));
    assert_eq!(settings.engine.parallel_max, 2);
    assert_eq!(
        notes,
        [
            "settings.json: session_idle_timeout_minutes means nothing any more: sessions end once a day, at memory.resetAt"
        ]
    );
}

#[test]
fn a_thread_has_its_own_heartbeat_or_none() {
    let file = r#"{ "heartbeat": { "threads": { "7": "2h", "u12": false } } }"#;
    let (heartbeat, _) = read::<Heartbeat>(file, &[]).unwrap();
    assert_eq!(heartbeat.threads["7"], Some(Duration::from_secs(7200)));
    assert_eq!(heartbeat.threads["u12"], None);
    let pairs = [("TINYCLAW_HEARTBEAT_THREADS", "7=2h, u12=off")];
    assert_eq!(read::<Heartbeat>("", &pairs).unwrap().0.threads, heartbeat.threads);
}

#[test]
fn a_misspelt_variable_is_told_and_strange_ones_are_left_alone() {
    let pairs = [("TINYCLAW_ENGIN_MODE", "warm"), ("TINYCLAW_IMAGE_FOR_CI", "x"), ("PATH", "/bin")];
    let (_, notes) = read::<Engine>("", &pairs).unwrap();
    assert_eq!(
        notes,
        ["TINYCLAW_ENGIN_MODE is not a variable of ours; did you mean TINYCLAW_ENGINE_MODE?"]
    );
}

#[test]
fn every_key_and_variable_is_there_once() {
    let mut names: Vec<String> = Vec::new();
    for row in rows() {
        names
            .extend(std::iter::once(row.key).chain(row.aliases.iter().copied()).map(str::to_owned));
        names.extend(row.variables());
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_bad_file_leaves_the_last_good_settings_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let save = |text: &str| fs::write(dir.path().join("settings.json"), text).unwrap();
    let store = Store::<Engine>::open(dir.path(), Environment::new()).unwrap();
    assert_eq!(store.refresh(), Refreshed::Same);

    save(r#"{ "engine": { "warmMax": 9 } }"#);
    assert_eq!(store.refresh(), Refreshed::Changed);
    assert_eq!(store.current().warm_max, 9);

    save(r#"{ "engine": { "warmMax": "many" } }"#);
    assert!(matches!(store.refresh(), Refreshed::Refused(_)));
    assert_eq!(store.current().warm_max, 9);
    assert_eq!(store.refresh(), Refreshed::Same, "a bad file is told once");

    fs::remove_file(dir.path().join("settings.json")).unwrap();
    assert_eq!(store.refresh(), Refreshed::Same, "it may be on its way back");
    assert_eq!(store.refresh(), Refreshed::Changed);
    assert_eq!(store.current().warm_max, 4);
}

/// A save on a full disk left an empty file, and the whole office went on with the defaults.
#[test]
fn an_emptied_file_is_no_wish_for_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let save = |text: &str| fs::write(dir.path().join("settings.json"), text).unwrap();
    save(r#"{ "engine": { "warmMax": 9 } }"#);
    let store = Store::<Engine>::open(dir.path(), Environment::new()).unwrap();
    for blank in ["", " \n"] {
        save(blank);
        let Refreshed::Refused(mistakes) = store.refresh() else { panic!("it is refused") };
        let says = "settings.json: is empty; write {} for the defaults, or remove it";
        assert_eq!(mistakes.to_string(), says);
        assert_eq!(store.current().warm_max, 9);
    }
    assert!(Store::<Engine>::open(dir.path(), Environment::new()).is_err(), "nor at the start");
    save("{}");
    assert_eq!(store.refresh(), Refreshed::Changed);
    assert_eq!(store.current().warm_max, 4);
}

#[test]
fn a_file_that_is_away_for_a_moment_counts_as_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.json");
    let aside = dir.path().join("settings.json~");
    fs::write(&path, r#"{ "engine": { "warmMax": 9 } }"#).unwrap();
    let store = Store::<Engine>::open(dir.path(), Environment::new()).unwrap();
    for _ in 0..2 {
        fs::rename(&path, &aside).unwrap();
        assert_eq!(store.refresh(), Refreshed::Same);
        fs::rename(&aside, &path).unwrap();
        assert_eq!(store.refresh(), Refreshed::Same);
        assert_eq!(store.current().warm_max, 9);
    }
}

/// Which is what docs/SETTINGS.md says of it.
#[test]
fn a_secret_file_is_read_again_with_the_settings_and_its_loss_refuses_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let save = |text: &str| fs::write(dir.path().join("settings.json"), text).unwrap();
    fs::write(&token, "123456:first\n").unwrap();
    let pairs = [("TELEGRAM_BOT_TOKEN_FILE", token.to_str().unwrap())];
    let store = Store::<Telegram>::open(dir.path(), environment(&pairs)).unwrap();
    let secret = || store.current().bot_token.as_ref().unwrap().expose_secret().to_owned();
    fs::write(&token, "123456:second\n").unwrap();
    assert_eq!(store.refresh(), Refreshed::Same);
    save(r#"{ "telegram.chatId": 5 }"#);
    assert_eq!(store.refresh(), Refreshed::Changed);
    assert_eq!(secret(), "123456:second");
    fs::remove_file(&token).unwrap();
    save(r#"{ "telegram.chatId": 66 }"#);
    let Refreshed::Refused(mistakes) = store.refresh() else { panic!("it is refused") };
    assert!(mistakes.to_string().starts_with("TELEGRAM_BOT_TOKEN_FILE: cannot read"), "{mistakes}");
    assert_eq!((secret(), store.current().chat_id), ("123456:second".to_owned(), Some(5)));
}

#[tokio::test(start_paused = true)]
async fn a_service_with_bad_settings_waits_unready_and_takes_the_mended_file() {
    use tinyclaw_service::{Shutdown, Vitals};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.json");
    fs::write(&path, "{").unwrap();
    let (vitals, shutdown) = (Vitals::new("x", "0"), Shutdown::default());
    let (root, asked, told) = (dir.path().to_owned(), vitals.clone(), shutdown.clone());
    let opening = tokio::spawn(async move {
        Store::<Engine>::open_when_good(&root, &Environment::new(), &asked, &told).await
    });
    while vitals.snapshot().why.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(
        vitals.snapshot().why[0].starts_with("settings.json: is not JSON"),
        "{:?}",
        vitals.snapshot().why
    );
    fs::write(&path, r#"{ "engine.mode": "spawn" }"#).unwrap();
    let store = opening.await.unwrap().unwrap();
    assert_eq!(store.current().mode, EngineMode::Spawn);
}

#[test]
fn an_edit_changes_one_key_and_refuses_nonsense() {
    let file = r#"{ "timezone": "UTC", "telegram_chat_id": 5, "unknown": { "kept": true } }"#;
    let text = edited(file, "telegram.chatId", Some(json!(-100_123))).unwrap();
    let text = edited(&text, "engine.mode", Some(json!("spawn"))).unwrap();
    expect![[r#"
        {
          "timezone": "UTC",
          "unknown": {
            "kept": true
          },
          "telegram": {
            "chatId": -100123
          },
          "writtenBy": "2026.11.0",
          "engine": {
            "mode": "spawn"
          }
        }
    "#]]
    .assert_eq(&text.replace(env!("CARGO_PKG_VERSION"), "2026.11.0"));
    let gone = edited(&text, "engine.mode", None).unwrap();
    assert!(!gone.contains("engine"));
    let err = edited(&text, "engine.mode", Some(json!("hot"))).unwrap_err();
    assert_eq!(
        err.to_string(),
        r#"settings.json: engine.mode: "hot" will not do; expected warm or spawn"#
    );
    let err = edited(&text, "timezon", Some(json!("UTC"))).unwrap_err();
    assert!(err.to_string().contains("did you mean timezone?"), "{err}");
}

/// After going back a version both services stayed down over a key that only the later one knew.
#[test]
fn a_key_of_a_later_version_is_told_and_forgiven() {
    let empty = Environment::new();
    let read = |file: &str| Reader::new(file, &empty).finish::<(Engine, Telegram)>();
    let later = r#"{ "writtenBy": "2099.1.0", "engine": { "mode": "spawn", "orbit": 7 }, "moon": { "phase": "full" } }"#;
    let ((engine, _), notes) = read(later).unwrap();
    assert_eq!(engine.mode, EngineMode::Spawn);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].starts_with("settings.json: engine.orbit means nothing to this version"),
        "{notes:?}"
    );
    assert!(notes[1].contains("moon") && notes[1].ends_with("the file was written by 2099.1.0"));
    // Written by this version or by nobody, it is a slip as ever; so is a value that will not do.
    for file in [
        &later.replace("2099.1.0", env!("CARGO_PKG_VERSION")),
        &later.replace(r#""writtenBy": "2099.1.0","#, ""),
        &later.replace("2099.1.0", "tomorrow"),
        &later.replace("spawn", "hot"),
    ] {
        assert!(read(file).is_err(), "{file}");
    }
    // Whoever edits the file with this version leaves it the later one's.
    let text = edited(later, "engine.mode", Some(json!("warm"))).unwrap();
    assert!(text.contains("2099.1.0") && text.contains("orbit"), "{text}");
    assert!(read(&text).is_ok());
}

#[test]
fn the_root_is_absolute_whatever_was_said() {
    let dir =
        tinyclaw_service::settings::state_dir(&environment(&[("TINYCLAW_DIR", "x/y")])).unwrap();
    assert!(dir.is_absolute() && dir.ends_with(Path::new("x/y")));
    let dir = tinyclaw_service::settings::state_dir(&environment(&[("TINYCLAW_DIR", "")])).unwrap();
    assert!(dir.ends_with(".tinyclaw"));
}
