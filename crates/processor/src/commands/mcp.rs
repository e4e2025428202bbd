//! `/mcp`: the MCP servers of a desk. Everybody sees them; only admins change which there are and what is not asked about.

use tinyclaw_domain::{ALL_TOOLS, McpOrder, Thread, ThreadId};
use tinyclaw_engine::Reconnected;
use tinyclaw_service::conceal;

use crate::commands::{Commands, Refusal};

/// A desk has not more of its own.
const SERVERS_MAX: usize = 20;

impl Commands {
    pub(super) async fn mcp(
        &self,
        id: &ThreadId,
        thread: &Thread,
        order: &McpOrder,
        admin: bool,
    ) -> Result<String, Refusal> {
        let refuse = |why: String| Err(Refusal::Plain(format!("{why} Nothing was changed.")));
        if order.is_change() && !admin {
            return refuse("Only admins may change the MCP servers of a thread.".to_owned());
        }
        Ok(match order {
            McpOrder::List => self.servers.listed(id, thread),
            McpOrder::Reconnect => match self.engine.reconnect(id).await {
                Reconnected::Now(found) => {
                    self.servers.saw(id, thread, &found);
                    format!("Claude has connected anew.\n\n{}", self.servers.listed(id, thread))
                }
                Reconnected::WithTheNext => {
                    "Claude connects to each MCP server anew with the next message. The session goes on.".to_owned()
                }
                Reconnected::Busy => {
                    "Claude is at work here; /mcp reconnect again when it is done, or /stop.".to_owned()
                }
            },
            McpOrder::Add { name, server } => {
                if let Err(err) = server.check() {
                    return refuse(format!("`{name}` cannot be used: {err}."));
                }
                let text = serde_json::to_string(server).unwrap_or_default();
                if conceal(&text) != text {
                    return refuse(format!(
                        "Something in `{name}` looks like a secret, which this chat would keep. Put it into a file of the folder `mcp-secrets` and write `${{MCP_NAME}}` in its place."
                    ));
                }
                let is_new = !thread.mcp.contains_key(name);
                if is_new && thread.mcp.len() >= SERVERS_MAX {
                    return refuse(format!("This thread has {SERVERS_MAX} MCP servers already."));
                }
                let mut thread = thread.clone();
                thread.mcp.insert(name.clone(), (**server).clone());
                self.desks.change(id, |it| it.mcp.insert(name.clone(), (**server).clone()))?;
                let what = if is_new { "added" } else { "replaced" };
                format!(
                    "`{name}` is {what}. Claude has it from the next message on.\n\n{}",
                    self.servers.listed(id, &thread)
                )
            }
            McpOrder::Remove(name) => {
                if !thread.mcp.contains_key(name) {
                    return refuse(format!(
                        "This thread has no MCP server `{name}` of its own; the office's are in settings.json."
                    ));
                }
                self.desks.change(id, |it| it.mcp.remove(name))?;
                format!("`{name}` is removed.")
            }
            McpOrder::Allow { name, tools } => {
                let Some(server) = thread.mcp.get(name) else {
                    return refuse(format!(
                        "This thread has no MCP server `{name}` of its own; the office's are in settings.json."
                    ));
                };
                let mut server = server.clone();
                server.allow.clone_from(tools);
                if let Err(err) = server.check() {
                    return refuse(format!("`{name}` cannot be used so: {err}."));
                }
                self.desks.change(id, |it| it.mcp.insert(name.clone(), server))?;
                match &tools[..] {
                    [] => format!("Claude asks about each use of `{name}` again."),
                    tools if tools.iter().any(|it| it == ALL_TOOLS) => {
                        format!("Claude uses every tool of `{name}` here without asking.")
                    }
                    tools => format!("Claude uses {} of `{name}` here without asking.", tools.join(", ")),
                }
            }
        })
    }
}
