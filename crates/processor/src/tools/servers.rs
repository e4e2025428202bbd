//! MCP servers of others: which ones a desk has, with their secrets, and how each was when its Claude was last asked.
//!
//! The office's come from the settings, a desk's own from its thread; one of the desk stands in place of the office's of the
//! same name. What cannot be used is left out and named, and no turn fails for it. Nothing of a repository gets here.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tinyclaw_domain::{ALL_TOOLS, McpName, McpServer, McpServers, StateDir, Thread, ThreadId};
use tinyclaw_engine::{McpState, OtherServers};
use tinyclaw_service::conceal_from_now_on;
use tinyclaw_service::settings::{Settings, Store};

use crate::blocking::lock;
use crate::text::{shortened, status_line};

/// Before the name of a secret in Claude's environment: some variables that begin with `MCP_` are the CLI's own.
const PREFIX: &str = "TINYCLAW_";
/// A secret is not longer.
const SECRET_BYTES_MAX: usize = 16 * 1024;
/// What the CLI calls a server that it has reached.
const CONNECTED: &str = "connected";
/// A word of the CLI's about a server is cut here,
const STATUS_CHARS_MAX: usize = 40;
/// and so is why it failed, which the server has a say in.
const ERROR_CHARS_MAX: usize = 160;

/// Who knows the servers.
pub(crate) struct Servers {
    state: StateDir,
    settings: Store<Settings>,
    /// Guards how each server of a desk was at the beginning of its last turn. Held for a look or a change, and nothing is
    /// locked within it.
    seen: Mutex<HashMap<ThreadId, BTreeMap<String, Found>>>,
}

/// How a server was found, in words that may be shown.
struct Found {
    status: String,
    error: Option<String>,
}

impl Found {
    fn of(state: &McpState) -> Found {
        let status = shortened(&state.status, STATUS_CHARS_MAX);
        let error = state.error.as_deref().map(status_line);
        let error = error.map(|it| shortened(it.trim(), ERROR_CHARS_MAX));
        Found { status, error: error.filter(|it| !it.is_empty()) }
    }

    fn is_trouble(&self) -> bool {
        !matches!(self.status.as_str(), CONNECTED | "pending" | "disabled")
    }

    fn words(&self) -> String {
        match &self.error {
            Some(why) if self.is_trouble() => format!("{}: {why}", in_words(&self.status)),
            _ => in_words(&self.status).to_owned(),
        }
    }
}

/// What a turn is given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) servers: Arc<OtherServers>,
    /// Servers that are left out, and why, in words for people.
    pub(crate) left_out: Vec<String>,
}

/// One server as it would be used, and whether the desk itself named it.
struct Named<'a> {
    server: Result<McpServer, String>,
    name: &'a str,
    is_desks: bool,
}

impl Servers {
    /// Of an office.
    pub(crate) fn new(state: StateDir, settings: Store<Settings>) -> Servers {
        Servers { state, settings, seen: Mutex::default() }
    }

    /// The servers of a desk. A Claude elsewhere gets none: neither the programs nor the secrets are there.
    pub(crate) fn given(&self, thread: &Thread) -> Given {
        if !thread.place().0.is_here() {
            return Given::default();
        }
        let settings = self.settings.current();
        let mut given = OtherServers::default();
        let mut left_out = Vec::new();
        for named in all(&settings.mcp.servers, &thread.mcp) {
            let ready = named.server.and_then(|it| Ok((self.secrets(&it)?, it)));
            match ready {
                Ok((secrets, server)) => {
                    given.servers.insert(named.name.to_owned(), spoken(&server));
                    given.allowed.extend(allowed(named.name, &server));
                    given.environment.extend(secrets);
                }
                Err(why) => left_out.push(format!("{}: {why}", named.name)),
            }
        }
        Given { servers: Arc::new(given), left_out }
    }

    /// Notes how the servers of a desk are; gives those that are of no use, in words for people.
    pub(crate) fn saw(&self, id: &ThreadId, thread: &Thread, found: &[McpState]) -> Vec<String> {
        let settings = self.settings.current();
        let is_ours = |name: &str| {
            settings.mcp.servers.contains_key(name)
                || name.parse::<McpName>().is_ok_and(|it| thread.mcp.contains_key(&it))
        };
        let found: BTreeMap<String, Found> = found
            .iter()
            .filter(|it| is_ours(&it.name))
            .map(|it| (it.name.clone(), Found::of(it)))
            .collect();
        let words = found.iter().filter(|(_, it)| it.is_trouble());
        let words = words.map(|(name, it)| format!("{name}: {}", it.words())).collect();
        lock(&self.seen).insert(id.clone(), found);
        words
    }

    /// `/mcp`: every server of a desk, whose it is, and how it is.
    pub(crate) fn listed(&self, id: &ThreadId, thread: &Thread) -> String {
        if !thread.place().0.is_here() {
            return format!(
                "Claude works on {} here, where it gets no MCP servers.",
                thread.place().0
            );
        }
        let settings = self.settings.current();
        let seen = lock(&self.seen);
        let seen = seen.get(id);
        let mut words = String::new();
        for named in all(&settings.mcp.servers, &thread.mcp) {
            let whose = if named.is_desks { "this thread's" } else { "the office's" };
            let how = match named.server.and_then(|it| self.secrets(&it).map(|_| it)) {
                Err(why) => why,
                Ok(server) => {
                    let found = seen.and_then(|it| it.get(named.name));
                    let status = found.map_or_else(|| "not asked yet".to_owned(), Found::words);
                    let asks = match &server.allow[..] {
                        [] => "each use is asked about".to_owned(),
                        tools if tools.iter().any(|it| it == ALL_TOOLS) => {
                            "all tools allowed".to_owned()
                        }
                        tools => format!("allowed: {}", tools.join(", ")),
                    };
                    format!("{status}; {asks}")
                }
            };
            let _ = writeln!(words, "- `{}` ({whose}): {how}", named.name);
        }
        if words.is_empty() {
            return "There are no MCP servers here. Admins add one with `/mcp add NAME COMMAND` or `/mcp add NAME https://…`.".to_owned();
        }
        format!("MCP servers of this thread:\n{}", words.trim_end())
    }

    /// The secrets of a server, by the names under which Claude finds them, or which of them is missing.
    fn secrets(&self, server: &McpServer) -> Result<BTreeMap<String, String>, String> {
        let find = |name: &str| match self.secret(name) {
            Some(secret) => {
                // The agent can find it out, and may say it where others read.
                conceal_from_now_on(&secret);
                Ok((format!("{PREFIX}{name}"), secret))
            }
            None => Err(format!(
                "its secret {name} is missing; put it into {}",
                self.folder().join(name).display()
            )),
        };
        server.secrets().into_iter().map(find).collect()
    }

    fn secret(&self, name: &str) -> Option<String> {
        if let Some(found) = self.settings.variable(name) {
            return Some(found.to_owned());
        }
        let bytes = tinyclaw_disk::read(&self.folder().join(name)).ok()?;
        let text = String::from_utf8(bytes).ok().filter(|it| it.len() <= SECRET_BYTES_MAX)?;
        Some(text.trim_end_matches(['\n', '\r']).to_owned()).filter(|it| !it.is_empty())
    }

    fn folder(&self) -> PathBuf {
        self.settings.current().mcp.secrets.clone().unwrap_or_else(|| self.state.mcp_secrets())
    }
}

/// All servers by name: the desk's own, and those of the office that it has not named otherwise.
fn all<'a>(office: &'a BTreeMap<String, Value>, desk: &'a McpServers) -> Vec<Named<'a>> {
    let checked = |it: &McpServer| it.check().map(|()| it.clone()).map_err(|err| err.to_string());
    let own = desk.iter().map(|(name, it)| (name.as_str(), checked(it), true));
    let read = |name: &str, it: &Value| {
        name.parse::<McpName>().map_err(|err| err.to_string())?;
        let server =
            serde_json::from_value::<McpServer>(it.clone()).map_err(|err| err.to_string())?;
        checked(&server)
    };
    let office = office.iter().map(|(name, it)| (name.as_str(), read(name, it), false));
    let mut all: BTreeMap<&str, (Result<McpServer, String>, bool)> = BTreeMap::new();
    for (name, server, is_desks) in office.chain(own) {
        all.insert(name, (server, is_desks));
    }
    all.into_iter().map(|(name, (server, is_desks))| Named { server, name, is_desks }).collect()
}

/// A server as the CLI is told of it, with secrets by the names under which it finds them.
fn spoken(server: &McpServer) -> Value {
    let text = |it: &String| it.replace("${", &format!("${{{PREFIX}"));
    let texts = |it: &BTreeMap<String, String>| -> Map<String, Value> {
        it.iter().map(|(name, value)| (name.clone(), text(value).into())).collect()
    };
    match (&server.command, &server.url) {
        (Some(command), _) => json!({
            "type": "stdio",
            "command": text(command),
            "args": server.args.iter().map(text).collect::<Vec<_>>(),
            "env": texts(&server.env),
        }),
        (None, url) => json!({
            "type": "http",
            "url": url.as_ref().map(text),
            "headers": texts(&server.headers),
        }),
    }
}

/// The tools of a server that Claude uses without asking, as the CLI calls them.
fn allowed(name: &str, server: &McpServer) -> Vec<String> {
    let tool = |it: &String| match it.as_str() {
        ALL_TOOLS => format!("mcp__{name}"),
        tool => format!("mcp__{name}__{tool}"),
    };
    server.allow.iter().map(tool).collect()
}

fn in_words(status: &str) -> &str {
    match status {
        "failed" => "it could not be started or reached",
        "needs-auth" => "it wants a login, which nobody can give here; use a token",
        "pending" => "it was still starting",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(office: Value, desk: Value) -> Vec<(String, bool, Result<(), String>)> {
        let office = serde_json::from_value(office).unwrap();
        let desk: McpServers = serde_json::from_value(desk).unwrap();
        let all = all(&office, &desk);
        all.into_iter().map(|it| (it.name.to_owned(), it.is_desks, it.server.map(drop))).collect()
    }

    #[test]
    fn a_desks_server_stands_in_place_of_the_offices_and_bad_ones_are_named() {
        let found = names(
            json!({ "db": { "command": "a" }, "web": { "url": "ftp://x" }, "Bad name": { "command": "a" } }),
            json!({ "db": { "command": "b" } }),
        );
        let [bad, db, web] = &found[..] else { panic!("{found:?}") };
        assert!(bad.2.as_ref().unwrap_err().contains("Bad name"), "{bad:?}");
        assert_eq!((db.0.as_str(), db.1, &db.2), ("db", true, &Ok(())));
        assert!(web.2.as_ref().unwrap_err().contains("https://"), "{web:?}");
    }

    #[test]
    fn secrets_are_named_to_the_cli_and_tools_called_as_it_calls_them() {
        let server: McpServer = serde_json::from_value(json!({ "url": "https://mcp.example/mcp",
            "headers": { "Authorization": "Bearer ${MCP_TOKEN}" }, "allow": ["find", "*"] }))
        .unwrap();
        assert_eq!(
            spoken(&server),
            json!({ "type": "http", "url": "https://mcp.example/mcp",
                "headers": { "Authorization": "Bearer ${TINYCLAW_MCP_TOKEN}" } })
        );
        assert_eq!(allowed("web", &server), ["mcp__web__find", "mcp__web"]);
    }
}
