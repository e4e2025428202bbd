//! `git-credential-tinyclaw`: git asks for a password, the broker gives a token.
//!
//! Set up with `git config --system credential.https://github.com.helper tinyclaw` and
//! `credential.https://github.com.useHttpPath true`, so that git says which repository it is
//! about. It answers for the configured host over https only, and for one repository at a time;
//! `erase` (git was refused) has the token dropped and revoked. It stores nothing.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tinyclaw_broker::errand::Broker;
use tinyclaw_broker::{date, process, remote};

/// git's descriptions are a few lines.
const INPUT_BYTES_MAX: u64 = 64 * 1024;
const USER: &str = "x-access-token";

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "git-credential-tinyclaw: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    process::harden()?;
    let var = |name: &str| std::env::var(name).ok();
    let action = std::env::args().nth(1).context("use: git-credential-tinyclaw get|store|erase")?;
    let mut input = String::new();
    std::io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut input)?;
    let about: HashMap<&str, &str> = input.lines().filter_map(|it| it.split_once('=')).collect();
    let host = var("TINYCLAW_GIT_HOST").unwrap_or_else(|| remote::HOST.to_owned());
    let ours = about.get("protocol") == Some(&"https")
        && about.get("host").is_some_and(|it| it.eq_ignore_ascii_case(&host));
    if !ours {
        // Somebody else's host: silence lets git ask its other helpers.
        return Ok(());
    }
    match action.as_str() {
        "get" => {
            let path = about.get("path").with_context(|| {
                format!(
                    "git did not say which repository: run \
                     git config --global credential.https://{host}.useHttpPath true"
                )
            })?;
            let Some((owner, repo)) = remote::repo_of_path(path) else {
                bail!("{path:?} is not owner/repository");
            };
            let broker = Broker::from_env(var)?;
            // To push; where that is not allowed, to read.
            let permissions = ["contents:write", "contents:read"];
            let token = broker.token(owner.as_str(), repo.as_str(), &permissions)?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "username={USER}\npassword={}", token.token.expose_secret())?;
            if let Some(expires) = date::parse_rfc3339(&token.expires_at) {
                writeln!(out, "password_expiry_utc={expires}")?;
            }
            Ok(())
        }
        "erase" => match about.get("password") {
            Some(token) if token.starts_with("ghs_") => {
                Broker::from_env(var)?.revoke(&SecretString::from(*token))
            }
            _ => Ok(()),
        },
        // `store` and whatever git may come up with: nothing is kept here.
        _ => Ok(()),
    }
}
