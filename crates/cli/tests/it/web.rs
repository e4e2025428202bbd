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

/// The compiler, installed outside the project as its lock says; or why it cannot be had.
fn compiler(client: &Path) -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|it| Path::new(&it).join(".cache")));
    let cache = base.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("tinyclaw/typescript");
    let lay = |name: &str| std::fs::copy(client.join(name), cache.join(name));
    let lock = std::fs::read(client.join("package-lock.json")).map_err(|it| it.to_string())?;
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
    Ok(cache.join("node_modules/.bin/tsc"))
}

#[test]
fn real_foreign_the_typescript_client_does_all_that_it_offers() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/typescript");
    let compiler = match run(Command::new("node").arg("--version")).and_then(|_| compiler(&client))
    {
        Ok(it) => it,
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
