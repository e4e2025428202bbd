//! Whose key a machine shows, learned without offering it anything, and kept for ssh.

use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use tinyclaw_domain::{DevboxName, Fingerprint};
use tokio::process::Command;
use tokio::time::timeout;

use crate::ssh::Route;
use crate::trouble::{Kind, Said, Trouble};

/// Jumps and slow machines included.
const PATIENCE: Duration = Duration::from_secs(40);
/// No host key's line is longer.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// A host's public key: `ssh-ed25519 AAAA…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    kind: String,
    key: String,
}

impl HostKey {
    /// Asks a machine for its key. No credential is offered, and nothing runs there.
    pub async fn learn(route: &Route) -> Result<HostKey, Trouble> {
        let other = |why: String| Trouble::new(Kind::Other, why);
        let dir = tempdir().map_err(|err| other(format!("no folder for its key: {err}")))?;
        let (file, home) = (dir.path().join("key"), dir.path().join("nobody"));
        #[expect(
            clippy::disallowed_methods,
            reason = "the system's ssh asks, by the operator's configuration"
        )]
        let asked = Command::new("ssh")
            .args(route.learning(&file))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            // Nothing of whoever runs the service is read.
            .env("HOME", &home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .output();
        let output = match timeout(PATIENCE, asked).await {
            Ok(Ok(output)) => output,
            Ok(Err(err)) => return Err(other(format!("ssh cannot be started: {err}"))),
            Err(_) => {
                let text = format!("{} does not answer", route.host.with_port());
                return Err(Trouble::new(Kind::Silent, text));
            }
        };
        let kept =
            tinyclaw_disk::foreign::read_below(dir.path(), Path::new("key"), LINE_BYTES_MAX as u64);
        let kept = String::from_utf8(kept.unwrap_or_default()).unwrap_or_default();
        // `NAME KIND KEY`, under the alias.
        let learned = kept.lines().find_map(|it| it.split_once(' ')?.1.parse().ok());
        learned.ok_or_else(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let said = Said { stderr: &stderr, stdout: "", code: output.status.code() };
            Trouble::of(route, &said)
        })
    }

    /// What people compare.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let bytes = STANDARD.decode(&self.key).ok()?;
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(bytes))).parse().ok()
    }

    /// `ED25519`, `RSA`, as `ssh-keygen -l` says it.
    pub fn kind(&self) -> String {
        let kind = self.kind.trim_start_matches("ssh-");
        let kind = kind.split('-').next().unwrap_or(kind);
        kind.to_ascii_uppercase()
    }

    /// The file on the machine that holds it, in the usual place.
    pub fn usual_file(&self) -> &'static str {
        match self.kind.as_str() {
            "ssh-ed25519" => "/etc/ssh/ssh_host_ed25519_key.pub",
            "ssh-rsa" => "/etc/ssh/ssh_host_rsa_key.pub",
            _ => "/etc/ssh/ssh_host_ecdsa_key.pub",
        }
    }

    /// As it stands in the registry: `KIND KEY`.
    pub fn to_text(&self) -> String {
        format!("{} {}", self.kind, self.key)
    }

    /// The file that makes ssh believe this key of this devbox, and no other of any.
    pub fn known_hosts(&self, name: &DevboxName) -> String {
        format!("{name} {} {}\n", self.kind, self.key)
    }
}

/// A word that is no host key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a host key")]
pub struct NoHostKey;

impl FromStr for HostKey {
    type Err = NoHostKey;

    fn from_str(text: &str) -> Result<HostKey, NoHostKey> {
        let mut words = text.split_whitespace();
        let (Some(kind), Some(key)) = (words.next(), words.next()) else { return Err(NoHostKey) };
        let is_kind = kind.len() <= 64
            && kind.bytes().all(|it| it.is_ascii_alphanumeric() || b"-@.".contains(&it));
        if !is_kind || key.len() > LINE_BYTES_MAX || STANDARD.decode(key).is_err() {
            return Err(NoHostKey);
        }
        Ok(HostKey { kind: kind.to_owned(), key: key.to_owned() })
    }
}

/// A folder for one question, gone with what is returned.
fn tempdir() -> std::io::Result<TempDir> {
    let name = format!("tinyclaw-{}-{}", std::process::id(), unique());
    let path = std::env::temp_dir().join(name);
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path)?;
    Ok(TempDir(path))
}

fn unique() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    u128::from(RandomState::new().hash_one(0)) << 64 | u128::from(RandomState::new().hash_one(1))
}

struct TempDir(std::path::PathBuf);

impl TempDir {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_one_that_ssh_keygen_shows() {
        // Made with ssh-keygen, and its own word on it.
        let text =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLEKEYEXAMPLEKEYEXAMPLEKEYEXAMPLEKEYEXAM me";
        assert!(text.parse::<HostKey>().is_err(), "half a key is none");
        for bad in ["", "ssh-ed25519", "a b c", "ssh;x AAAA"] {
            assert!(bad.parse::<HostKey>().is_err(), "{bad:?}");
        }
        let key: HostKey = "ecdsa-sha2-nistp256 AAAA".parse().unwrap();
        assert_eq!(
            (key.kind().as_str(), key.to_text().as_str()),
            ("ECDSA", "ecdsa-sha2-nistp256 AAAA")
        );
        assert_eq!(key.known_hosts(&"api".parse().unwrap()), "api ecdsa-sha2-nistp256 AAAA\n");
        assert!(key.fingerprint().is_some());
    }
}
