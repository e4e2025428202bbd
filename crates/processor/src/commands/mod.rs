//! Orders about a thread: open, reset, another directory, another model. Carried out in the thread's own lane, so in
//! order with its messages. Each answers with what is true now.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tinyclaw_domain::{
    Command, Key, Message, Outcome, PermissionMode, Reply, Source, Thread, ThreadId, ThreadStatus,
};
use tinyclaw_engine::Overlap;
use tinyclaw_ledger::ThreadsError;
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::now_ms;

use crate::availability::budget;
use crate::desks::checkout;
use crate::desks::directories;
use crate::office::{Office, lock, on_disk};
use crate::work::summary;
use crate::work::turn::notice;

/// Carries a command out and says what came of it.
pub(crate) async fn carry_out(office: &Arc<Office>, message: &Message, command: &Command) -> Reply {
    let id = &message.thread_id;
    // Who renames a topic sees that it has another name.
    let is_silent = message.source == Source::System || matches!(command, Command::Rename { .. });
    let said = match office.thread_or_new(id, message.topic_name.as_deref()) {
        Ok(thread) => obey(office, id, &thread, command).await,
        Err(err) => Err(match err.downcast::<ThreadsError>() {
            Ok(err) => Refusal::Threads(err),
            Err(err) => {
                Refusal::Plain(format!("The thread gets no folder: {err:#}. Nothing was changed."))
            }
        }),
    };
    match said {
        Ok(text) => Reply { silent: is_silent, ..notice(text) },
        Err(refusal) => {
            tracing::warn!(thread.id = %id, "an order to thread {id} was refused: {refusal}");
            Reply { outcome: Outcome::Failed, ..notice(refusal.to_string()) }
        }
    }
}

/// Why an order was not carried out, as people are told.
#[derive(Debug)]
enum Refusal {
    Plain(String),
    Threads(ThreadsError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Plain(text) => f.write_str(text),
            Refusal::Threads(err) => {
                write!(f, "The threads cannot be saved: {err}. Nothing was changed.")
            }
        }
    }
}

impl From<ThreadsError> for Refusal {
    fn from(err: ThreadsError) -> Refusal {
        Refusal::Threads(err)
    }
}

async fn obey(
    office: &Arc<Office>,
    id: &ThreadId,
    thread: &Thread,
    command: &Command,
) -> Result<String, Refusal> {
    let change = |change: &dyn Fn(&mut Thread)| office.change_thread(id, change).map(drop);
    Ok(match command {
        Command::Open { name, dir, repo } => open(office, id, thread, name, dir, repo).await?,
        Command::Reset {} => reset(office, id, thread).await?,
        Command::Setdir { dir, admin } => set_dir(office, id, thread, dir, *admin).await?,
        Command::Model { model } => {
            change(&|it| it.pin = *model)?;
            match model {
                Some(model) => format!(
                    "This thread uses {model} from now on. /model auto lets the router choose again."
                ),
                None => "The router chooses the model for each message again.".to_owned(),
            }
        }
        Command::Mode { mode, admin } => {
            // Whoever may speak may ask for more questions; for fewer only an admin may.
            if *mode > thread.permission_mode && !admin {
                return Err(Refusal::Plain(
                    "Only admins may let Claude do more here without asking. Nothing was changed."
                        .to_owned(),
                ));
            }
            change(&|it| it.permission_mode = *mode)?;
            match mode {
                PermissionMode::Ask => "Claude asks here before it changes anything.",
                PermissionMode::AcceptEdits => {
                    "Claude edits files here without asking, and asks for the rest."
                }
                PermissionMode::Bypass => {
                    "Claude does everything here without asking. /mode ask ends that."
                }
            }
            .to_owned()
        }
        Command::Prompt { text } => {
            change(&|it| it.system_prompt = text.clone().filter(|it| !it.trim().is_empty()))?;
            match text.as_deref().filter(|it| !it.trim().is_empty()) {
                Some(_) => "Claude is told this from its next message on.".to_owned(),
                None => "Claude is told nothing of its own here any more.".to_owned(),
            }
        }
        Command::Rename { name } => {
            change(&|it| it.name = name.clone())?;
            format!("This thread is called {name} now.")
        }
        Command::Close {} => {
            change(&|it| it.status = ThreadStatus::Closed)?;
            office.engine.evict(id).await;
            "Closed. The session is kept; /reopen goes on with it.".to_owned()
        }
        Command::Reopen {} => {
            change(&|it| it.status = ThreadStatus::Idle)?;
            "Open again.".to_owned()
        }
        Command::Status {} => status(office, id, thread),
        Command::GoOn {} => go_on(office, id, thread)?,
        Command::Stop { .. } | Command::Permission { .. } | Command::Summarize { .. } => {
            return Err(Refusal::Plain("This order came by the wrong way.".to_owned()));
        }
    })
}

async fn open(
    office: &Arc<Office>,
    id: &ThreadId,
    thread: &Thread,
    name: &Option<String>,
    dir: &Option<String>,
    repo: &Option<String>,
) -> Result<String, Refusal> {
    if let Some(name) = name {
        office.change_thread(id, |it| it.name = name.clone())?;
    }
    if let Some(repo) = repo {
        // One at a time: two desks on a new repository would clone into each other, or get the same folder.
        let _alone = office.checkouts.lock().await;
        let repo = &checkout::full_name(repo).map_err(Refusal::Plain)?;
        let place = checkout::checkout(office, id, repo).await.map_err(Refusal::Plain)?;
        let cwd = place.path.display().to_string();
        office.change_thread(id, |it| {
            it.repo = Some(repo.clone());
            it.cwd = cwd.clone();
            it.status = ThreadStatus::Idle;
        })?;
        return Ok(format!("Ready: `{repo}` in `{cwd}`{}.", place.remark));
    }
    if let Some(dir) = dir {
        return set_dir(office, id, thread, dir, false).await;
    }
    office.change_thread(id, |it| it.status = ThreadStatus::Idle)?;
    Ok(format!("Ready in `{}`.", thread.cwd))
}

/// Ends the session. The next message does not wait for its summary.
async fn reset(office: &Arc<Office>, id: &ThreadId, thread: &Thread) -> Result<String, Refusal> {
    let Some(session) = &thread.session_id else {
        return Ok("There is no session yet; the next message begins one.".to_owned());
    };
    summary::order(office, id, session);
    office.change_thread(id, |it| it.session_id = None)?;
    office.engine.evict(id).await;
    Ok("The session is over; the next message begins a new one with a summary of it.".to_owned())
}

async fn set_dir(
    office: &Arc<Office>,
    id: &ThreadId,
    thread: &Thread,
    dir: &str,
    is_admin: bool,
) -> Result<String, Refusal> {
    let home = std::env::var("HOME").unwrap_or_default();
    let asked = match dir.strip_prefix("~/") {
        Some(rest) => Path::new(&home).join(rest),
        None => Path::new(&thread.cwd).join(dir),
    };
    let refused = |why: String| Refusal::Plain(format!("{why} Nothing was changed."));
    let there = asked
        .canonicalize()
        .map_err(|_| refused(format!("There is no directory `{}`.", plain(&asked).display())))?;
    if !there.is_dir() {
        return Err(refused(format!("`{}` is not a directory.", there.display())));
    }
    let settings = office.settings();
    let roots: Vec<PathBuf> =
        settings.office.roots().filter_map(|it| it.canonicalize().ok()).collect();
    if !is_admin && !roots.iter().any(|it| there.starts_with(it)) {
        let roots: Vec<String> = roots.iter().map(|it| format!("`{}`", it.display())).collect();
        return Err(refused(format!(
            "`{}` is outside the allowed folders ({}); an admin may go there.",
            there.display(),
            roots.join(", ")
        )));
    }
    office.engine.check_cwd(&there).map_err(|err| refused(format!("{err}.")))?;
    let shared = on_disk(|| shared(office, id, &there));
    if let Some(with) = shared.as_ref().filter(|_| !is_admin) {
        return Err(refused(format!(
            "`{}` {with}; an admin may go there all the same.",
            there.display()
        )));
    }
    let kept = match &thread.session_id {
        Some(session) => {
            on_disk(|| office.engine.copy_session(id, Path::new(&thread.cwd), &there, session))
                .unwrap_or(false)
        }
        None => true,
    };
    let cwd = there.display().to_string();
    if let Some(session) = thread.session_id.as_ref().filter(|_| !kept) {
        summary::order(office, id, session);
    }
    office.change_thread(id, |it| {
        it.cwd = cwd.clone();
        if !kept {
            it.session_id = None;
        }
        directories::forget_move(it);
        match &shared {
            Some(_) => it.extra.insert(directories::BY_ADMIN.to_owned(), true.into()),
            None => it.extra.remove(directories::BY_ADMIN),
        };
    })?;
    let word = if kept && thread.session_id.is_some() { " The session is kept." } else { "" };
    let warning = shared.map_or_else(String::new, |with| {
        format!(" It {with}: each can change what the others run there.")
    });
    Ok(format!("This thread works in `{cwd}` now.{word}{warning}"))
}

/// With whom a folder would be shared, as words that follow its name.
fn shared(office: &Office, id: &ThreadId, there: &Path) -> Option<String> {
    let with = directories::neighbours(office, id, there);
    let named: Vec<String> =
        with.iter().take(3).map(|it| format!("thread {} ({})", it.id, it.name)).collect();
    let more = match with.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match with.first().map(|it| it.overlap) {
        _ if directories::holds_all(office, there) => {
            Some("holds the folders of all threads".to_owned())
        }
        None => None,
        Some(Overlap::Around) => Some(format!("holds the folder of {}{more}", named.join(", "))),
        Some(Overlap::Inside) => Some(format!("lies in the folder of {}{more}", named.join(", "))),
        Some(_) => Some(format!("is the folder of {}{more}", named.join(", "))),
    }
}

/// A path without `..` in it, for messages about paths that do not exist.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

fn status(office: &Arc<Office>, id: &ThreadId, thread: &Thread) -> String {
    let (_, waiting) = office.queue.waiting_in(id);
    let spent = lock(&office.costs).thread(id, now_ms());
    let model = match (thread.pin, thread.model) {
        (Some(pin), _) => format!("{pin}, pinned"),
        (None, Some(last)) => format!("chosen for each message; last {last}"),
        (None, None) => "chosen for each message".to_owned(),
    };
    let session =
        thread.session_id.as_ref().map_or_else(|| "none yet".to_owned(), ToString::to_string);
    let mode = match thread.permission_mode {
        PermissionMode::Ask => "asks",
        PermissionMode::AcceptEdits => "edits without asking",
        PermissionMode::Bypass => "does everything without asking",
    };
    let engine =
        lock(&office.pause).as_ref().map_or_else(|| "ready".to_owned(), |it| it.sentence(office));
    format!(
        "**{}** (thread {id})\n- directory: `{}`\n- model: {model}\n- Claude {mode}\n- session: `{session}`\n- waiting: {waiting}\n- today: {} answers, ${:.2}\n- engine: {engine}",
        thread.name, thread.cwd, spent.turns, spent.usd
    )
}

/// Goes on although a budget is spent: takes the messages up again that were asked about, in their order.
fn go_on(office: &Arc<Office>, id: &ThreadId, thread: &Thread) -> Result<String, Refusal> {
    let mut count = 0;
    for key in budget::asked(thread) {
        let Some(found) = on_disk(|| office.queue.view().find(&key)).ok().flatten() else {
            continue;
        };
        let mut again = found.message;
        again.key = Key::hashed("go", key.as_str());
        again.reply = None;
        again.checkpoint = None;
        again.follow_ups = Vec::new();
        again.delivery = Vec::new();
        again.attempts = Default::default();
        on_disk(|| office.queue.publish(Side::Run, again, Durability::Strict)).map_err(|err| {
            Refusal::Plain(format!("The message cannot be taken up again: {err}."))
        })?;
        count += 1;
    }
    // Last, so that a crash on the way takes them up again; the same key twice is one message. They wait in the lane
    // that this order holds, so none of them runs before the budget is lifted.
    office.lift_budget(id)?;
    Ok(match count {
        0 => "Today's budget no longer stops this thread.".to_owned(),
        1 => "Going on.".to_owned(),
        _ => format!("Going on with {count} messages."),
    })
}
