//! What is only an order for the thread: `/reset`, `/model`, `/prompt`, `/dir`. Who works on the thread does it and answers.

use tinyclaw_domain::{Command, Effort, Tier};

use crate::commands::Given;
use crate::commands::table::usage;

impl Given<'_> {
    /// `/reset`, `/clear`. In a chat of several only admins end what others work in.
    pub(super) async fn reset(&self) -> Option<String> {
        if self.may_rule() || self.said.address.chat > 0 {
            self.order(Command::Reset {}).await
        } else {
            Some(self.only_admins("end a session that others work in"))
        }
    }

    /// `/model`: for everything here, or for what one tier does.
    pub(super) async fn model(&self, rest: &str) -> Option<String> {
        let (tier, word) = match rest.split_once(char::is_whitespace) {
            Some((tier, word)) => match tier.parse::<Tier>() {
                Ok(tier) => (Some(tier), word.trim()),
                Err(err) => return Some(format!("{err}.\n{}", usage("model"))),
            },
            None => (None, rest),
        };
        let model = match word {
            "auto" => None,
            word => match self.commands.bot.settings.catalogue().find(word) {
                Ok(model) => Some(model),
                Err(err) => return Some(format!("{err}.\n{}", usage("model"))),
            },
        };
        self.order(match tier {
            Some(tier) => Command::Tier { tier, model },
            None => Command::Model { model },
        })
        .await
    }

    /// `/effort`.
    pub(super) async fn effort(&self, word: &str) -> Option<String> {
        let effort = match word {
            "auto" => None,
            word => match word.parse::<Effort>() {
                Ok(effort) => Some(effort),
                Err(err) => return Some(format!("{err}.\n{}", usage("effort"))),
            },
        };
        self.order(Command::Effort { effort }).await
    }

    /// `/saga TEXT`, where the office knows a model of this name and Telegram's table does not: a message like any other.
    pub(super) async fn ask_model(&self) -> Option<String> {
        self.publish(None).await
    }

    /// `/prompt`.
    pub(super) async fn prompt(&self, rest: &str) -> Option<String> {
        if rest.is_empty() {
            return Some(usage("prompt"));
        }
        let text = (rest != "off").then(|| rest.to_owned());
        self.order(Command::Prompt { text }).await
    }

    /// `/dir`, `/cd`, `/setdir`: the same under three names.
    pub(super) async fn dir(&self, name: &str, rest: &str) -> Option<String> {
        if rest.is_empty() {
            return Some(usage(name));
        }
        let (dir, admin) = (rest.to_owned(), self.may_rule());
        self.order(Command::Setdir { dir, admin }).await
    }
}
