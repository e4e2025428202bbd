//! `/new`: a new topic, whose thread may work in a checkout. A topic is made once, also over a restart.

use tinyclaw_domain::Command;

use crate::bot::client::CallError;
use crate::commands::{Given, why};
use crate::text;

impl Given<'_> {
    pub(super) async fn new_topic(&self, rest: &str) -> Option<String> {
        let (name, repo) = match rest.rsplit_once(char::is_whitespace) {
            Some((name, last)) if is_repo(last) => (name.trim(), Some(last.to_owned())),
            _ if is_repo(rest) => {
                (rest.split('/').next_back().unwrap_or(rest), Some(rest.to_owned()))
            }
            _ => (rest, None),
        };
        if !self.said.is_forum {
            return Some("Topics need a group in which they are switched on.".to_owned());
        }
        let name = text::shortened(name, 128);
        match tokio::task::block_in_place(|| {
            self.commands.bot.addresses.begin_topic(&self.key, &name)
        }) {
            Ok(true) => {}
            Ok(false) => {
                self.commands.bot.addresses.end_topic(&self.key);
                return Some(format!(
                    "TinyClaw was restarted meanwhile. Look whether the topic {name} is there; if not, `/new` again."
                ));
            }
            Err(err) => return Some(format!("This cannot be done: {err}.")),
        }
        let created = self.commands.topics.create_patiently(self.said.address.chat, &name).await;
        let answer = match created {
            Ok(address) => {
                let thread = self.commands.bot.thread_at(address)?;
                self.commands.bot.addresses.set_name(&thread, address, &name);
                let open = Given {
                    commands: self.commands,
                    said: self.said,
                    key: self.key.clone(),
                    thread: thread.clone(),
                    has_stopped: false,
                };
                let failed =
                    open.order(Command::Open { name: Some(name.clone()), dir: None, repo }).await;
                let shown = text::literal(&name);
                let shown = match address.link() {
                    Some(link) => format!("[{shown}]({link})"),
                    None => shown,
                };
                failed.unwrap_or_else(|| format!("Topic {shown} is open: thread {thread}."))
            }
            // It may be there: nobody can ask Telegram which topics there are.
            Err(CallError::Ambiguous { .. }) => {
                "Telegram did not answer. Look whether the topic is there; if not, `/new` again."
                    .to_owned()
            }
            Err(err) => format!("The topic could not be made: {}.", why(&err)),
        };
        self.commands.bot.addresses.end_topic(&self.key);
        Some(answer)
    }
}

fn is_repo(word: &str) -> bool {
    let part = |it: &str| {
        !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
    };
    word.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_two_words_and_a_slash() {
        assert!(is_repo("ada/website.rs") && !is_repo("a/b/c") && !is_repo("/x") && !is_repo("x"));
    }
}
