//! `/mcp` as people type it, in a chat or at a terminal.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{BadMcpServer, McpName, McpServer};
use crate::McpOrder;

/// What follows `/mcp`: nothing, or `add`, `remove`, `allow`, `reconnect` with what they take.
impl FromStr for McpOrder {
    type Err = BadMcpServer;

    fn from_str(rest: &str) -> Result<McpOrder, BadMcpServer> {
        let mut words = split(rest)?.into_iter();
        let verb = words.next().unwrap_or_default();
        let mut name = || -> Result<McpName, BadMcpServer> {
            let word = words.next().unwrap_or_default();
            word.parse().map_err(|_| {
                let word: String = word.chars().take(40).collect();
                BadMcpServer(format!(
                    "{word:?} is not a name for an MCP server: small letters, digits and -, such as linear"
                ))
            })
        };
        Ok(match verb.as_str() {
            "" | "list" | "status" => McpOrder::List,
            "reconnect" => McpOrder::Reconnect,
            "remove" => McpOrder::Remove(name()?),
            "add" => {
                let name = name()?;
                let server = server(words.collect());
                server.check()?;
                McpOrder::Add { name, server: Box::new(server) }
            }
            "allow" => {
                let name = name()?;
                let tools: Vec<String> = words.collect();
                match &tools[..] {
                    [] => return Err(BadMcpServer("which tools? A name, * or none".to_owned())),
                    [none] if none == "none" => McpOrder::Allow { name, tools: Vec::new() },
                    _ => McpOrder::Allow { name, tools },
                }
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(BadMcpServer(format!("there is no /mcp {other}")));
            }
        })
    }
}

/// `NAME=VALUE … COMMAND ARGUMENT …`, as in a shell, or an address with `HEADER=VALUE …` around it.
fn server(words: Vec<String>) -> McpServer {
    let pair = |word: &str| {
        let (name, value) = word.split_once('=')?;
        let is_name = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
        let is_pair = !name.is_empty() && name.bytes().all(is_name);
        is_pair.then(|| (name.to_owned(), value.to_owned()))
    };
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let mut words = words.into_iter().peekable();
    while let Some((name, value)) = words.peek().and_then(|it| pair(it)) {
        pairs.insert(name, value);
        words.next();
    }
    let Some(first) = words.next() else { return McpServer::default() };
    if first.starts_with("https://") || first.starts_with("http://") {
        let (headers, args): (Vec<_>, Vec<_>) =
            words.map(|it| pair(&it).ok_or(it)).partition(Result::is_ok);
        pairs.extend(headers.into_iter().flatten());
        let args = args.into_iter().filter_map(Result::err).collect();
        return McpServer { url: Some(first), headers: pairs, args, ..McpServer::default() };
    }
    McpServer { command: Some(first), args: words.collect(), env: pairs, ..McpServer::default() }
}

/// Words as a shell would have them: apart at spaces, together in quotes. Nothing in them is replaced.
fn split(text: &str) -> Result<Vec<String>, BadMcpServer> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for it in text.chars() {
        match quote {
            Some(end) if it == end => quote = None,
            Some(_) => word.get_or_insert_default().push(it),
            // What a phone makes of a quote.
            None if matches!(it, '"' | '\'' | '“' | '„' | '‘') => {
                quote = Some(match it {
                    '“' | '„' => '”',
                    '‘' => '’',
                    it => it,
                });
                word.get_or_insert_default();
            }
            None if it.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(it),
        }
    }
    if quote.is_some() {
        return Err(BadMcpServer("a quote is not closed".to_owned()));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(rest: &str) -> McpServer {
        match rest.parse() {
            Ok(McpOrder::Add { server, .. }) => *server,
            other => panic!("{rest}: {other:?}"),
        }
    }

    #[test]
    fn a_program_is_added_as_in_a_shell() {
        let server = added("add db PGHOST=localhost TOKEN=${MCP_DB} npx -y 'my server' --port=5");
        assert_eq!(server.command.as_deref(), Some("npx"));
        assert_eq!(server.args, ["-y", "my server", "--port=5"]);
        assert_eq!(server.env["TOKEN"], "${MCP_DB}");
    }

    #[test]
    fn an_address_is_added_with_its_headers() {
        let server = added("add web https://mcp.example/mcp Authorization=“Bearer ${MCP_WEB}”");
        assert_eq!(server.url.as_deref(), Some("https://mcp.example/mcp"));
        assert_eq!(server.headers["Authorization"], "Bearer ${MCP_WEB}");
    }

    #[test]
    fn what_is_no_order_gets_a_word_that_helps() {
        assert_eq!("".parse(), Ok(McpOrder::List));
        let none = McpOrder::Allow { name: "db".parse().unwrap(), tools: Vec::new() };
        assert_eq!("allow db none".parse(), Ok(none));
        for (rest, says) in [
            ("dance", "there is no"),
            ("allow db", "which tools"),
            ("add", "not a name"),
            ("add My_Server npx", "not a name"),
            ("add db", "either a command or a url"),
            ("add web https://x y", "args and env"),
            ("add db npx 'open", "not closed"),
            ("add db X=${HOME} npx", "no secret's name"),
        ] {
            let said = rest.parse::<McpOrder>().unwrap_err().to_string();
            assert!(said.contains(says), "{rest}: {said}");
        }
    }
}
