//! Which number the desk of a thread has, where desks are users of their own: in the thread's entry, where an earlier version
//! leaves it alone, and given to no other thread.
//!
//! Nothing here opens a desk's folder: that the desk itself does, asked through its `Look`.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value};
use tinyclaw_domain::{Place, Thread, ThreadId, Threads};
use tinyclaw_engine::{Desk, Engine, Users};
use tinyclaw_warden::DeskNumber;

/// In a thread's entry: the number of its desk.
pub(super) const NUMBER: &str = "deskNumber";

/// Tells the engine the numbers that threads have. Of two with the same number, which somebody copied, the first has it. One that
/// somebody of this machine has by now is no desk's: its thread is not answered.
pub(super) fn seat(engine: &Engine, threads: &Threads) {
    let Some(users) = engine.users() else { return };
    let mut taken = HashSet::new();
    for (id, thread) in threads {
        let Some(number) = number(thread) else { continue };
        if let Some(name) = users.namesake(number) {
            tracing::error!(
                thread.id = %id,
                "thread {id} is not answered: {name} has the number {} or {} on this machine, which is its desk's; give {name} another one",
                number.user(), number.hand()
            );
            continue;
        }
        if taken.insert(number) {
            users.seat(id, number);
        } else {
            tracing::error!(thread.id = %id, "thread {id} gets another desk number: {number} is another thread's");
        }
    }
}

/// What a new thread's entry says of its desk.
pub(super) fn entry(engine: &Engine, id: &ThreadId) -> Map<String, Value> {
    let number = engine.users().and_then(|it| it.number(id));
    number.into_iter().map(|it| (NUMBER.to_owned(), it.number().into())).collect()
}

/// A thread's folder as a user of its own, made if it is not there: by the desk, when it is asked for the first time.
pub(super) async fn own(engine: &Engine, id: &ThreadId, users: &Users) -> anyhow::Result<PathBuf> {
    users.seat_anew(id)?;
    let folders = users.folders(id).context("the thread has no number")?;
    let desk = Desk::here(id, folders.work);
    let look = engine.look(&Place::Here)?;
    look.real_dir(&desk).await.with_context(|| format!("{desk} cannot be made"))?;
    Ok(desk.dir)
}

/// The number in a thread's entry.
pub(super) fn number(thread: &Thread) -> Option<DeskNumber> {
    let number = thread.extra.get(NUMBER)?.as_u64()?;
    DeskNumber::try_from(u32::try_from(number).ok()?).ok()
}
