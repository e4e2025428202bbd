//! `/new`: opens a thread, names it, and gives it a directory or a checkout of a repository.

use tinyclaw_domain::{
    ButtonPress, Command, Reply, ReplyButton, Thread, ThreadId, ThreadStatus, Trust,
};

use crate::availability::notices::notice;
use crate::commands::{Commands, Refusal};
use crate::desks::{brings, checkout, full_name, trust};

impl Commands {
    pub(super) async fn open(
        &self,
        id: &ThreadId,
        thread: &Thread,
        name: &Option<String>,
        dir: &Option<String>,
        repo: &Option<String>,
    ) -> Result<Reply, Refusal> {
        if let Some(name) = name {
            self.desks.change(id, |it| it.name = name.clone())?;
        }
        if let Some(repo) = repo {
            let _alone = self.desks.checking_out().await;
            let repo = &full_name(repo).map_err(Refusal::Plain)?;
            let place = checkout::checkout(&self.desks, id, repo).await.map_err(Refusal::Plain)?;
            let cwd = place.path.display().to_string();
            self.desks.change(id, |it| {
                it.repo = Some(repo.clone());
                it.cwd = cwd.clone();
                it.status = ThreadStatus::Idle;
            })?;
            let ready = format!("Ready: `{repo}` in `{cwd}`{}.", place.remark);
            let trust = trust(&self.settings.current(), thread);
            let brings = brings::brings(&self.desks, repo).await.map_err(Refusal::Plain)?;
            let text = [Some(ready), brings.card(trust)];
            let text = text.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
            let may_count = brings.could_run() && trust < Trust::Settings;
            let buttons = may_count.then(settings_count).into_iter().collect();
            return Ok(Reply { buttons, ..notice(text) });
        }
        if let Some(dir) = dir {
            return self.set_dir(id, thread, dir, false).await.map(notice);
        }
        self.desks.change(id, |it| it.status = ThreadStatus::Idle)?;
        Ok(notice(format!("Ready in `{}`.", thread.cwd)))
    }
}

/// An admin's word that the repository's settings count. Whoever presses it is looked at then.
fn settings_count() -> ReplyButton {
    let press = Command::Trust { trust: Trust::Settings, admin: false };
    ReplyButton { label: "Let its settings count".to_owned(), press: ButtonPress::Command(press) }
}
