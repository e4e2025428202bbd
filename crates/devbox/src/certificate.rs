//! Certificates that a command of the operator's makes, one for each dial: the office has a key, and whoever signs it says how
//! long it counts. The signer's key is never here.
//!
//! What the command prints is looked at before it is used: one line that is a certificate, and nothing else.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tinyclaw_disk::{Flush, replace};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::ssh::Route;
use crate::trouble::{Kind, Trouble};

/// A signer over the network answers within this time.
const PATIENCE: Duration = Duration::from_secs(15);
/// No certificate is longer.
const BYTES_MAX: u64 = 16 * 1024;

impl Route {
    /// Has a certificate made for this dial and puts it where ssh finds it. Nothing is done where there is no command.
    pub async fn certify(&self) -> Result<(), Trouble> {
        let (Some(command), Some(file)) = (&self.cert_command, self.certificate()) else {
            return Ok(());
        };
        let made = timeout(PATIENCE, mint(command, self)).await;
        let made = made.unwrap_or_else(|_| Err("it does not come to an end".to_owned()));
        let written = made.and_then(|line| {
            replace(&file, line.as_bytes(), Flush::None).map_err(|err| err.to_string())
        });
        // Nobody but the operator mends it, but a signer that is away comes back.
        written.map_err(|why| {
            Trouble::new(
                Kind::NoCertificate,
                format!("devbox.certCommand made no certificate: {why}"),
            )
        })
    }
}

async fn mint(command: &str, route: &Route) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("it is empty")?;
    #[expect(clippy::disallowed_methods, reason = "the operator's own command signs our key")]
    let mut child = Command::new(program)
        .args(words)
        .args([route.name.as_str(), route.user.as_str(), route.host.host()])
        .arg(Path::new(&route.key))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| format!("it cannot be started: {err}"))?;
    let mut said = Vec::new();
    let stdout = child.stdout.take().ok_or("it has no stdout")?;
    stdout.take(BYTES_MAX + 1).read_to_end(&mut said).await.map_err(|err| err.to_string())?;
    let ended = child.wait().await.map_err(|err| err.to_string())?;
    if !ended.success() {
        return Err(format!("it ended with {ended}"));
    }
    certificate(&said).ok_or_else(|| "what it printed is none".to_owned())
}

/// The one line, if it is a certificate's.
fn certificate(said: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(said).ok()?.trim();
    let is_one = said.len() as u64 <= BYTES_MAX && !text.contains(char::is_control);
    let kind = text.split(' ').next()?;
    (is_one && kind.ends_with("-cert-v01@openssh.com")).then(|| format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_one_line_that_says_what_it_is() {
        let line = "ssh-ed25519-cert-v01@openssh.com AAAA ada";
        assert_eq!(certificate(format!("{line}\n").as_bytes()), Some(format!("{line}\n")));
        for bad in ["", "ssh-ed25519 AAAA", &format!("{line}\n{line}"), "Welcome"] {
            assert_eq!(certificate(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(certificate(&vec![b'x'; BYTES_MAX as usize + 1]), None);
    }
}
