//! MCP servers: programs and addresses that give Claude tools. An operator names them for the office, an admin for a desk,
//! and nobody else: what a repository brings counts for nothing.
//!
//! A secret is never in here: `${MCP_NAME}` stands for it wherever a text may, and whoever starts Claude looks it up. Any
//! other `${…}` is refused, so that no server gets a variable of the office.

mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::BadId;

/// The longest name of a server.
const NAME_BYTES_MAX: usize = 32;
/// What TinyClaw's own tools are called by.
const OURS: &str = "tinyclaw";
/// So begins the name of every secret that a server may be given.
const SECRET_PREFIX: &str = "MCP_";
/// More of one kind (arguments, variables, headers, tools) than this nobody means.
const PARTS_MAX: usize = 64;
/// A part is not longer.
const PART_BYTES_MAX: usize = 4 * 1024;
/// In [`McpServer::allow`]: every tool of the server.
pub const ALL_TOOLS: &str = "*";

/// The servers of an office or a desk.
pub type McpServers = BTreeMap<McpName, McpServer>;

/// The name of a server: `[a-z0-9][a-z0-9-]{0,31}`, and not our own. Claude calls its tools `mcp__<name>__<tool>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct McpName(Box<str>);

impl McpName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for McpName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<McpName, BadId> {
        let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        let why = if text.is_empty() || text.starts_with('-') {
            "it must start with a small letter or a digit"
        } else if text.len() > NAME_BYTES_MAX {
            "it is too long"
        } else if !text.bytes().all(is_plain) {
            "only small letters, digits and - may be in it"
        } else if text == OURS {
            "TinyClaw's own tools have this name"
        } else {
            return Ok(McpName(text.into()));
        };
        Err(BadId { what: "name of an MCP server", text: text.chars().take(64).collect(), why })
    }
}

impl fmt::Display for McpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for McpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "McpName({})", self.0)
    }
}

impl Serialize for McpName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for McpName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<McpName, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One server: a program that Claude starts, or an address that it asks. To be used after [`McpServer::check`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpServer {
    /// The program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What it is started with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables that it gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The address, in place of a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers that go with each request to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Tools that Claude uses without asking, or `*` for all. Without, each use is asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Fields this version does not know, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMcpServer(String);

impl McpServer {
    /// Whether it can be used, and if not, why, in words for whoever named it.
    pub fn check(&self) -> Result<(), BadMcpServer> {
        let bad = |why: String| Err(BadMcpServer(why));
        match (&self.command, &self.url) {
            (Some(command), None) if !command.trim().is_empty() => {
                if command.contains("://") {
                    return bad("its url must begin with https:// or http://".to_owned());
                }
                if !self.headers.is_empty() {
                    return bad("headers belong to a server with a url".to_owned());
                }
            }
            (None, Some(url)) if is_address(url) => {
                if !self.args.is_empty() || !self.env.is_empty() {
                    return bad("args and env belong to a server with a command".to_owned());
                }
            }
            (None, Some(_)) => return bad("its url must begin with https:// or http://".to_owned()),
            _ => return bad("it needs either a command or a url".to_owned()),
        }
        for (what, count) in [
            ("args", self.args.len()),
            ("variables", self.env.len()),
            ("headers", self.headers.len()),
            ("allowed tools", self.allow.len()),
        ] {
            if count > PARTS_MAX {
                return bad(format!("it has more than {PARTS_MAX} {what}"));
            }
        }
        if let Some(name) = self.env.keys().find(|it| !is_variable(it)) {
            return bad(format!("{name:?} is no name of a variable"));
        }
        let is_header = |it: &str| {
            !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
        };
        if let Some(name) = self.headers.keys().find(|it| !is_header(it)) {
            return bad(format!("{name:?} is no name of a header"));
        }
        let is_tool = |it: &str| {
            let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
            it == ALL_TOOLS || (!it.is_empty() && it.bytes().all(is_plain))
        };
        if let Some(tool) = self.allow.iter().find(|it| !is_tool(it)) {
            return bad(format!("{tool:?} is no name of a tool"));
        }
        for part in self.parts() {
            if part.len() > PART_BYTES_MAX {
                return bad("a part of it is too long".to_owned());
            }
            // A program may take lines; a header of several would be several headers.
            let is_line = |it: char| it == '\n' && self.url.is_none();
            if part.chars().any(|it| it.is_control() && it != '\t' && !is_line(it)) {
                return bad("a part of it has control characters in it".to_owned());
            }
            for name in placeholders(part) {
                if !is_secret_name(name) {
                    return bad(format!(
                        "${{{name}}} is no secret's name: those begin with {SECRET_PREFIX}, in capital letters"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The names of the secrets that it needs.
    pub fn secrets(&self) -> BTreeSet<&str> {
        self.parts().flat_map(placeholders).collect()
    }

    /// Every text of it in which a secret may stand.
    fn parts(&self) -> impl Iterator<Item = &str> {
        let texts = self.command.iter().chain(&self.args).chain(&self.url);
        texts.chain(self.env.values()).chain(self.headers.values()).map(String::as_str)
    }
}

fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|it| !it.is_empty() && !it.contains(char::is_whitespace))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|it: char| it.is_ascii_digit())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

/// Whether a secret of a server may be called so.
pub fn is_secret_name(name: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_';
    name.strip_prefix(SECRET_PREFIX)
        .is_some_and(|it| !it.is_empty() && it.len() <= 64 && it.bytes().all(is_plain))
}

/// What stands between `${` and `}` in a text; of what is not closed, nothing.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|it| it.split_once('}').map_or("", |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &str) -> McpServer {
        McpServer { command: Some(command.to_owned()), ..McpServer::default() }
    }

    #[test]
    fn a_name_is_a_plain_word_and_not_ours() {
        for good in ["linear", "a", "0", "my-db-2"] {
            assert_eq!(good.parse::<McpName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(33);
        for bad in ["", "-a", "A", "a_b", "a b", "a.b", "tinyclaw", "ü", &long] {
            assert!(bad.parse::<McpName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_server_is_a_program_or_an_address_and_nothing_between() {
        assert_eq!(program("npx").check(), Ok(()));
        let web = |url: &str| McpServer { url: Some(url.to_owned()), ..McpServer::default() };
        assert_eq!(web("https://mcp.example/mcp").check(), Ok(()));
        let both = McpServer { command: Some("npx".to_owned()), ..web("https://mcp.example") };
        let typed = program("ftp://mcp.example");
        let files = [web("file:///etc"), web("https://")];
        for bad in files.into_iter().chain([McpServer::default(), program(" "), typed, both]) {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_secrets_of_servers_are_filled_in() {
        let with = |value: &str| {
            let env = BTreeMap::from([("TOKEN".to_owned(), value.to_owned())]);
            McpServer { env, ..program("npx") }
        };
        let good = with("Bearer ${MCP_LINEAR_TOKEN} and ${MCP_2}");
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.secrets(), BTreeSet::from(["MCP_LINEAR_TOKEN", "MCP_2"]));
        for bad in [
            "${CLAUDE_CODE_OAUTH_TOKEN}",
            "${BROKER_CAPABILITY_SECRET}",
            "${MCP_}",
            "${MCP_A:-${HOME}}",
            "${MCP_A",
            "${MCP_A ${HOME}}",
            "${}",
            "a\0b",
        ] {
            let args = McpServer { args: vec![bad.to_owned()], ..program("npx") };
            assert!(with(bad).check().is_err() && args.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_program_takes_lines_and_a_header_is_one() {
        let args = McpServer { args: vec!["a\nb".to_owned()], ..program("sh") };
        assert_eq!(args.check(), Ok(()));
        let headers = BTreeMap::from([("X".to_owned(), "a\nY: b".to_owned())]);
        let url = Some("https://mcp.example".to_owned());
        assert!(McpServer { url, headers, ..McpServer::default() }.check().is_err());
    }

    #[test]
    fn what_a_later_version_wrote_is_kept() {
        let text = r#"{"command":"npx","timeoutMs":5}"#;
        let server: McpServer = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&server).unwrap(), text);
    }
}
