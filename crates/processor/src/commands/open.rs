//! `/new`: opens a thread, names it, and gives it a directory or a checkout of a repository.

use tinyclaw_domain::{Thread, ThreadId, ThreadStatus};

use crate::commands::{Commands, Refusal};
use crate::desks::{checkout, full_name};

impl Commands {
    pub(super) async fn open(
        &self,
        id: &ThreadId,
        thread: &Thread,
        name: &Option<String>,
        dir: &Option<String>,
        repo: &Option<String>,
    ) -> Result<String, Refusal> {
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
            return Ok(format!("Ready: `{repo}` in `{cwd}`{}.", place.remark));
        }
        if let Some(dir) = dir {
            return self.set_dir(id, thread, dir, false).await;
        }
        self.desks.change(id, |it| it.status = ThreadStatus::Idle)?;
        Ok(format!("Ready in `{}`.", thread.cwd))
    }
}
