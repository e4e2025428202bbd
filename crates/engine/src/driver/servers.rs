//! MCP servers of others, as this process finds them: why one failed, and connected to anew in place.
//!
//! A turn's first line says how each server is and not why: that is asked for where one failed, and no turn waits for the
//! answer. What a server says of itself is a stranger's word: whoever shows it makes it fit.

use tokio::sync::oneshot;

use super::actor::Actor;
use crate::turn::{McpState, TurnEvent};
use crate::wire::out;

/// The ids of what is asked begin so.
const STATUS: &str = "servers-";
const RECONNECT: &str = "reconnect-";

/// A wish to connect anew.
#[derive(Debug)]
pub(super) struct Reconnecting {
    done: oneshot::Sender<Vec<McpState>>,
    /// How many servers have not answered yet. None: they are not known yet.
    left: Option<usize>,
}

impl Actor {
    /// How the servers are at the beginning of a turn.
    pub(super) fn on_servers(&mut self, servers: Vec<McpState>) {
        if servers.iter().any(|it| it.status == "failed") {
            self.ask_status();
        }
        self.with_turn(|turn| turn.tell(TurnEvent::McpServers(servers)));
    }

    /// Connects to each server anew. Between turns only; dropped, it was not done.
    pub(super) fn reconnect(&mut self, done: oneshot::Sender<Vec<McpState>>) {
        let is_free = self.is_ready && self.turn.is_none() && self.close_at.is_none();
        if is_free && self.reconnecting.is_none() {
            self.reconnecting = Some(Reconnecting { done, left: None });
            self.ask_status();
        }
    }

    fn ask_status(&mut self) {
        self.requests += 1;
        self.pen.write(&out::mcp_status(&format!("{STATUS}{}", self.requests)));
    }

    /// Takes an answer that is about servers. `false`: it is about something else.
    pub(super) fn on_servers_response(&mut self, id: &str, servers: Vec<McpState>) -> bool {
        if id.starts_with(RECONNECT) {
            // Well or not: how it went is asked of all of them at the end.
            if let Some(Reconnecting { left: Some(left), .. }) = &mut self.reconnecting {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.ask_status();
                }
            }
            return true;
        }
        if !id.starts_with(STATUS) {
            return false;
        }
        match self.reconnecting.take() {
            // It told of none, not even of ours: it does not know the question.
            Some(Reconnecting { left: None, .. }) if servers.is_empty() => {}
            Some(Reconnecting { done, left: None }) => {
                let others = servers.iter().filter(|it| it.name != out::MCP_SERVER);
                let names: Vec<&str> = others.map(|it| it.name.as_str()).collect();
                if names.is_empty() {
                    let _ = done.send(servers);
                    return true;
                }
                self.reconnecting = Some(Reconnecting { done, left: Some(names.len()) });
                for name in names {
                    self.requests += 1;
                    let id = format!("{RECONNECT}{}", self.requests);
                    self.pen.write(&out::mcp_reconnect(&id, name));
                }
            }
            Some(Reconnecting { done, left: Some(0) }) => {
                let _ = done.send(servers);
            }
            // That of a turn.
            other => {
                self.reconnecting = other;
                if !servers.is_empty() {
                    self.with_turn(|turn| turn.tell(TurnEvent::McpServers(servers)));
                }
            }
        }
        true
    }
}
