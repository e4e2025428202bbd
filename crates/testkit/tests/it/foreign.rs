//! The same scenario with aiogram and with python-telegram-bot, in a virtual environment of their own that pip fills.
//!
//! Named `real_*`, so that quick runs leave them out. Without pip they are skipped by name.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "runs other people's programs, says when it cannot"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tinyclaw_testkit::telegram::{FORUM, FakeTelegram, Limits, Options, TOKEN, schema::Schema};

/// The clients, pinned: a new version is looked at, not met by chance.
const CLIENTS: [&str; 2] = ["aiogram==3.31.0", "python-telegram-bot==22.8"];

/// A Python with both clients, or why there is none.
fn python() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|it| Path::new(&it).join(".cache")));
    let dir =
        base.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("tinyclaw/foreign-clients");
    let python = dir.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output();
        match done {
            Ok(it) if it.status.success() => Ok(()),
            Ok(it) => {
                let said = String::from_utf8_lossy(&it.stderr);
                Err(format!("{} {}: {}", program.display(), arguments.join(" "), said.trim()))
            }
            Err(err) => Err(format!("{}: {err}", program.display())),
        }
    };
    let works = || run(&python, &["-c", "import aiogram, telegram"]);
    if works().is_err() {
        run(Path::new("python3"), &["-m", "venv", &dir.to_string_lossy()])?;
        let mut arguments = vec!["-m", "pip", "install", "--quiet"];
        arguments.extend(CLIENTS);
        run(&python, &arguments)?;
        works()?;
    }
    Ok(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_foreign_clients_take_the_fake_for_the_real_one() {
    let (python, schema) = match (python(), Schema::fetch()) {
        (Ok(python), Ok(schema)) => (python, schema),
        (Err(why), _) | (_, Err(why)) => {
            eprintln!("skipped: real_foreign_clients_take_the_fake_for_the_real_one: {why}");
            return;
        }
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign");
    let mut days = Vec::new();
    for script in ["with_aiogram.py", "with_ptb.py"] {
        let options =
            Options { limits: Limits::none(), schema: Some(schema.clone()), ..Options::default() };
        let fake = FakeTelegram::start_with(options).await.unwrap();
        let mut command = Command::new(&python);
        command
            .arg(scripts.join(script))
            .env("API", fake.url())
            .env("CONTROL", fake.control_url())
            .env("TOKEN", TOKEN)
            .env("CHAT", FORUM.to_string())
            .env("NO_PROXY", "127.0.0.1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(fake.violations(), [""; 0], "{script}");
        days.push(said);
    }
    assert_eq!(days[0], days[1]);
    assert_eq!(days[0].lines().count(), 24, "{}", days[0]);
}
