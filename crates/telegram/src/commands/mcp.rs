//! `/mcp`: the tools of others that Claude has in a thread. Whoever runs the thread does what is said.

use tinyclaw_domain::{Command, McpOrder};

use crate::commands::Given;
use crate::commands::table::usage;

impl Given<'_> {
    pub(super) async fn mcp(&self, rest: &str) -> Option<String> {
        let order = match rest.parse::<McpOrder>() {
            Ok(order) => order,
            Err(err) => return Some(format!("This will not do: {err}.\n\n{}", usage("mcp"))),
        };
        if order.is_change() && !self.may_rule() {
            return Some(self.only_admins("change the MCP servers of a thread"));
        }
        self.order(Command::Mcp { order, admin: self.may_rule() }).await
    }
}
