//! What the broker is told: read once, from the environment, each mistake named.
//!
//! A secret comes from a file (`NAME_FILE`, or its own in `$CREDENTIALS_DIRECTORY`) or from `NAME`. The private key is never taken from
//! the environment: whoever may inspect a container would read it there.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};

use crate::clients::SECRET_BYTES_MIN;

const GITHUB: &str = "https://api.github.com";
/// HMAC-SHA256 is as strong as its key.
const CAPABILITY_SECRET_BYTES_MIN: usize = 32;

/// Everything the broker is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// `BROKER_LISTEN`
    pub listen: SocketAddr,
    /// `GITHUB_APP_ID`
    pub app_id: Option<String>,
    /// `GITHUB_APP_PEM`
    pub pem: PathBuf,
    /// `GITHUB_API_URL`
    pub api_url: String,
    /// `BROKER_POLICY`
    pub policy: PathBuf,
    /// Whether it was set: then the file must be there.
    pub policy_asked_for: bool,
    /// `BROKER_CLIENTS_FILE`
    pub clients: PathBuf,
    /// Whether it was set: then the file must be there.
    pub clients_asked_for: bool,
    /// `BROKER_SECRET`: one client named `bot`.
    pub secret: Option<SecretString>,
    /// `BROKER_CAPABILITY_SECRET`
    pub capability_secret: Option<SecretString>,
    /// `BROKER_AUDIT`
    pub audit: PathBuf,
    /// `BROKER_FREEZE_FILE`: while it exists, nothing is minted.
    pub freeze_file: PathBuf,
    /// What is wrong with a secret. Who wanted one must not be served without it, and a broker
    /// that ended for it would only be started again: it idles and says why.
    pub trouble: Option<String>,
}

impl Config {
    /// Reads the environment through `var`.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Config> {
        let var = |name: &str| var(name).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
        let path = |name: &str, or: &str| PathBuf::from(var(name).unwrap_or_else(|| or.to_owned()));
        // Who hands credentials over leaves out what there is not.
        let credential = |name: &str| {
            let path = PathBuf::from(var("CREDENTIALS_DIRECTORY")?).join(name);
            path.exists().then_some(path)
        };
        let secret = |name: &str| -> anyhow::Result<Option<SecretString>> {
            let file = format!("{name}_FILE");
            match (var(name), var(&file)) {
                (Some(_), Some(_)) => bail!("{name} and {file} are both set: use one"),
                (Some(secret), None) => Ok(Some(secret.into())),
                (None, Some(path)) => {
                    let text = std::fs::read_to_string(&path)
                        .with_context(|| format!("{file}: cannot read {path}"))?;
                    let secret = SecretString::from(text.trim());
                    ensure!(!secret.expose_secret().is_empty(), "{file}: {path} is empty");
                    Ok(Some(secret))
                }
                (None, None) => {
                    let name = name.to_lowercase().replace('_', "-");
                    let Some(path) = credential(&name) else { return Ok(None) };
                    let text = std::fs::read_to_string(&path)
                        .with_context(|| format!("cannot read the credential {name}"))?;
                    let text = text.trim();
                    Ok((!text.is_empty()).then(|| SecretString::from(text)))
                }
            }
        };
        // This machine alone: its container, on a private network, says otherwise.
        let listen = var("BROKER_LISTEN").unwrap_or_else(|| "127.0.0.1:3000".to_owned());
        let listen = listen
            .parse()
            .with_context(|| format!("BROKER_LISTEN={listen:?} is not address:port"))?;

        let app_id = secret("GITHUB_APP_ID")?.map(|it| it.expose_secret().to_owned());
        if let Some(id) = &app_id {
            let clean =
                id.len() <= 40 && id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'.');
            ensure!(
                clean,
                "GITHUB_APP_ID is the number (or client id) from the App's settings page"
            );
        }
        let pem = match credential("github-app.pem").filter(|_| var("GITHUB_APP_PEM").is_none()) {
            Some(handed) => handed,
            None => path("GITHUB_APP_PEM", "/secrets/github-app.pem"),
        };
        ensure!(
            !pem.as_os_str().to_string_lossy().contains("-----BEGIN"),
            "GITHUB_APP_PEM is the path of the key's file, not the key: everybody who may inspect \
             the process could read it"
        );
        let api_url = var("GITHUB_API_URL").unwrap_or_else(|| GITHUB.to_owned());
        check_api_url(&api_url, var("GITHUB_API_INSECURE").as_deref() == Some("1"))?;

        let mut trouble = None;
        let mut long_enough = |name: &str, least: usize| {
            let read = secret(name).and_then(|it| {
                let long = it.as_ref().is_none_or(|it| it.expose_secret().len() >= least);
                ensure!(
                    long,
                    "{name} has fewer than {least} characters: openssl rand -hex 32 makes one"
                );
                Ok(it)
            });
            read.unwrap_or_else(|error| {
                trouble.get_or_insert_with(|| format!("{error:#}"));
                None
            })
        };
        let client_secret = long_enough("BROKER_SECRET", SECRET_BYTES_MIN);
        let capability_secret =
            long_enough("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET_BYTES_MIN);
        Ok(Config {
            listen,
            app_id,
            pem,
            api_url,
            policy: path("BROKER_POLICY", "/secrets/broker-policy.toml"),
            policy_asked_for: var("BROKER_POLICY").is_some(),
            clients_asked_for: var("BROKER_CLIENTS_FILE").is_some(),
            clients: path("BROKER_CLIENTS_FILE", "/secrets/broker-clients.toml"),
            secret: client_secret,
            capability_secret,
            audit: path("BROKER_AUDIT", "/var/lib/tinyclaw-broker/audit.jsonl"),
            freeze_file: path("BROKER_FREEZE_FILE", "/secrets/broker-freeze"),
            trouble,
        })
    }
}

/// The JWT is as good as the key for ten minutes: it crosses a network only encrypted.
fn check_api_url(url: &str, insecure: bool) -> anyhow::Result<()> {
    let parsed = reqwest::Url::parse(url)
        .with_context(|| format!("GITHUB_API_URL={url:?} is not a URL such as {GITHUB}"))?;
    let host = parsed.host_str().unwrap_or_default();
    let local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    let plain = parsed.scheme() == "http" && (local || insecure);
    ensure!(
        parsed.scheme() == "https" || plain,
        "GITHUB_API_URL={url:?} is not https (plain http is for this machine only, or with \
         GITHUB_API_INSECURE=1 for a test network)"
    );
    ensure!(
        parsed.username().is_empty() && parsed.query().is_none() && parsed.fragment().is_none(),
        "GITHUB_API_URL has a user, a query or a fragment in it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> anyhow::Result<Config> {
        let vars: Vec<_> = vars.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Config::from_env(|name| vars.iter().find(|(it, _)| it == name).map(|(_, it)| it.clone()))
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test plays whoever hands credentials over")]
    fn secrets_and_the_key_come_as_credentials_when_no_variable_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let secret = "a-secret-of-more-than-thirty-two-characters";
        for (name, text) in [("broker-capability-secret", secret), ("github-app.pem", "a key")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let handed = ("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap());
        let read = config(&[handed]).unwrap();
        assert_eq!(read.capability_secret.unwrap().expose_secret(), secret);
        assert_eq!(read.pem, dir.path().join("github-app.pem"));
        assert!(read.secret.is_none(), "what is not handed over is not set");
        let read = config(&[handed, ("GITHUB_APP_PEM", "/elsewhere")]).unwrap();
        assert_eq!(read.pem, PathBuf::from("/elsewhere"));
    }

    #[test]
    fn nothing_set_is_a_broker_that_idles() {
        let config = config(&[("GITHUB_APP_ID", "")]).unwrap();
        assert_eq!(config.app_id, None);
        assert_eq!(config.listen, "127.0.0.1:3000".parse().unwrap());
        assert_eq!(config.api_url, GITHUB);
    }

    #[test]
    fn mistakes_are_named() {
        for (name, value, part) in [
            ("BROKER_LISTEN", "3000", "address:port"),
            ("GITHUB_APP_ID", "my app", "number"),
            ("GITHUB_APP_PEM", "-----BEGIN A KEY-----", "path"),
            ("GITHUB_API_URL", "http://github.example.com", "https"),
            ("GITHUB_API_URL", "github", "URL"),
            ("GITHUB_API_URL", "https://a:b@github.example.com", "user"),
        ] {
            let error = format!("{:#}", config(&[(name, value)]).unwrap_err());
            assert!(error.contains(name) && error.contains(part), "{name}={value}: {error}");
        }
    }

    #[test]
    fn an_unusable_secret_is_named_and_no_reason_to_end() {
        for (name, value, part) in [
            ("BROKER_SECRET", "short", "openssl rand"),
            ("BROKER_CAPABILITY_SECRET", "short", "openssl rand"),
            ("BROKER_SECRET_FILE", "/nowhere", "cannot read /nowhere"),
            ("BROKER_CAPABILITY_SECRET_FILE", "/dev/null", "is empty"),
        ] {
            let config = config(&[(name, value)]).unwrap();
            let trouble = config.trouble.unwrap();
            assert!(trouble.contains(name) && trouble.contains(part), "{name}: {trouble}");
            assert!(config.secret.is_none() && config.capability_secret.is_none());
        }
    }

    #[test]
    fn an_enterprise_prefix_is_kept() {
        let config = config(&[("GITHUB_API_URL", "https://github.example.com/api/v3")]).unwrap();
        assert_eq!(config.api_url, "https://github.example.com/api/v3");
    }
}
