//! `/devbox`: remote machines. A new one gets a topic, made once also over a restart; whoever runs the threads does the rest.

use tinyclaw_domain::{Command, DevboxOrder, DevboxViews};

use crate::bot::client::CallError;
use crate::commands::table::usage;
use crate::commands::{Given, why};
use crate::text;

impl Given<'_> {
    pub(super) async fn devbox(&self, rest: &str) -> Option<String> {
        let order = match rest.parse::<DevboxOrder>() {
            Ok(order) => order,
            Err(err) => return Some(format!("This will not do: {err}\n\n{}", usage("devbox"))),
        };
        let admin = self.may_rule();
        if !admin && !order.is_for_all() {
            return Some(self.only_admins("do that with devboxes"));
        }
        match &order {
            DevboxOrder::Add { name, .. } => {
                if let Some(known) = self.known_devbox(name.as_str()) {
                    return Some(known);
                }
                let title = format!("devbox: {name}");
                self.devbox_topic(&title, order.clone()).await
            }
            _ => self.order(Command::Devbox { order, admin }).await,
        }
    }

    /// A mistake that can be told before there is a topic.
    fn known_devbox(&self, name: &str) -> Option<String> {
        let path = self.commands.state.devbox_views();
        let views = tokio::task::block_in_place(|| tinyclaw_ledger::load::<DevboxViews>(&path));
        let views = views.ok()??;
        let known = views.devboxes.into_iter().find(|it| it.name.as_str() == name)?;
        Some(format!("There is a devbox `{name}` already: {}.", known.at))
    }

    async fn devbox_topic(&self, title: &str, order: DevboxOrder) -> Option<String> {
        if !self.said.is_forum {
            return Some(
                "A devbox needs a topic, and topics need a group in which they are switched on."
                    .to_owned(),
            );
        }
        let begun = tokio::task::block_in_place(|| {
            self.commands.bot.addresses.begin_topic(&self.key, title)
        });
        match begun {
            Ok(true) => {}
            Ok(false) => {
                self.commands.bot.addresses.end_topic(&self.key);
                return Some(format!(
                    "TinyClaw was restarted meanwhile. Look whether the topic {title} is there; if not, say it again."
                ));
            }
            Err(err) => return Some(format!("This cannot be done: {err}.")),
        }
        let created = self.commands.topics.create_patiently(self.said.address.chat, title).await;
        let answer = match created {
            Ok(address) => {
                let thread = self.commands.bot.thread_at(address)?;
                self.commands.bot.addresses.set_name(&thread, address, title);
                let there = Given {
                    commands: self.commands,
                    said: self.said,
                    key: self.key.clone(),
                    thread,
                    has_stopped: false,
                };
                let failed = there.order(Command::Devbox { order, admin: true }).await;
                let shown = text::literal(title);
                let shown = match address.link() {
                    Some(link) => format!("[{shown}]({link})"),
                    None => shown,
                };
                failed.unwrap_or_else(|| format!("Topic {shown} is open: the rest happens there."))
            }
            Err(CallError::Ambiguous { .. }) => {
                "Telegram did not answer. Look whether the topic is there; if not, say it again."
                    .to_owned()
            }
            Err(err) => format!("The topic could not be made: {}.", why(&err)),
        };
        self.commands.bot.addresses.end_topic(&self.key);
        Some(answer)
    }
}
