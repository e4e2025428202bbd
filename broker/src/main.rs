//! The credential broker's binary: a word on the command line, then the library does the work.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tinyclaw_broker::capability::hex;
use tinyclaw_broker::errand::{self, Address};
use tinyclaw_broker::{Broker, Clock, Config, audit, daemon, preflight, process};

const USAGE: &str = "\
tinyclaw-broker: mints GitHub installation tokens, never wider than allowed

  tinyclaw-broker [serve]          serve on BROKER_LISTEN (default 127.0.0.1:3000)
  tinyclaw-broker check [--json]   App, key and installations; exit 1 when no token can be had
  tinyclaw-broker audit verify [FILE] [--json]
                                   check the chain of the audit log (default BROKER_AUDIT)
  tinyclaw-broker healthcheck      exit 0 when the broker on this machine is alive
  tinyclaw-broker freeze | thaw    stop all minting and revoke what lives; mint again
  tinyclaw-broker hash-secret      read a client's secret, print its line for the clients file

The environment is described in the README of this package.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tinyclaw-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> anyhow::Result<ExitCode> {
    process::harden()?;
    let config = || Config::from_env(|name| std::env::var(name).ok());
    match words {
        [] | ["serve"] => {
            let level = std::env::var("RUST_LOG").ok();
            process::init_log(level.as_deref());
            daemon::run(config()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["check"] => check(config()?, false),
        ["check", "--json"] => check(config()?, true),
        ["audit", "verify", rest @ ..] => verify(rest),
        ["healthcheck"] => {
            let address = own_address(&config()?);
            let (status, body) = errand::ask(&address, "GET", "/health", None, None)?;
            anyhow::ensure!(status == 200, "{address} answered {status}: {body}");
            Ok(ExitCode::SUCCESS)
        }
        ["freeze"] => command(&config()?, "/freeze"),
        ["thaw"] => command(&config()?, "/thaw"),
        ["hash-secret"] => hash_secret(),
        ["help" | "--help" | "-h"] => {
            std::io::stdout().write_all(USAGE.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        ["--version"] => {
            writeln!(std::io::stdout(), "tinyclaw-broker {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            std::io::stderr().write_all(USAGE.as_bytes())?;
            Ok(ExitCode::from(2))
        }
    }
}

fn check(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let report = daemon::runtime()?.block_on(async {
        let broker = Broker::without_audit(config, Clock::system())?;
        anyhow::Ok(preflight::check(&broker).await)
    })?;
    let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.text() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(words: &[&str]) -> anyhow::Result<ExitCode> {
    let json = words.contains(&"--json");
    let files: Vec<&&str> = words.iter().filter(|it| **it != "--json").collect();
    let path = match files[..] {
        [] => Config::from_env(|name| std::env::var(name).ok())?.audit,
        [file] => file.into(),
        _ => anyhow::bail!("audit verify takes one file"),
    };
    let mut out = std::io::stdout();
    match audit::verify(&path) {
        Ok(whole) if json => {
            let found = serde_json::json!({ "ok": true, "found": whole });
            writeln!(out, "{found}")?;
        }
        Ok(whole) => {
            writeln!(
                out,
                "{} lines, {} to {}, in {} files: the chain is whole\nhead {}",
                whole.lines, whole.first_seq, whole.last_seq, whole.files, whole.head
            )?;
        }
        Err(broken) if json => {
            let found = serde_json::json!({ "ok": false, "error": broken.to_string() });
            writeln!(out, "{found}")?;
            return Ok(ExitCode::FAILURE);
        }
        Err(broken) => return Err(broken).context("the chain is broken"),
    }
    Ok(ExitCode::SUCCESS)
}

fn command(config: &Config, path: &str) -> anyhow::Result<ExitCode> {
    let bearer = admin_secret(config)?;
    let address = own_address(config);
    let (status, body) = errand::ask(&address, "POST", path, bearer.as_ref(), None)?;
    writeln!(std::io::stdout(), "{body}")?;
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An admin's secret when one is given, else the one client's.
fn admin_secret(config: &Config) -> anyhow::Result<Option<SecretString>> {
    match std::env::var("BROKER_ADMIN_SECRET_FILE") {
        Ok(path) => {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("BROKER_ADMIN_SECRET_FILE: cannot read {path}"))?;
            Ok(Some(text.trim().into()))
        }
        Err(_) => Ok(config.secret.clone()),
    }
}

/// The broker beside us: every address is reached on this one.
fn own_address(config: &Config) -> Address {
    let mut listen = config.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Address::new(&listen.ip().to_string(), listen.port())
}

fn hash_secret() -> anyhow::Result<ExitCode> {
    let mut secret = String::new();
    std::io::stdin().read_line(&mut secret).context("cannot read a secret from stdin")?;
    let secret = secret.trim();
    let least = tinyclaw_broker::clients::SECRET_BYTES_MIN;
    anyhow::ensure!(secret.len() >= least, "a secret has {least} characters or more");
    let mut digest = String::new();
    hex(&Sha256::digest(secret.as_bytes()), &mut digest);
    writeln!(std::io::stdout(), "sha256 = \"{digest}\"")?;
    Ok(ExitCode::SUCCESS)
}
