//! Before anybody works: every desk in a folder that it may have, and in a repository of its own.

use std::path::Path;

use tinyclaw_disk::foreign;
use tinyclaw_domain::{Thread, ThreadId};
use tinyclaw_engine::Overlap;

use crate::blocking::on_disk;
use crate::desks::checkout;
use crate::desks::directories::{BY_ADMIN, MOVED_FROM, has_too_much, neighbours, own};
use crate::desks::threads::Desks;

/// What Claude and the clock read at the top of a folder goes along when a desk is moved.
const TAKEN_ALONG: [&str; 2] = ["CLAUDE.md", "HEARTBEAT.md"];
const TAKEN_ALONG_BYTES_MAX: u64 = 1024 * 1024;

/// Gives every thread that would get more than a desk may have a folder of its own, and every one in
/// another desk's repository a repository of its own. What cannot be moved stays, and its turns are refused by name.
pub(crate) async fn settle(desks: &Desks) {
    for (id, mut thread) in desks.all() {
        if let Some(real) = on_disk(|| unlinked(desks, &id, &thread)) {
            match desks.change(&id, |it| it.cwd = real.clone()) {
                Ok(_) => thread.cwd = real,
                Err(err) => {
                    tracing::error!(thread.id = %id, "thread {id} stays in {}: {err}", thread.cwd)
                }
            }
        }
        let cwd = Path::new(&thread.cwd);
        if on_disk(|| must_move(desks, &id, &thread)) {
            if let Err(err) = on_disk(|| move_out(desks, &id, &thread)) {
                tracing::error!(thread.id = %id, "thread {id} stays in {}: {err:#}", cwd.display());
            }
        } else if let Some(repo) = &thread.repo {
            checkout::part(desks, &id, cwd, repo).await;
        }
    }
}

/// The folder's own name, when the thread's entry names it by way of a link and no other desk is met there.
fn unlinked(desks: &Desks, id: &ThreadId, thread: &Thread) -> Option<String> {
    let cwd = Path::new(&thread.cwd);
    let real = cwd.canonicalize().ok().filter(|it| it != cwd)?;
    let is_free = neighbours(desks, id, &real).is_empty() && desks.engine.check_cwd(&real).is_ok();
    is_free.then(|| real.display().to_string())
}

fn must_move(desks: &Desks, id: &ThreadId, thread: &Thread) -> bool {
    let cwd = Path::new(&thread.cwd);
    // One that is not there is not granted; its turns say so.
    if !cwd.is_dir() {
        return false;
    }
    if desks.engine.check_cwd(cwd).is_err() {
        return true;
    }
    let holds = || neighbours(desks, id, cwd).iter().any(|it| it.overlap == Overlap::Around);
    has_too_much(desks, thread) || (!thread.extra.contains_key(BY_ADMIN) && holds())
}

fn move_out(desks: &Desks, id: &ThreadId, thread: &Thread) -> anyhow::Result<()> {
    let old = Path::new(&thread.cwd);
    let new = own(desks, id)?;
    if let Some(session) = &thread.session_id
        && let Err(err) = desks.engine.copy_session(id, old, &new, session)
    {
        tracing::warn!(thread.id = %id, "thread {id} begins a new session in {}: {err}", new.display());
    }
    // Not out of the state: what lies there is no desk's.
    if desks.engine.check_cwd(old).is_ok() {
        for name in TAKEN_ALONG {
            let name = Path::new(name);
            if let Ok(bytes) = foreign::read_below(old, name, TAKEN_ALONG_BYTES_MAX)
                && foreign::open_below(&new, name).is_err_and(|it| it.is_missing())
                && let Err(err) = foreign::replace_below(&new, name, &bytes, 0o644)
            {
                tracing::warn!(thread.id = %id, "not taken along by thread {id}: {err}");
            }
        }
    }
    let (from, to) = (thread.cwd.clone(), new.display().to_string());
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
