//! The web API as a program of somebody else's uses it: the TypeScript client against the real gateway, with the real
//! processor and the demo engine behind it.
//!
//! Named `real_*`, so that quick runs leave it out. Where its compiler cannot be had it is skipped by name.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so by name")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Office;
use crate::hook::{Gateway, free_port};

/// An office with an environment, a gateway over it, and a token for all that clients do.
pub(crate) fn office() -> (Office, Gateway, String) {
    let office = Office::open();
    let envs = r#"{ "dev": { "isolation": "none" } }"#;
    std::fs::write(office.place.path("state/envs.json"), envs).unwrap();
    let scopes = ["token", "new", "web", "--scope", "ingest,read,execute,envs"];
    let token = office.run(&scopes).ok().trim().to_owned();
    let gateway = Gateway::start(&office, free_port());
    (office, gateway, token)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let name = format!("{command:?}");
    let done = command.output().map_err(|err| format!("{name}: {err}"))?;
    let said = [&*done.stdout, &*done.stderr].map(String::from_utf8_lossy).concat();
    if done.status.success() { Ok(done) } else { Err(format!("{name}: {said}")) }
}

/// A folder of this name for what is installed outside the project.
fn cache(name: &str) -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|it| Path::new(&it).join(".cache")));
    Ok(base.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("tinyclaw").join(name))
}

/// The folder with the packages that `from` names, installed as its lock says; or why they cannot be had.
fn packages(name: &str, from: &Path) -> Result<PathBuf, String> {
    run(Command::new("node").arg("--version"))?;
    let cache = cache(name)?;
    let lay = |name: &str| std::fs::copy(from.join(name), cache.join(name));
    let lock = std::fs::read(from.join("package-lock.json")).map_err(|it| it.to_string())?;
    let installed = cache.join("node_modules/.installed-lock.json");
    if std::fs::read(&installed).ok().as_ref() != Some(&lock) {
        std::fs::create_dir_all(&cache)
            .and_then(|()| lay("package.json"))
            .and_then(|_| lay("package-lock.json"))
            .map_err(|it| it.to_string())?;
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(Command::new("npm").args(install).current_dir(&cache))?;
        std::fs::write(&installed, lock).map_err(|it| it.to_string())?;
    }
    Ok(cache)
}

/// A Python with `OpenAI`'s client, as `scripts/openai-client.txt` pins it; or why it cannot be had.
fn python() -> Result<PathBuf, String> {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/openai-client.txt");
    let dir = cache("openai-python")?;
    let (python, installed) = (dir.join("bin/python"), dir.join("installed.txt"));
    let pins = std::fs::read(&wanted).map_err(|it| it.to_string())?;
    if std::fs::read(&installed).ok().as_ref() != Some(&pins) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        let install = ["-m", "pip", "install", "--quiet", "--require-hashes", "--requirement"];
        run(Command::new(&python).args(install).arg(&wanted))?;
        std::fs::write(&installed, pins).map_err(|it| it.to_string())?;
    }
    Ok(python)
}

#[test]
fn real_foreign_the_typescript_client_does_all_that_it_offers() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/typescript");
    let compiler = match packages("typescript", &client) {
        Ok(it) => it.join("node_modules/.bin/tsc"),
        Err(why) => {
            println!("skipped: real_foreign_the_typescript_client_does_all_that_it_offers: {why}");
            return;
        }
    };
    let (office, gateway, token) = office();
    let out = office.place.path("client");
    // Strict, as `tsconfig.json` says.
    let compiled =
        run(Command::new(compiler).arg("--project").arg(&client).arg("--outDir").arg(&out));
    assert!(compiled.is_ok(), "{compiled:?}");
    std::fs::write(out.join("package.json"), r#"{ "type": "module" }"#).unwrap();
    let done = run(Command::new("node")
        .args(["--test", "--test-reporter", "tap"])
        .arg(client.join("test.mjs"))
        .env("TINYCLAW_CLIENT", out.join("tinyclaw.js"))
        .env("TINYCLAW_URL", gateway.url())
        .env("TINYCLAW_TOKEN", token));
    let said = match done {
        Ok(it) => String::from_utf8_lossy(&it.stdout).into_owned(),
        Err(why) => panic!("{why}"),
    };
    assert!(said.contains("# pass 6") && said.contains("# fail 0"), "{said}");
}

#[test]
fn real_foreign_openais_own_clients_are_answered_and_stream() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai");
    let (python, node) = match (python(), packages("openai", &own)) {
        (Ok(python), Ok(node)) => (python, node),
        (Err(why), _) | (_, Err(why)) => {
            println!("skipped: real_foreign_openais_own_clients_are_answered_and_stream: {why}");
            return;
        }
    };
    // Compiled where its packages lie, by its own types.
    for name in ["client.ts", "tsconfig.json"] {
        std::fs::copy(own.join(name), node.join(name)).unwrap();
    }
    let tsc = node.join("node_modules/.bin/tsc");
    let compiled = run(Command::new(tsc).arg("--project").arg(&node));
    assert!(compiled.is_ok(), "{compiled:?}");
    let (_office, gateway, token) = office();
    for (program, script) in
        [(python, own.join("client.py")), (PathBuf::from("node"), node.join("out/client.js"))]
    {
        let done = run(Command::new(program)
            .arg(&script)
            .env("URL", gateway.url())
            .env("TOKEN", &token)
            .env("NO_PROXY", "127.0.0.1")
            .env("PYTHONDONTWRITEBYTECODE", "1"));
        let said = match done {
            Ok(it) => String::from_utf8_lossy(&it.stdout).into_owned(),
            Err(why) => panic!("{why}"),
        };
        assert!(said.contains("all of it"), "{}: {said}", script.display());
    }
}
