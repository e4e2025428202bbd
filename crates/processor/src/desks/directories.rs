//! The folders of desks: which one a thread gets, and what it has to do with others'.
//!
//! The leash grants a desk its folder and everything below it, so a folder that holds another desk's, or the state, is
//! more than a desk may have. Only an admin's word (`/dir`) lets two desks share or nest; nothing lets one into the state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::{Thread, ThreadId};
use tinyclaw_engine::{Overlap, overlap};

use crate::desks::checkout;
use crate::office::{Office, lock, on_disk};

/// In a thread's entry: an admin chose its folder although it shares or holds another desk's.
pub(crate) const BY_ADMIN: &str = "dirByAdmin";
/// In a thread's entry: the folder that it was moved out of, until its Claude was told.
const MOVED_FROM: &str = "movedFrom";
/// Another name is tried so often when a desk's folder cannot have the thread's.
const NAMES_MAX: u32 = 100;
/// What Claude and the clock read at the top of a folder goes along when a desk is moved.
const TAKEN_ALONG: [&str; 2] = ["CLAUDE.md", "HEARTBEAT.md"];
const TAKEN_ALONG_BYTES_MAX: u64 = 1024 * 1024;

/// Another desk whose folder is the same, or lies in this one, or around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) id: ThreadId,
    pub(crate) name: String,
    /// How the folder that was asked about lies to its.
    pub(crate) overlap: Overlap,
}

/// The desks whose folders this one would share.
pub(crate) fn neighbours(office: &Office, thread: &ThreadId, folder: &Path) -> Vec<Neighbour> {
    let others: Vec<(ThreadId, Thread)> = {
        let book = lock(&office.book);
        let others = book.all().iter().filter(|it| it.0 != thread);
        others.map(|(id, it)| (id.clone(), it.clone())).collect()
    };
    let found = others.into_iter().map(|(id, it)| Neighbour {
        overlap: overlap(folder, Path::new(&it.cwd)),
        id,
        name: it.name,
    });
    found.filter(|it| it.overlap != Overlap::Apart).collect()
}

/// Whether this folder is the one that all desks' folders are made in, or holds it.
pub(crate) fn holds_all(office: &Office, folder: &Path) -> bool {
    let settings = office.settings();
    [settings.office.default_cwd(), &settings.office.workspace]
        .into_iter()
        .any(|it| matches!(overlap(folder, it), Overlap::Same | Overlap::Around))
}

/// A thread's own folder, made if it is not there: called as the thread, in the folder for new threads.
pub(crate) fn own(office: &Office, thread: &ThreadId) -> anyhow::Result<PathBuf> {
    let settings = office.settings();
    // By its own name: a folder behind a link is given to nobody.
    let base = settings.office.default_cwd();
    let base =
        &base.canonicalize().with_context(|| format!("{} cannot be looked at", base.display()))?;
    for count in 1..=NAMES_MAX {
        let name = if count == 1 { thread.to_string() } else { format!("{thread}-{count}") };
        let path = base.join(&name);
        match foreign::make_dir_below(base, Path::new(&name), 0o777) {
            Ok(_) => {}
            // Somebody put something else there, when the folder was everybody's.
            Err(ForeignError::Link(_) | ForeignError::NotAFolder(_)) => continue,
            Err(err) => return Err(err.into()),
        }
        // Who has a folder around this one has the folder of all: by an admin's word, or until `settle` moves them, too;
        // who could not be moved is asked nothing (`has_too_much`).
        let is_taken =
            neighbours(office, thread, &path).iter().any(|it| it.overlap != Overlap::Inside);
        if !is_taken && overlap(&path, office.state.root()) == Overlap::Apart {
            return Ok(path);
        }
    }
    anyhow::bail!("no folder in {} is free for thread {thread}", base.display())
}

/// Whether a thread has the folder of all desks without an admin's word: it could not be moved out, or a person wrote it
/// into `threads.json`. Nothing is asked there.
pub(crate) fn has_too_much(office: &Office, thread: &Thread) -> bool {
    !thread.extra.contains_key(BY_ADMIN) && holds_all(office, Path::new(&thread.cwd))
}

/// Before anybody works: gives every thread that would get more than a desk may have a folder of its own, and every one in
/// another desk's repository a repository of its own. What cannot be moved stays, and its turns are refused by name.
pub(crate) async fn settle(office: &Arc<Office>) {
    let threads: Vec<(ThreadId, Thread)> = {
        let book = lock(&office.book);
        book.all().iter().map(|(id, it)| (id.clone(), it.clone())).collect()
    };
    for (id, mut thread) in threads {
        if let Some(real) = on_disk(|| unlinked(office, &id, &thread)) {
            match office.change_thread(&id, |it| it.cwd = real.clone()) {
                Ok(_) => thread.cwd = real,
                Err(err) => {
                    tracing::error!(thread.id = %id, "thread {id} stays in {}: {err}", thread.cwd)
                }
            }
        }
        let cwd = Path::new(&thread.cwd);
        if on_disk(|| must_move(office, &id, &thread)) {
            if let Err(err) = on_disk(|| move_out(office, &id, &thread)) {
                tracing::error!(thread.id = %id, "thread {id} stays in {}: {err:#}", cwd.display());
            }
        } else if let Some(repo) = &thread.repo {
            checkout::part(office, &id, cwd, repo).await;
        }
    }
}

/// The folder's own name, when the thread's entry names it by way of a link and no other desk is met there.
fn unlinked(office: &Office, id: &ThreadId, thread: &Thread) -> Option<String> {
    let cwd = Path::new(&thread.cwd);
    let real = cwd.canonicalize().ok().filter(|it| it != cwd)?;
    let is_free =
        neighbours(office, id, &real).is_empty() && office.engine.check_cwd(&real).is_ok();
    is_free.then(|| real.display().to_string())
}

fn must_move(office: &Office, id: &ThreadId, thread: &Thread) -> bool {
    let cwd = Path::new(&thread.cwd);
    // One that is not there is not granted; its turns say so.
    if !cwd.is_dir() {
        return false;
    }
    if office.engine.check_cwd(cwd).is_err() {
        return true;
    }
    let holds = || neighbours(office, id, cwd).iter().any(|it| it.overlap == Overlap::Around);
    has_too_much(office, thread) || (!thread.extra.contains_key(BY_ADMIN) && holds())
}

fn move_out(office: &Office, id: &ThreadId, thread: &Thread) -> anyhow::Result<()> {
    let old = Path::new(&thread.cwd);
    let new = own(office, id)?;
    if let Some(session) = &thread.session_id
        && let Err(err) = office.engine.copy_session(id, old, &new, session)
    {
        tracing::warn!(thread.id = %id, "thread {id} begins a new session in {}: {err}", new.display());
    }
    // Not out of the state: what lies there is no desk's.
    if office.engine.check_cwd(old).is_ok() {
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
    office.change_thread(id, |it| {
        it.cwd = to.clone();
        it.extra.insert(MOVED_FROM.to_owned(), from.clone().into());
    })?;
    tracing::info!(
        thread.id = %id,
        "thread {id} worked in {from}, which is more than one desk's; it works in {to} now (an admin's /dir {from} undoes it)"
    );
    Ok(())
}

/// What a thread's Claude is told once after its thread was moved.
pub(crate) fn moved(thread: &Thread) -> Option<String> {
    let from = thread.extra.get(MOVED_FROM)?.as_str()?;
    Some(format!(
        "This thread worked in {from}, a folder that it shared with others. It works in {} from now on, a folder of its \
         own, and {from} is out of reach. If you need files from there, say so: a person can copy them, and an admin \
         can go back with /dir {from}.",
        thread.cwd
    ))
}

/// It was told.
pub(crate) fn forget_move(thread: &mut Thread) {
    thread.extra.remove(MOVED_FROM);
}
