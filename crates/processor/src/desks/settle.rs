//! Before anybody works: every desk in a folder that it may have, and in a repository of its own.

use std::path::{Path, PathBuf};

use tinyclaw_disk::foreign;
use tinyclaw_domain::{Place, Thread};
use tinyclaw_engine::{Desk, Overlap};

use crate::desks::checkout;
use crate::desks::directories::{BY_ADMIN, MOVED_FROM, Neighbour, has_too_much, neighbours, own};
use crate::desks::threads::Desks;
use crate::desks::users;

/// What Claude and the clock read at the top of a folder goes along when a desk is moved.
const TAKEN_ALONG: [&str; 2] = ["CLAUDE.md", "HEARTBEAT.md"];
const TAKEN_ALONG_BYTES_MAX: u64 = 1024 * 1024;

/// Gives every thread that would get more than a desk may have a folder of its own, and every one in
/// another desk's repository a repository of its own. What cannot be moved stays, and its turns are refused by name.
/// Desks of other places are left alone.
pub(crate) async fn settle(desks: &Desks) {
    users::bring_in(desks).await;
    for (id, thread) in desks.all() {
        let mut desk = Desk::of(&id, &thread);
        if !desk.place.is_here() {
            continue;
        }
        if let Some(real) = unlinked(desks, &desk).await {
            let cwd = real.display().to_string();
            match desks.change(&id, |it| it.cwd = cwd) {
                Ok(_) => desk.dir = real,
                Err(err) => tracing::error!(thread.id = %id, "thread {id} stays in {desk}: {err}"),
            }
        }
        if must_move(desks, &desk, &thread).await {
            if let Err(err) = move_out(desks, &desk, &thread).await {
                tracing::error!(thread.id = %id, "thread {id} stays in {desk}: {err:#}");
            }
        } else if let Some(repo) = &thread.repo {
            checkout::part(desks, &desk, repo).await;
        }
    }
}

/// The folder's own name, when the thread's entry names it by way of a link and no other desk is met there.
async fn unlinked(desks: &Desks, desk: &Desk) -> Option<PathBuf> {
    let look = desks.engine.look(&desk.place).ok()?;
    let real = look.real_dir(desk).await.ok().filter(|it| *it != desk.dir)?;
    let desk = desk.with_dir(&real);
    let is_free = neighbours(desks, &desk).await.is_ok_and(|it| it.is_empty())
        && look.check_dir(&desk).await.is_ok();
    is_free.then_some(real)
}

async fn must_move(desks: &Desks, desk: &Desk, thread: &Thread) -> bool {
    let Ok(look) = desks.engine.look(&desk.place) else { return false };
    // One that is not there is not granted; its turns say so.
    if look.real_dir(desk).await.is_err() {
        return false;
    }
    if look.check_dir(desk).await.is_err() || has_too_much(desks, desk, thread) {
        return true;
    }
    let is_around = |it: &Neighbour| it.overlap == Overlap::Around;
    !thread.extra.contains_key(BY_ADMIN)
        && neighbours(desks, desk).await.is_ok_and(|it| it.iter().any(is_around))
}

/// Gives a thread of this machine a folder of its own, and its session with it.
async fn move_out(desks: &Desks, old: &Desk, thread: &Thread) -> anyhow::Result<()> {
    let id = &old.thread;
    let new = own(desks, id).await?;
    let look = desks.engine.look(&Place::Here)?;
    if let Some(session) = &thread.session_id
        && let Err(err) = look.copy_session(old, &new, session).await
    {
        tracing::warn!(thread.id = %id, "thread {id} begins a new session in {}: {err}", new.display());
    }
    // Not out of the state: what lies there is no desk's.
    if look.check_dir(old).await.is_ok() {
        for name in TAKEN_ALONG {
            let name = Path::new(name);
            if let Ok(bytes) = look.get(old, name, TAKEN_ALONG_BYTES_MAX).await
                && foreign::open_below(&new, name).is_err_and(|it| it.is_missing())
                && let Err(err) = foreign::replace_below(&new, name, &bytes, 0o644)
            {
                tracing::warn!(thread.id = %id, "not taken along by thread {id}: {err}");
            }
        }
    }
    let (from, to) = (old.to_string(), new.display().to_string());
    desks.change(id, |it| {
        it.cwd = to.clone();
        it.extra.insert(MOVED_FROM.to_owned(), from.clone().into());
    })?;
    tracing::info!(
        thread.id = %id,
        "thread {id} worked in {from}, which is more than one desk's; it works in {to} now (an admin's /dir {from} undoes it)"
    );
    Ok(())
}
