//! An environment that is a container: what the operator may say of it in `envs.json`.
//!
//! Nothing but this file names an image, a limit or a way out. What a word of it cannot mean is refused where it is read.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BadId, EnvName, PermissionMode};

/// Less memory starts no Claude.
const MEMORY_MIN: u64 = 64 * MIB;
const MIB: u64 = 1024 * 1024;
/// A directory's own name fits into an entry of an archive.
const NAME_BYTES_MAX: usize = 100;
/// Folders of an image, and of ours, of which nothing is given away to a volume.
const OF_THE_SYSTEM: [&str; 12] = [
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "tinyclaw",
];

/// A container of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerEnv {
    /// What it is made of: an image that is on that machine, with `claude` on its PATH.
    pub image: Image,
    /// The directory that all its sessions work in, kept when the container is made anew.
    #[serde(default)]
    pub cwd: ContainerDir,
    /// How much memory all that runs there has together.
    #[serde(default)]
    pub memory: Memory,
    /// How many processors.
    #[serde(default)]
    pub cpus: Cpus,
    /// Whether anything leads out of it. Claude itself needs that, unless its API is within the container's network.
    #[serde(default)]
    pub egress: bool,
    /// What Claude may do there without asking. None: what the office's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<PermissionMode>,
    /// What all its sessions together may spend in a day of the office's, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "dollars")]
    pub budget_per_day: Option<f64>,
    /// So long after its last use it is paused.
    #[serde(default = "minutes::<5>")]
    pub pause_after: Rest,
    /// So long after its last use it is stopped.
    #[serde(default = "minutes::<60>")]
    pub stop_after: Rest,
}

/// How the container of an environment is, as the porter says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Which environment.
    pub env: EnvName,
    /// What Docker calls it.
    pub name: String,
    /// Whether there is one.
    pub exists: bool,
    /// Whether it runs; one that is paused does.
    pub running: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// How many links lead into it.
    pub links: usize,
}

/// The name of an image, as Docker has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Image(Box<str>);

/// An absolute path in a container, which is none of its system's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ContainerDir(PathBuf);

/// An amount of memory: `512m`, `2g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(u64);

/// A number of processors, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus(u64);

/// A time of rest: `90s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Rest(Duration);

impl Image {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ContainerDir {
    /// The path, in the container.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for ContainerDir {
    fn default() -> ContainerDir {
        ContainerDir(PathBuf::from("/work"))
    }
}

impl Memory {
    /// How many bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory(2048 * MIB)
    }
}

impl Cpus {
    /// How many, in billionths of one.
    pub fn billionths(self) -> u64 {
        self.0
    }
}

impl Default for Cpus {
    fn default() -> Cpus {
        Cpus(2_000_000_000)
    }
}

impl Rest {
    /// How long.
    pub fn time(self) -> Duration {
        self.0
    }
}

fn minutes<const MINUTES: u64>() -> Rest {
    Rest(Duration::from_secs(60 * MINUTES))
}

/// An amount that can be spent.
pub(crate) fn dollars<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let usd = Option::<f64>::deserialize(from)?;
    match usd {
        Some(it) if !(it.is_finite() && it >= 0.0) => {
            Err(D::Error::custom(format!("{it} is no amount of US dollars")))
        }
        usd => Ok(usd),
    }
}

fn bad(what: &'static str, text: &str, why: &'static str) -> BadId {
    BadId { what, text: text.chars().take(64).collect(), why }
}

impl FromStr for Image {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Image, BadId> {
        let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"._-/:@".contains(&it);
        let begins = text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric());
        if begins && text.len() <= 255 && text.bytes().all(is_letter) && !text.contains("..") {
            return Ok(Image(text.into()));
        }
        Err(bad(
            "image",
            text,
            "it must be an image's name as Docker has it, such as claude-agent:1",
        ))
    }
}

impl FromStr for ContainerDir {
    type Err = BadId;

    fn from_str(text: &str) -> Result<ContainerDir, BadId> {
        let path = Path::new(text);
        let mut parts = path.components();
        let is_absolute = parts.next() == Some(Component::RootDir);
        let names: Option<Vec<&str>> = parts
            .map(|it| match it {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let is_clean = |names: &[&str]| format!("/{}", names.join("/")) == text;
        let is_plain = text.len() <= 255 && !text.bytes().any(|it| it.is_ascii_control());
        match names {
            Some(names)
                if is_absolute
                    && is_plain
                    && is_clean(&names)
                    && names.iter().all(|it| it.len() <= NAME_BYTES_MAX)
                    && is_free(&names) =>
            {
                Ok(ContainerDir(path.to_owned()))
            }
            _ => {
                let why = "it must be an absolute path that is none of the system's, such as /work";
                Err(bad("directory", text, why))
            }
        }
    }
}

/// Whether a volume may stand there: not in the place of what the image, or we, have there.
fn is_free(names: &[&str]) -> bool {
    match names {
        [] | ["home" | "tmp" | "var"] | ["home", "tinyclaw", ..] | ["usr"] | ["usr", _] => false,
        [first, ..] => !OF_THE_SYSTEM.contains(first),
    }
}

impl FromStr for Memory {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Memory, BadId> {
        let of = |it: &str, unit: u64| it.parse::<u64>().ok()?.checked_mul(unit);
        let bytes = match text.split_at_checked(text.len().saturating_sub(1)) {
            Some((number, "m" | "M")) => of(number, MIB),
            Some((number, "g" | "G")) => of(number, 1024 * MIB),
            _ => None,
        };
        let bytes = bytes.filter(|it| (MEMORY_MIN..=i64::MAX as u64).contains(it));
        bytes.map(Memory).ok_or_else(|| bad("memory", text, "it must be 64m or more, such as 2g"))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 / MIB {
            mib if mib % 1024 == 0 => write!(f, "{}g", mib / 1024),
            mib => write!(f, "{mib}m"),
        }
    }
}

impl FromStr for Rest {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Rest, BadId> {
        let unit = match text.as_bytes().last() {
            Some(b's') => Some(1),
            Some(b'm') => Some(60),
            Some(b'h') => Some(3600),
            _ => None,
        };
        let number = || text[..text.len() - 1].parse::<u32>().ok().filter(|it| *it > 0);
        let seconds = unit.and_then(|unit| Some(u64::from(number()?) * unit));
        let time = seconds.map(|it| Rest(Duration::from_secs(it)));
        time.ok_or_else(|| bad("time", text, "it must be a time such as 90s, 5m or 1h"))
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            it if it % 3600 == 0 => write!(f, "{}h", it / 3600),
            it if it % 60 == 0 => write!(f, "{}m", it / 60),
            it => write!(f, "{it}s"),
        }
    }
}

macro_rules! read_as_text {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

read_as_text!(Image, ContainerDir, Memory, Rest);

macro_rules! write_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )*};
}

write_as_text!(Memory, Rest);

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Cpus, D::Error> {
        let number = f64::deserialize(from)?;
        if !(0.1..=1024.0).contains(&number) {
            return Err(D::Error::custom(format!("{number} is no number of processors")));
        }
        // At most 1024 billion, and no fraction that would count.
        Ok(Cpus((number * 1000.0).round() as u64 * 1_000_000))
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0 as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_needs_an_image_and_has_limits_without_being_told() {
        let env: ContainerEnv = serde_json::from_str(r#"{"image":"claude-agent"}"#).unwrap();
        assert_eq!(env.cwd.path(), Path::new("/work"));
        assert_eq!((env.memory.bytes(), env.cpus.billionths()), (2 << 30, 2_000_000_000));
        assert_eq!(
            (env.pause_after.time().as_secs(), env.stop_after.time().as_secs()),
            (300, 3600)
        );
        assert!(!env.egress, "nothing leads out of it unless that is said");
    }

    #[test]
    fn what_is_said_of_a_container_is_written_as_it_was_read() {
        let text = r#"{"image":"r.example.org:5000/a/b:1","cwd":"/srv/app","memory":"512m","cpus":1.5,"egress":true,"permission":"ask","budgetPerDay":5.0,"pauseAfter":"90s","stopAfter":"1h"}"#;
        let env: ContainerEnv = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&env).unwrap(), text);
        assert_eq!(env.cpus.billionths(), 1_500_000_000);
    }

    #[test]
    fn what_a_container_cannot_be_is_refused_where_it_is_read() {
        for bad in [
            r#"{}"#,
            r#"{"image":""}"#,
            r#"{"image":"--privileged"}"#,
            r#"{"image":"a b"}"#,
            r#"{"image":"a/../../b"}"#,
            r#"{"image":"a","mounts":["/:/host"]}"#,
            r#"{"image":"a","privileged":true}"#,
            r#"{"image":"a","cwd":"work"}"#,
            r#"{"image":"a","cwd":"/"}"#,
            r#"{"image":"a","cwd":"/work/../etc"}"#,
            r#"{"image":"a","cwd":"/etc/ssh"}"#,
            r#"{"image":"a","cwd":"/usr"}"#,
            r#"{"image":"a","cwd":"/usr/bin"}"#,
            r#"{"image":"a","cwd":"/proc/1/root"}"#,
            r#"{"image":"a","cwd":"/tinyclaw/x"}"#,
            r#"{"image":"a","cwd":"/home"}"#,
            r#"{"image":"a","cwd":"/home/tinyclaw/agent"}"#,
            r#"{"image":"a","cwd":"/work/"}"#,
            r#"{"image":"a","memory":"1k"}"#,
            r#"{"image":"a","memory":"63m"}"#,
            r#"{"image":"a","memory":"99999999999999999999g"}"#,
            r#"{"image":"a","memory":2}"#,
            r#"{"image":"a","cpus":0}"#,
            r#"{"image":"a","cpus":-1}"#,
            r#"{"image":"a","pauseAfter":"0s"}"#,
            r#"{"image":"a","pauseAfter":"5"}"#,
            r#"{"image":"a","pauseAfter":""}"#,
            r#"{"image":"a","stopAfter":"\u00e9"}"#,
        ] {
            assert!(serde_json::from_str::<ContainerEnv>(bad).is_err(), "{bad}");
        }
    }
}
