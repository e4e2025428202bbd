//! `/again`: asks the last question of a thread once more.

use tinyclaw_domain::{Lane, Source};
use tinyclaw_queue::{Place, Side};

use crate::commands::Given;
use crate::inbound::compose::new_message;

impl Given<'_> {
    pub(super) async fn again(&self) -> Option<String> {
        let lane = Lane::Thread(self.thread.clone());
        let last = tokio::task::block_in_place(|| {
            self.commands.view.last_of(Place::Done, &lane, 2_000, |it| {
                it.command.is_none() && matches!(it.source, Source::User | Source::Cli)
            })
        });
        let Some(last) = last.ok().flatten() else {
            return Some("Nothing was asked here lately.".to_owned());
        };
        let mut message =
            new_message(&self.commands.bot, self.said, self.key.clone(), self.thread.clone());
        message.asks_again = Some(last.key);
        message.message = last.message;
        message.files = last.files;
        match self.commands.publisher.publish(Side::Run, message, Some(self.said.address)).await {
            Ok(_) => None,
            Err(err) => Some(format!("This cannot be asked again: {err}.")),
        }
    }
}
