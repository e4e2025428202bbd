//! How ssh is called: one command line, made of types that hold nothing else.
//!
//! What the line says is stronger than any configuration file, and everything that could lead anywhere else is switched off:
//! no agent, no forwarding, no shared connection, no command but the one that is given. A prompt, a path or a name that a
//! person typed is never part of the command that runs there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tinyclaw_domain::{DevboxHost, DevboxName, DevboxUser};

/// How one devbox is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it is called here; its host key is kept under this name.
    pub name: DevboxName,
    /// Where it is: a name, an address, or an alias of `config`.
    pub host: DevboxHost,
    /// Who is logged in as.
    pub user: DevboxUser,
    /// The office's private key.
    pub key: PathBuf,
    /// The operator's ssh configuration, for jumps and odd options; none is read without.
    pub config: Option<PathBuf>,
    /// The file with the approved host key, and no other.
    pub known_hosts: PathBuf,
    /// The operator's command that makes a certificate for each dial, if there is one.
    pub cert_command: Option<String>,
}

/// What holds for every connection.
const ALWAYS: [&str; 20] = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "ConnectTimeout=10",
    "ConnectionAttempts=1",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ControlMaster=no",
    "ControlPath=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "EscapeChar=none",
    "LogLevel=INFO",
    "RequestTTY=no",
];

impl Route {
    /// The arguments of `ssh` that run this command there, for whoever shows the approved key.
    pub fn arguments(&self, command: &str) -> Vec<OsString> {
        let mut args = self.common(&self.known_hosts);
        let mut key = OsString::from("IdentityFile=");
        key.push(quoted(&self.key));
        for option in
            [key, "PreferredAuthentications=publickey".into(), "StrictHostKeyChecking=yes".into()]
        {
            args.extend(["-o".into(), option]);
        }
        if let Some(certificate) = self.certificate().filter(|_| self.cert_command.is_some()) {
            let mut file = OsString::from("CertificateFile=");
            file.push(quoted(&certificate));
            args.extend(["-o".into(), file]);
        }
        args.extend(["--".into(), self.host.host().into(), command.into()]);
        args
    }

    /// Where a certificate lies, beside the host key.
    pub(crate) fn certificate(&self) -> Option<PathBuf> {
        Some(
            self.known_hosts
                .with_file_name(format!("{}-cert.pub", self.known_hosts.file_name()?.to_str()?)),
        )
    }

    /// The arguments of `ssh` that keep the key it shows in an empty file, and offer no credential.
    pub(crate) fn learning(&self, known_hosts: &Path) -> Vec<OsString> {
        let mut args = self.common(known_hosts);
        for option in ["PreferredAuthentications=none", "StrictHostKeyChecking=accept-new"] {
            args.extend(["-o".into(), option.into()]);
        }
        args.extend(["--".into(), self.host.host().into(), "exit".into()]);
        args
    }

    fn common(&self, known_hosts: &Path) -> Vec<OsString> {
        let config = self.config.as_deref().unwrap_or_else(|| Path::new("/dev/null"));
        let mut args: Vec<OsString> = vec!["-F".into(), config.into(), "-T".into()];
        if let Some(port) = self.host.port() {
            args.extend(["-p".into(), port.to_string().into()]);
        }
        args.extend(["-l".into(), self.user.as_str().into()]);
        let mut file = OsString::from("UserKnownHostsFile=");
        file.push(quoted(known_hosts));
        let alias = format!("HostKeyAlias={}", self.name);
        for option in ALWAYS.iter().map(OsString::from).chain([file, alias.into()]) {
            args.extend(["-o".into(), option]);
        }
        args
    }

    /// `deploy@api.example.org:22`.
    pub fn shown(&self) -> String {
        format!("{}@{}", self.user, self.host.with_port())
    }
}

/// A path as ssh's options take one: in quotes, for they are split at spaces, and `%` begins a token.
fn quoted(path: &Path) -> OsString {
    let text = path.to_string_lossy().replace('%', "%%");
    format!("\"{text}\"").into()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn route() -> Route {
        Route {
            name: "api".parse().unwrap(),
            host: "api.example.org:2222".parse().unwrap(),
            user: "deploy".parse().unwrap(),
            key: "/secrets/devbox/id 1%".into(),
            config: None,
            known_hosts: "/state/devbox-keys/api".into(),
            cert_command: None,
        }
    }

    fn line(args: &[OsString]) -> String {
        args.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_command_line_is_this_one() {
        expect![[r#"-F /dev/null -T -p 2222 -l deploy -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no -o VerifyHostKeyDNS=no -o ConnectTimeout=10 -o ConnectionAttempts=1 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o ControlMaster=no -o ControlPath=none -o ForwardAgent=no -o ForwardX11=no -o ClearAllForwardings=yes -o PermitLocalCommand=no -o RemoteCommand=none -o EscapeChar=none -o LogLevel=INFO -o RequestTTY=no -o UserKnownHostsFile="/state/devbox-keys/api" -o HostKeyAlias=api -o IdentityFile="/secrets/devbox/id 1%%" -o PreferredAuthentications=publickey -o StrictHostKeyChecking=yes -- api.example.org exec x"#]]
        .assert_eq(&line(&route().arguments("exec x")));
    }

    #[test]
    fn a_key_is_learned_without_offering_one() {
        let learning = line(&route().learning(Path::new("/tmp/new")));
        assert!(
            learning.contains("PreferredAuthentications=none")
                && !learning.contains("IdentityFile")
        );
        assert!(learning.contains("StrictHostKeyChecking=accept-new"));
        assert!(learning.ends_with("-- api.example.org exit"), "{learning}");
    }

    #[test]
    fn a_certificate_is_offered_where_one_is_made_for_each_dial() {
        let plain = line(&route().arguments("x"));
        assert!(!plain.contains("CertificateFile"));
        let signed = Route { cert_command: Some("/usr/bin/sign".to_owned()), ..route() };
        let line = line(&signed.arguments("x"));
        assert!(line.contains("CertificateFile=\"/state/devbox-keys/api-cert.pub\""), "{line}");
    }

    #[test]
    fn an_aliass_own_port_counts_when_none_is_named() {
        let alias =
            Route { host: "lab".parse().unwrap(), config: Some("/etc/lab".into()), ..route() };
        let line = line(&alias.arguments("x"));
        assert!(line.starts_with("-F /etc/lab -T -l deploy"), "{line}");
    }
}
