//! `/devbox git`: whether the Claude of a devbox may ask for tokens of the repository that lies in its directory.
//!
//! The repository is named in the answer, and kept: what the machine says later of where its directory comes from changes nothing.

use tinyclaw_devbox::Devbox;
use tinyclaw_domain::Reply;

use super::plain;
use crate::availability::notices::notice;
use crate::commands::{Commands, Refusal};
use crate::devboxes::repository_of;

impl Commands {
    pub(super) async fn give_tokens(
        &self,
        devbox: &Devbox,
        by: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let settings = self.settings.current();
        if settings.github.broker_url.is_none() {
            return Err(plain("There is no credential broker to ask: set github.brokerUrl."));
        }
        if settings.github.capability_secret.is_none() {
            return Err(plain(
                "A devbox gets tokens of one repository, which takes a signing secret: set BROKER_CAPABILITY_SECRET, here and for the broker.",
            ));
        }
        let dir = self.dir_of(devbox);
        let health = self.look_at(devbox, &dir).await?;
        let health = health.map_err(|why| plain(format!("{why}. Nothing was changed.")))?;
        let repository = repository_of(health.origin.as_deref(), &dir, &settings.github.url)
            .map_err(|why| plain(format!("{why} Nothing was changed.")))?;
        self.fleet.git(devbox, Some(&repository), by).map_err(plain)?;
        let later = self.begin_anew(devbox).await;
        let name = &devbox.name;
        Ok(notice(format!("Claude on {name} may ask for tokens of {repository}.{later}")))
    }

    pub(super) async fn give_no_tokens(
        &self,
        devbox: &Devbox,
        by: Option<&str>,
    ) -> Result<Reply, Refusal> {
        self.fleet.git(devbox, None, by).map_err(plain)?;
        self.begin_anew(devbox).await;
        Ok(notice(format!("No tokens for {}.", devbox.name)))
    }

    /// Whom git asks is told to a Claude when it starts: one that waits is let go of. Gives back what to say of one at work.
    async fn begin_anew(&self, devbox: &Devbox) -> &'static str {
        let guests = self.guests(devbox).into_iter().map(|it| it.0);
        let mut later = "";
        for thread in guests.chain([devbox.thread.clone()]) {
            if !self.engine.evict(&thread).await {
                later = " The one that is at work now does not know it yet: say this again after its turn.";
            }
        }
        later
    }
}
