//! `/devbox move`: a thread goes on at another machine, with what git has of its directory, what is changed there, and its
//! session. Where it was, all stays as it is.

use tinyclaw_devbox::Devbox;
use tinyclaw_domain::{DevboxDir, DevboxName, DevboxOrder, MoveTo, Place, Reply, Thread, ThreadId};
use tinyclaw_engine::{Desk, LookError, Overlap, Parcel};
use tinyclaw_service::words;

use super::{button, plain};
use crate::availability::notices::notice;
use crate::commands::{Commands, Refusal};
use crate::desks::directories;
use crate::devboxes::Question;

impl Commands {
    /// Asks whether a thread is to move, and says what would go along.
    pub(super) async fn ask_to_move(
        &self,
        id: &ThreadId,
        thread: &Thread,
        to: &MoveTo,
        dir: Option<&DevboxDir>,
    ) -> Result<Reply, Refusal> {
        let from = Desk::of(id, thread);
        let target = self.target(&from, to, dir).await?;
        let name = asked_about(&from.place, &target.place)?;
        let parcel = self.packed(&from, thread).await?;
        let text = format!(
            "Move to {}: {}.\n\n`/devbox yes {name}` or `/devbox keep {name}`.",
            target.place,
            goes_along(&from, thread, &parcel)
        );
        let question = Question::Move { thread: id.clone(), to: to.clone(), dir: dir.cloned() };
        self.fleet.ask(&name, question);
        let buttons = vec![
            button("Move", DevboxOrder::Yes { name: name.clone() }),
            button("Keep", DevboxOrder::Keep { name }),
        ];
        Ok(Reply { buttons, ..notice(text) })
    }

    /// Moves a thread.
    pub(super) async fn move_thread(
        &self,
        id: &ThreadId,
        to: &MoveTo,
        dir: Option<&DevboxDir>,
        by: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let thread = self.desks.get(id).ok_or_else(|| plain("That thread is gone."))?;
        let from = Desk::of(id, &thread);
        let target = self.target(&from, to, dir).await?;
        let parcel = self.packed(&from, &thread).await?;
        let session = thread.session_id.as_ref();
        let look = self.engine.look(&target.place).map_err(|err| nothing(&err))?;
        look.lay_out(&target, session, &parcel).await.map_err(|err| nothing(&err))?;
        let cwd = target.to_string();
        self.desks.change(id, |it| {
            it.cwd = cwd.clone();
            directories::forget_move(it);
            it.extra.remove(directories::BY_ADMIN);
        })?;
        self.fleet.moved(id, &from.place, &target.place, by).map_err(plain)?;
        Ok(notice(format!("Moved. On {} all is as it was.", from.place)))
    }

    /// Where a thread would work: its folder of the same name there, or the one that was named; here one of its own.
    async fn target(
        &self,
        from: &Desk,
        to: &MoveTo,
        dir: Option<&DevboxDir>,
    ) -> Result<Desk, Refusal> {
        let id = &from.thread;
        let target = match to {
            MoveTo::Here => {
                if from.place.is_here() {
                    return Err(plain("This thread works here already."));
                }
                if let Some(dir) = dir {
                    return Err(plain(format!(
                        "Here it gets a folder of its own, and not `{dir}`; /dir chooses another one afterwards."
                    )));
                }
                let own = directories::own(&self.desks, id).await;
                Desk::here(id, own.map_err(|err| plain(format!("{err:#}. Nothing was changed.")))?)
            }
            MoveTo::Devbox(name) => {
                let devbox = self.known(name)?;
                let place = Place::Devbox(devbox.name);
                if place == from.place {
                    return Err(plain(format!("This thread works on {name} already.")));
                }
                let usual = || match from.place.is_here() {
                    true => devbox.dir.as_str().into(),
                    false => from.dir.clone(),
                };
                let dir = dir.map_or_else(usual, |it| it.as_str().into());
                Desk { thread: id.clone(), place, dir }
            }
        };
        let look = self.engine.look(&target.place).map_err(|err| nothing(&err))?;
        look.check_dir(&target).await.map_err(|err| match (&err, to) {
            (LookError::BadDir(_), MoveTo::Devbox(name)) => plain(format!(
                "{err}. Make it on {name}, or name another: `/devbox move {name} DIR`. Nothing was changed."
            )),
            _ => nothing(&err),
        })?;
        let others = directories::neighbours(&self.desks, &target).await;
        let others = others.map_err(|err| nothing(&err))?;
        if let Some(other) = others.iter().find(|it| it.overlap != Overlap::Apart) {
            return Err(plain(format!(
                "`{target}` has to do with the folder of thread {} ({}): name another one, `/devbox move {} DIR`. Nothing was changed.",
                other.id, other.name, target.place
            )));
        }
        Ok(target)
    }

    /// What goes along. The thread's Claude is gone then.
    async fn packed(&self, from: &Desk, thread: &Thread) -> Result<Parcel, Refusal> {
        if !self.engine.evict(&from.thread).await {
            return Err(plain("Claude is at work here. /stop first. Nothing was changed."));
        }
        let look = self.engine.look(&from.place).map_err(|err| nothing(&err))?;
        look.pack_up(from, thread.session_id.as_ref()).await.map_err(|err| nothing(&err))
    }

    /// Threads that work on a devbox, without its own.
    pub(super) fn guests(&self, devbox: &Devbox) -> Vec<(ThreadId, Thread)> {
        let place = Place::Devbox(devbox.name.clone());
        let all = self.desks.all().into_iter();
        all.filter(|(id, it)| *id != devbox.thread && it.place().0 == place).collect()
    }
}

/// Under whose name the question is answered: the devbox that the thread leaves, or else the one that it goes to.
fn asked_about(from: &Place, to: &Place) -> Result<DevboxName, Refusal> {
    match (from, to) {
        (Place::Devbox(name), _) | (_, Place::Devbox(name)) => Ok(name.clone()),
        _ => Err(plain("A thread moves from a devbox or to one.")),
    }
}

/// `branch main, 2 changed files (1.2 MB), the session`.
fn goes_along(from: &Desk, thread: &Thread, parcel: &Parcel) -> String {
    let bytes = words::bytes(parcel.bytes());
    let session = match (thread.session_id.is_some(), parcel.transcript.is_empty()) {
        (true, false) => "the session",
        _ => "no session, for nothing was said yet",
    };
    match &parcel.git {
        Some(git) => {
            let at = match &git.branch {
                Some(branch) => format!("branch {branch}"),
                None => format!("commit {}", git.head.get(..12).unwrap_or(&git.head)),
            };
            let files = if git.changed == 1 { "file" } else { "files" };
            format!("{at}, {} changed {files} ({bytes}), {session}", git.changed)
        }
        None => format!(
            "{session} alone ({bytes}), for `{}` is no git repository with a commit",
            from.dir.display()
        ),
    }
}

fn nothing(err: &dyn std::error::Error) -> Refusal {
    let source = err.source().map_or_else(String::new, |it| format!(": {it}"));
    plain(format!("{err}{source}. Nothing was changed."))
}
