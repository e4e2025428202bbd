//! `forget`: a session of an environment that nobody goes on with leaves nothing of the office's behind.

use tinyclaw_domain::{EnvSession, Reply, ThreadId};
use tinyclaw_engine::Desk;

use crate::availability::notices::notice;
use crate::blocking::on_disk;
use crate::commands::{Commands, Refusal};

impl Commands {
    /// Lets go of a session's thread and its home, and of its folder when there is nothing in it: what its agent made there is
    /// its caller's. A thread of a chat is never forgotten, nor is the standing session. One that is not there is nothing to do.
    pub(super) async fn forget(&self, id: &ThreadId) -> Result<Reply, Refusal> {
        if !matches!(id.env(), Some((_, EnvSession::Own(_)))) {
            return Err(Refusal::Plain(
                "Only a session of an environment can be forgotten.".to_owned(),
            ));
        }
        let silent = Reply { silent: true, ..notice("Forgotten.") };
        let Some(thread) = self.desks.get(id) else { return Ok(silent) };
        self.engine.evict(id).await;
        let desk = Desk::of(id, &thread);
        // What one made in a container lies in a volume, which is its environment's.
        let users = self.engine.users().filter(|_| desk.place.is_here());
        let own = users.and_then(|it| it.folders(id)).map(|it| it.work);
        // Asked while the thread is known, and of its own folder: what lies in an operator's is not the desk's.
        let is_bare = match own {
            Some(own) => self.is_bare(&desk.with_dir(own)).await,
            None => false,
        };
        self.desks.remove(id)?;
        if self.engine.users().is_some() {
            // One that has something in its folder keeps all that it has, and its number.
            if is_bare && let Err(err) = self.engine.remove_desk(id).await {
                tracing::warn!(thread.id = %id, "what session {id} has stays: {err}");
            }
        } else {
            let home = self.desks.state.home(id);
            on_disk(|| {
                // No link in it is followed, and nobody of the desk is left who could put one there.
                if let Err(err) = std::fs::remove_dir_all(&home)
                    && err.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(thread.id = %id, "the home of session {id} stays: {err}");
                }
                // Only an empty one goes; the operator's own is never empty of meaning, and stays.
                if thread.cwd.ends_with(id.as_str()) {
                    let _ = std::fs::remove_dir(&thread.cwd);
                }
            });
        }
        Ok(silent)
    }
}
