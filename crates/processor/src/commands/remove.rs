//! `remove`: a thread goes for good, with everything that its desk has.
//!
//! Refused while it has work. Nothing goes before whoever asks was told what is lost, unpushed work by name; and nothing that is
//! not the desk's own: a folder that an admin chose stays, and so does what was said, in the history.

use std::path::PathBuf;
use std::time::Duration;

use tinyclaw_domain::{Reply, Thread, ThreadId};
use tinyclaw_engine::{Confined, Desk};

use crate::availability::notices::notice;
use crate::blocking::on_disk;
use crate::commands::{Commands, Refusal};
use crate::desks::made_for;

/// A look at a large folder, or at what git knows of it.
const LOOK_TIME: Duration = Duration::from_secs(60);
/// So many checkouts are named.
const CHECKOUTS_MAX: usize = 10;
/// So much is said of each.
const CHECKOUT_CHARS_MAX: usize = 200;
/// Of each checkout in the folder and right below it: what no commit has, and what no remote has.
const UNPUSHED: &str = r#"for it in . */; do
  [ -e "$it/.git" ] || continue
  changed=$(git -C "$it" status --porcelain | wc -l)
  ahead=$(git -C "$it" log --oneline --branches HEAD --not --remotes | wc -l)
  [ $((changed + ahead)) -eq 0 ] || echo "$it: $changed files changed, $ahead commits that no remote has"
done"#;

impl Commands {
    /// Removes the thread, or says what would be lost.
    pub(super) async fn remove(&self, id: &ThreadId, is_sure: bool) -> Result<Reply, Refusal> {
        let Some(thread) = self.desks.get(id) else {
            return Err(Refusal::Plain(format!("There is no thread {id}.")));
        };
        if thread.is_master {
            return Err(Refusal::Plain("The control room is not removed.".to_owned()));
        }
        let (_, waiting) = self.queue.waiting_in(id);
        if waiting > 0 {
            return Err(Refusal::Plain(format!(
                "Thread {id} has work: {waiting} of its messages wait. Nothing was removed; ask again when they are answered."
            )));
        }
        let desk = Desk::of(id, &thread);
        let folder = self.own_folder(&desk);
        if !is_sure {
            let lost = self.lost(&desk, folder.is_some()).await;
            return Ok(notice(format!("**{}** (thread {id}): {lost}", thread.name)));
        }
        if !self.engine.evict(id).await {
            return Err(Refusal::Plain(format!("Thread {id} is at work. Nothing was removed.")));
        }
        // What it has goes before its entry: when this process ends in between, the entry says whose the rest is.
        let is_user = self.engine.remove_desk(id).await.map_err(|err| {
            let source = std::error::Error::source(&err).map(|it| format!(": {it}"));
            Refusal::Plain(format!("{err}{}. Ask again.", source.unwrap_or_default()))
        })?;
        if !is_user {
            self.clear(id, folder)?;
        }
        self.desks.remove(id)?;
        Ok(notice(format!(
            "Thread {id} is removed. What was said in it stays in the history; the next message in its place begins a new thread."
        )))
    }

    /// The folder that goes with the thread. `None`: it works in one that is not its own, or on another machine.
    fn own_folder(&self, desk: &Desk) -> Option<PathBuf> {
        if !desk.place.is_here() {
            return None;
        }
        let users = self.engine.users();
        if let Some(own) = users.as_ref().and_then(|it| it.folders(&desk.thread)) {
            return desk.dir.starts_with(&own.work).then_some(own.work);
        }
        let own = made_for(&self.desks, desk)?;
        let works_there = |(id, thread): (&ThreadId, &Thread)| {
            let other = Desk::of(id, thread);
            *id != desk.thread && other.place.is_here() && other.dir.starts_with(&own)
        };
        (!self.desks.all().iter().any(works_there)).then_some(own)
    }

    /// Whether nothing lies where the desk of a session works, by what it says itself.
    pub(super) async fn is_bare(&self, desk: &Desk) -> bool {
        let order = Confined {
            thread: desk.thread.clone(),
            cwd: desk.dir.clone(),
            program: "ls".into(),
            args: vec!["-A".to_owned()],
            readable: Vec::new(),
            input: None,
            time: LOOK_TIME,
        };
        let listed = self.engine.run_confined(order).await;
        listed.is_ok_and(|it| it.is_success() && it.stdout.is_empty())
    }

    /// What goes with the thread, as people are told.
    async fn lost(&self, desk: &Desk, has_own: bool) -> String {
        let kept = "its session, its settings and what its Claude keeps are removed";
        if !has_own {
            return format!("{kept}; `{desk}` stays as it is.");
        }
        let unpushed = match self.unpushed(desk).await {
            Ok(all) if all.is_empty() => {
                "Git knows of nothing there that is not pushed.".to_owned()
            }
            Ok(all) => format!("Not pushed, by what git says there:\n{}", all.join("\n")),
            Err(why) => format!("What of it is not pushed cannot be said: {why}"),
        };
        format!("{kept}, and so is everything in `{desk}`. {unpushed}")
    }

    /// A line for each checkout that has something which is nowhere else. Asked at the desk, which may say what it likes.
    async fn unpushed(&self, desk: &Desk) -> Result<Vec<String>, String> {
        let order = Confined {
            thread: desk.thread.clone(),
            cwd: desk.dir.clone(),
            program: "sh".into(),
            args: vec!["-c".to_owned(), UNPUSHED.to_owned()],
            readable: Vec::new(),
            input: None,
            time: LOOK_TIME,
        };
        let said = self.engine.run_confined(order).await.map_err(|err| format!("{err}."))?;
        let line = |it: &str| {
            let plain = it.chars().filter(|it| !it.is_control() && *it != '`');
            format!("- `{}`", plain.take(CHECKOUT_CHARS_MAX).collect::<String>())
        };
        Ok(said.stdout.lines().take(CHECKOUTS_MAX).map(line).collect())
    }

    /// Removes what a desk has that is the office's user: its home, and its folder.
    fn clear(&self, id: &ThreadId, folder: Option<PathBuf>) -> Result<(), Refusal> {
        for path in [Some(self.desks.state.home(id)), folder].into_iter().flatten() {
            // No link in it is followed, and nobody of the desk is left who could put one there.
            match on_disk(|| std::fs::remove_dir_all(&path)) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                    let path = path.display();
                    return Err(Refusal::Plain(format!(
                        "{path} cannot be removed: {err}. Mend that and ask again."
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
