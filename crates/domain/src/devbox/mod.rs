//! Devboxes as people name them: hosts, users, directories, fingerprints, and what `/devbox` is told.
//!
//! Each of these ends up on a command line or in a path of another machine, so each is a type that holds nothing else: no
//! option, no second word, no control character. Nothing here dials.

mod order;
mod view;

use core::net::Ipv6Addr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use order::{DEVBOX_VERBS, DevboxAddress, DevboxOrder, MoveTo};
pub use view::{DevboxStatus, DevboxView, DevboxViews};

const HOST_BYTES_MAX: usize = 253;
const USER_BYTES_MAX: usize = 32;
const DIR_BYTES_MAX: usize = 1024;
/// `SHA256:` and 43 letters of base64, without padding.
const FINGERPRINT_BYTES: usize = 7 + 43;
/// How much of a bad word is repeated.
const SHOWN_MAX: usize = 40;

/// A word of `/devbox` that will not do: a whole sentence for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDevbox(pub(crate) String);

/// A bad word as it is repeated: short, and on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|it| !it.is_control() && *it != '`').take(SHOWN_MAX).collect()
}

/// A machine's name, its address, or an alias of the operator's ssh configuration; with a port where one was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DevboxHost {
    host: Box<str>,
    port: Option<u16>,
}

impl DevboxHost {
    /// The name or address alone, as ssh takes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// With the port that is dialled when none was given.
    pub fn with_port(&self) -> String {
        DevboxHost { port: Some(self.port.unwrap_or(22)), ..self.clone() }.to_string()
    }

    /// Whether it can only be this machine.
    pub fn is_this_machine(&self) -> bool {
        let address = self.host.parse::<core::net::IpAddr>();
        &*self.host == "localhost" || address.is_ok_and(|it| it.is_loopback())
    }
}

impl fmt::Display for DevboxHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl FromStr for DevboxHost {
    type Err = BadDevbox;

    fn from_str(text: &str) -> Result<DevboxHost, BadDevbox> {
        let bad = || {
            BadDevbox(format!(
                "`{}` is no host; write a name or an address, such as `api.example.org` or `10.0.0.7:2222`.",
                shown(text)
            ))
        };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<Ipv6Addr>().map_err(|_| bad())?;
            (host, port.strip_prefix(':'))
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => None,
            Some(port) => {
                let digits = port.bytes().all(|it| it.is_ascii_digit());
                let number = port.parse::<u16>().ok().filter(|it| digits && *it > 0);
                Some(number.ok_or_else(bad)?)
            }
        };
        let is_name = host.len() <= HOST_BYTES_MAX
            && host.starts_with(|it: char| it.is_ascii_alphanumeric())
            && host.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it));
        if !is_name && host.parse::<Ipv6Addr>().is_err() {
            return Err(bad());
        }
        Ok(DevboxHost { host: host.into(), port })
    }
}

/// Who is logged in as: `[a-z_][a-z0-9_.-]{0,31}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DevboxUser(Box<str>);

impl FromStr for DevboxUser {
    type Err = BadDevbox;

    fn from_str(text: &str) -> Result<DevboxUser, BadDevbox> {
        let is_plain =
            |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_.-".contains(&it);
        let starts = text.starts_with(|it: char| it.is_ascii_lowercase() || it == '_');
        if starts && text.len() <= USER_BYTES_MAX && text.bytes().all(is_plain) {
            return Ok(DevboxUser(text.into()));
        }
        Err(BadDevbox(format!("`{}` is no user's name; write one such as `deploy`.", shown(text))))
    }
}

/// Which of the office's tools the Claude of a devbox gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DevboxTrust {
    /// Those that concern its own thread: `send_file` and `note`.
    #[default]
    Own,
    /// All of them, other threads' too.
    Office,
}

impl DevboxTrust {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            DevboxTrust::Own => "own",
            DevboxTrust::Office => "office",
        }
    }
}

impl FromStr for DevboxTrust {
    type Err = BadDevbox;

    fn from_str(text: &str) -> Result<DevboxTrust, BadDevbox> {
        match text {
            "own" => Ok(DevboxTrust::Own),
            "office" => Ok(DevboxTrust::Office),
            other => Err(BadDevbox(format!(
                "`{}` is neither `own` nor `office`: with `own` its Claude sends files and notes in its own thread, with `office` it has all our tools.",
                shown(other)
            ))),
        }
    }
}

/// The directory that Claude works in there: absolute, without `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DevboxDir(Box<str>);

impl FromStr for DevboxDir {
    type Err = BadDevbox;

    fn from_str(text: &str) -> Result<DevboxDir, BadDevbox> {
        let is_plain = text.starts_with('/')
            && text.len() <= DIR_BYTES_MAX
            && !text.contains(char::is_control)
            && !text.split('/').any(|it| it == ".." || it == ".");
        if is_plain {
            return Ok(DevboxDir(text.into()));
        }
        Err(BadDevbox(format!(
            "`{}` is no directory; write its whole path, such as `/srv/api`.",
            shown(text)
        )))
    }
}

/// What a host key is told by: `SHA256:` and the digest, as `ssh-keygen -l` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(Box<str>);

impl FromStr for Fingerprint {
    type Err = BadDevbox;

    fn from_str(text: &str) -> Result<Fingerprint, BadDevbox> {
        let digest = text.strip_prefix("SHA256:").unwrap_or_default();
        let is_base64 = |it: u8| it.is_ascii_alphanumeric() || b"+/".contains(&it);
        if text.len() == FINGERPRINT_BYTES && digest.bytes().all(is_base64) {
            return Ok(Fingerprint(text.into()));
        }
        Err(BadDevbox(format!(
            "`{}` is no fingerprint; `ssh-keygen -lf` shows one, beginning with `SHA256:`.",
            shown(text)
        )))
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}
text!(DevboxUser, DevboxDir, Fingerprint);

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(DevboxHost, DevboxUser, DevboxDir, Fingerprint);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_else() {
        for (text, host, port) in [
            ("api.example.org", "api.example.org", None),
            ("10.0.0.7:2222", "10.0.0.7", Some(2222)),
            ("::1", "::1", None),
            ("[fe80::1]:22", "fe80::1", Some(22)),
            ("my-alias", "my-alias", None),
        ] {
            let read: DevboxHost = text.parse().unwrap();
            assert_eq!((read.host(), read.port()), (host, port));
            assert_eq!(read.to_string().parse::<DevboxHost>().unwrap(), read);
        }
        let long = "x".repeat(HOST_BYTES_MAX + 1);
        for text in [
            "",
            "-oProxyCommand=x",
            "a;b",
            "a b",
            "a\nb",
            "a:0",
            "a:65536",
            "a:+1",
            "[::1",
            "a@b",
            "a:b:c",
            "$(x)",
            "../a",
            &long,
        ] {
            let said = text.parse::<DevboxHost>().unwrap_err().to_string();
            assert!(said.contains("is no host") && !said.contains('\n'), "{text:?}: {said}");
        }
    }

    #[test]
    fn only_loopback_is_this_machine_for_sure() {
        let is = |text: &str| text.parse::<DevboxHost>().unwrap().is_this_machine();
        assert!(is("127.0.0.1:22") && is("localhost") && is("::1"));
        assert!(!is("10.0.0.1") && !is("localhost.example.org"));
    }

    #[test]
    fn users_directories_and_fingerprints_are_plain_words() {
        for bad in ["", "Deploy", "-l", "a b", "root;ls", "a\u{0}"] {
            assert!(bad.parse::<DevboxUser>().is_err(), "{bad:?}");
        }
        for bad in ["", "srv", "/srv/../etc", "/a\nb", "~/x", "/./a"] {
            assert!(bad.parse::<DevboxDir>().is_err(), "{bad:?}");
        }
        let good = format!("SHA256:{}", "aB3+/".repeat(9).chars().take(43).collect::<String>());
        assert_eq!(good.parse::<Fingerprint>().unwrap().as_str(), good);
        for bad in ["", "SHA256:abc", "MD5:aa:bb", &good[..49], &format!("{good}=")] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_host_that_is_one_is_no_option_and_no_second_word(text in "\\PC{0,40}|[a-z0-9.:\\[\\]-]{0,20}") {
            if let Ok(host) = text.parse::<DevboxHost>() {
                prop_assert!(!host.host().starts_with('-'));
                prop_assert!(!host.host().contains(|it: char| it.is_whitespace() || "@;$`'\"%".contains(it)));
            }
        }
    }
}
