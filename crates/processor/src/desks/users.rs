//! How an office of one user becomes one in which every desk is a user of its own, and back: what a desk has is copied into
//! its new folders, by itself.
//!
//! Nothing here opens a desk's folder with the office's rights, and nothing is taken away where it was.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tinyclaw_domain::{Place, Thread, ThreadId};
use tinyclaw_engine::{Confined, Desk, Engine, Users, Way};
use tinyclaw_warden::DeskNumber;

use crate::blocking::on_disk;
use crate::desks::directories::{BY_ADMIN, holds_all};
use crate::desks::numbers::{NUMBER, entry, number, own, seat};
use crate::desks::threads::Desks;

/// A look at one folder, on a slow disk.
const LOOK_TIME: Duration = Duration::from_secs(30);
/// In a thread's entry: where it worked as the office's user. What was there is there still.
const WORKED_IN: &str = "workedIn";

impl Desks {
    /// Has what is done for a thread under another name be done by the thread's own user.
    pub(crate) fn sit_with(&self, name: &ThreadId, thread: &ThreadId) {
        if let Some(users) = self.engine.users()
            && let Some(number) = users.number(thread)
        {
            users.seat(name, number);
        }
    }
}

/// Gives every thread of this machine that has none a user of its own, and brings what it has into that user's folders: once,
/// and told in a line. What cannot be brought is tried again at the next start; until then the thread's turns are refused.
pub(super) async fn bring_in(desks: &Desks) {
    let Some(users) = desks.engine.users() else { return };
    for (id, thread) in desks.all() {
        let desk = Desk::of(&id, &thread);
        if !desk.place.is_here() || number(&thread).is_some_and(|it| users.namesake(it).is_some()) {
            continue;
        }
        let is_in = number(&thread).is_some_and(|it| users.number(&id) == Some(it));
        let brought = if is_in {
            follow(desks, &users, &desk, &thread).await
        } else {
            bring(desks, &users, &desk, &thread).await
        };
        if let Err(err) = brought {
            tracing::error!(
                thread.id = %id,
                "thread {id} stays in {desk} and is not answered until it is a user of its own: {err:#}"
            );
        }
    }
}

/// Where the folder of all desks is another than it was, as after a backup of another machine was restored, the thread works at
/// the same place of its own folder.
async fn follow(desks: &Desks, users: &Users, desk: &Desk, thread: &Thread) -> anyhow::Result<()> {
    let folders = users.folders(&desk.thread).context("the thread has no number")?;
    let top = folders.work.parent().and_then(Path::file_name).context("the desk has no folder")?;
    let is_elsewhere = !thread.extra.contains_key(BY_ADMIN) && !desk.dir.starts_with(&folders.work);
    let Some(below) = below_work(&desk.dir, top).filter(|_| is_elsewhere) else { return Ok(()) };
    let dir = if below.as_os_str().is_empty() { folders.work } else { folders.work.join(below) };
    if let Some(session) = &thread.session_id {
        desks.engine.look(&Place::Here)?.copy_session(desk, &dir, session).await?;
    }
    let to = dir.display().to_string();
    desks.change(&desk.thread, |it| it.cwd = to.clone())?;
    tracing::info!(thread.id = %desk.thread, "thread {} works in {to}, which was {desk}", desk.thread);
    Ok(())
}

/// What stands behind `<desk's number>/work` in a path.
fn below_work(dir: &Path, number: &OsStr) -> Option<PathBuf> {
    let parts: Vec<&OsStr> = dir.iter().collect();
    let at = parts.windows(2).position(|it| it[0] == number && it[1] == "work")?;
    Some(parts[at + 2..].iter().collect())
}

async fn bring(desks: &Desks, users: &Users, desk: &Desk, thread: &Thread) -> anyhow::Result<()> {
    let id = &desk.thread;
    // As the office's user: the desk's own cannot look there.
    let top = own_top(desks, desk);
    // The folder of all desks is nobody's to take along.
    let is_there = !holds_all(desks, desk) && on_disk(|| top.is_dir());
    let work = own(&desks.engine, id, users).await?;
    let folders = users.folders(id).context("the thread has no number")?;
    let stays = thread.extra.contains_key(BY_ADMIN) && may_work(desks, desk).await;
    let home = desks.state.home(id);
    if on_disk(|| home.is_dir()) {
        desks.engine.carry(id, Way::In, &home, &folders.home).await.context("its home")?;
    }
    let dir = if stays {
        desk.dir.clone()
    } else {
        if is_there {
            desks.engine.carry(id, Way::In, &top, &work).await.context("its folder")?;
        }
        match desk.dir.strip_prefix(&top) {
            Ok(below) if !below.as_os_str().is_empty() => work.join(below),
            _ => work,
        }
    };
    if let Some(session) = &thread.session_id
        && let Err(err) = desks.engine.look(&Place::Here)?.copy_session(desk, &dir, session).await
    {
        tracing::warn!(thread.id = %id, "thread {id} begins a new session in {}: {err}", dir.display());
    }
    let (from, to, entry) = (desk.to_string(), dir.display().to_string(), entry(&desks.engine, id));
    desks.change(id, |it| {
        it.cwd = to.clone();
        it.extra.extend(entry);
        if !stays {
            it.extra.remove(BY_ADMIN);
        }
        it.extra.insert(WORKED_IN.to_owned(), from.clone().into());
    })?;
    let user = users.number(id).map(DeskNumber::user).unwrap_or_default();
    tracing::info!(
        thread.id = %id,
        "thread {id} is user {user} now and works in {to}; what it had in {from} was copied and is there still"
    );
    Ok(())
}

/// Whether the desk's user may write in the folder that an admin chose for it.
async fn may_work(desks: &Desks, desk: &Desk) -> bool {
    let order = Confined {
        thread: desk.thread.clone(),
        cwd: desk.dir.clone(),
        program: "test".into(),
        args: vec!["-w".to_owned(), ".".to_owned()],
        readable: Vec::new(),
        input: None,
        time: LOOK_TIME,
    };
    desks.engine.run_confined(order).await.is_ok_and(|it| it.is_success())
}

/// Makes all desks one user again, through an engine that still knows them as users: what each has is brought into a new folder
/// beside those that were made for threads. What cannot be brought is tried again at the next start.
pub(crate) async fn bring_out(desks: &Desks, engine: &Engine) {
    let Some(users) = engine.users() else { return };
    let all = desks.all();
    seat(engine, &all);
    for (id, thread) in all.into_iter().filter(|it| number(&it.1).is_some()) {
        if let Err(err) = take_out(desks, engine, &users, &id, &thread).await {
            tracing::error!(thread.id = %id, "thread {id} is not brought back: {err:#}");
        }
    }
}

async fn take_out(
    desks: &Desks,
    engine: &Engine,
    users: &Users,
    id: &ThreadId,
    thread: &Thread,
) -> anyhow::Result<()> {
    let folders = users.folders(id).context("another thread has the same number")?;
    let old = Desk::of(id, thread);
    let home = desks.state.home(id);
    on_disk(|| std::fs::create_dir_all(&home)).context("its home")?;
    engine.carry(id, Way::Out, &folders.home, &home).await.context("its home")?;
    let dir = match old.dir.strip_prefix(&folders.work) {
        Ok(below) => {
            let top = on_disk(|| new_folder(desks, id))?;
            engine.carry(id, Way::Out, &folders.work, &top).await.context("its folder")?;
            if below.as_os_str().is_empty() { top } else { top.join(below) }
        }
        Err(_) => old.dir.clone(),
    };
    if let Some(session) = &thread.session_id
        && let Err(err) = desks.engine.look(&Place::Here)?.copy_session(&old, &dir, session).await
    {
        tracing::warn!(thread.id = %id, "thread {id} begins a new session in {}: {err}", dir.display());
    }
    let to = dir.display().to_string();
    desks.change(id, |it| {
        it.cwd = to.clone();
        it.extra.remove(NUMBER);
        it.extra.remove(WORKED_IN);
    })?;
    tracing::info!(
        thread.id = %id,
        "thread {id} is no user of its own any more and works in {to}; what it had in {old} was copied and is there still"
    );
    Ok(())
}

/// A folder for the thread where its folders are made, which nobody has used.
fn new_folder(desks: &Desks, id: &ThreadId) -> anyhow::Result<PathBuf> {
    let settings = desks.settings.current();
    let base = settings.office.default_cwd().canonicalize().context("the folder of all desks")?;
    for count in 1.. {
        let path = base.join(format!("{id}-back-{count}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err).with_context(|| format!("cannot make {}", path.display())),
        }
    }
    anyhow::bail!("no folder is free for thread {id}")
}

/// The folder that was made for the thread, if it works in it or below; else where it works.
fn own_top(desks: &Desks, desk: &Desk) -> PathBuf {
    made_for(desks, desk).unwrap_or_else(|| desk.dir.clone())
}

/// The folder that was made for the thread where all desks are one user, if it works in it or below.
pub(crate) fn made_for(desks: &Desks, desk: &Desk) -> Option<PathBuf> {
    let settings = desks.settings.current();
    let base = settings.office.default_cwd();
    let base = on_disk(|| base.canonicalize()).unwrap_or_else(|_| base.to_owned());
    let name = desk.thread.to_string();
    let is_own =
        |it: &str| it == name || it.strip_prefix(&name).is_some_and(|it| it.starts_with('-'));
    let first = desk.dir.strip_prefix(&base).ok().and_then(|it| it.iter().next());
    first.and_then(|it| it.to_str()).filter(|it| is_own(it)).map(|first| base.join(first))
}
