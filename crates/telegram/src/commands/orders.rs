//! What is only an order for the thread: `/reset`, `/model`, `/prompt`, `/dir`. Who works on the thread does it and answers.

use tinyclaw_domain::{Command, Model};

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

    /// `/model`.
    pub(super) async fn model(&self, word: &str) -> Option<String> {
        let model = match word {
            "auto" => None,
            word => match word.parse::<Model>() {
                Ok(model) => Some(model),
                Err(_) => return Some(usage("model")),
            },
        };
        self.order(Command::Model { model }).await
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
