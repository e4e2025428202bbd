//! Taking over what the TypeScript original left: its threads, history, settings and waiting messages.
//!
//! Its folder is read and never changed, and everything in it is a stranger's word: sizes are limited, ids are parsed, no
//! symlink is followed. What is here already wins and is told, so an import may be done again and doubles nothing. The
//! processor must not run meanwhile, because it is the one writer of what is written here; its lock is held.

mod history;
mod queue;
mod report;
mod sessions;
mod settings;
mod source;
mod threads;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use tinyclaw_disk::Lock;
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{Environment, Settings};

pub(crate) use self::report::Report;
use self::report::ReportPart;
use self::source::Source;

/// Folders and files of the original that are not taken, and why.
const OTHERS: [(&str, &str); 7] = [
    ("logs/routing.jsonl", "its decisions name no message; the router here decides anew"),
    ("logs/routing.1.jsonl", "the same"),
    ("logs/prompts.jsonl", "its prompts are cut short; new ones are kept whole"),
    ("logs/prompts.1.jsonl", "the same"),
    ("message-models.json", "a reply to an old answer is routed like any message"),
    ("status", "what ran there is over"),
    ("heartbeat.md", "a thread's own HEARTBEAT.md, in its folder, is what counts"),
];

/// Imports the original's folder `dir` into `state`; in a dry run nothing is written.
pub(crate) fn import(
    dir: &Path,
    state: &StateDir,
    environment: &Environment,
    dry_run: bool,
) -> anyhow::Result<Report> {
    let source = Source::open(dir, state.root())?;
    let _lock = take_office(state, dry_run)?;
    let (settings_part, settings) = settings::take(&source, state, environment, dry_run)?;
    let (threads_part, threads) = threads::take(&source, state, &settings, dry_run)?;
    let history_part = history::take(&source, state, dry_run)?;
    // Last, so that whoever looks at a waiting message finds its thread and what was said before.
    let queue_part = queue::take(&source, state, dry_run)?;
    let [folders_part, sessions_part] = sessions::look(&source, state, &settings, &threads);
    let others = others(&source);
    let todo = todo(&settings, &threads_part, &settings_part, dry_run, dir);
    Ok(Report {
        from: source.root().display().to_string(),
        into: state.root().display().to_string(),
        dry_run,
        parts: vec![
            threads_part,
            history_part,
            settings_part,
            queue_part,
            folders_part,
            sessions_part,
            others,
        ],
        todo,
    })
}

/// Makes sure of the state folder: that it is ours to write, and that no processor works on it.
fn take_office(state: &StateDir, dry_run: bool) -> anyhow::Result<Option<Lock>> {
    let root = state.root();
    let shown = root.display();
    if let Ok(meta) = std::fs::metadata(root) {
        let (owner, own) = (meta.uid(), rustix::process::geteuid().as_raw());
        if owner != own && !dry_run {
            bail!(
                "{shown} belongs to user {owner} and this is user {own}, whose files its services could not change; \
                 do it as its owner: sudo -u '#{owner}' tinyclaw import …"
            );
        }
    }
    let path = state.processor_lock();
    if dry_run && !path.exists() {
        return Ok(None);
    }
    if !dry_run {
        tinyclaw_ledger::create_folders(state).with_context(|| format!("cannot make {shown}"))?;
    }
    let Some(lock) = Lock::try_take(&path)? else {
        bail!(
            "a processor works on {shown}, and there is one writer; stop it first: ./tinyclaw.sh stop, or leave the demo"
        );
    };
    if !dry_run {
        lock.leave_note(&format!("pid {} imports", std::process::id()))?;
    }
    Ok(Some(lock))
}

fn others(source: &Source) -> ReportPart {
    let mut part = ReportPart::new("other", "file");
    for (name, why) in OTHERS {
        let is_there = matches!(source.file(name), Ok(Some(_)))
            || source.names(name).is_ok_and(|it| !it.is_empty());
        if is_there {
            part.left.add(name, why);
        }
    }
    part
}

/// What differs here from what its people are used to.
fn todo(
    settings: &Settings,
    threads: &ReportPart,
    taken: &ReportPart,
    dry_run: bool,
    dir: &Path,
) -> Vec<String> {
    let mut todo = Vec::new();
    let mut say = |when: bool, what: &str| {
        if when {
            todo.push(what.to_owned());
        }
    };
    let telegram = &settings.telegram;
    say(
        telegram.bot_token.is_some() && telegram.allowed_users.is_empty(),
        "the original let everybody in the group speak; here nobody may until telegram.allowedUsers says who: \
         tinyclaw setup telegram",
    );
    say(
        threads.taken > 0,
        "the original let Claude do everything without asking; a taken thread asks as engine.permission says, and /mode \
         changes it",
    );
    say(
        taken.taken > 0 && !settings.heartbeat.enabled,
        "heartbeats are off until heartbeat.enabled says otherwise",
    );
    say(!dry_run, "check it: tinyclaw threads; then start: ./tinyclaw.sh start");
    if dry_run {
        todo.push(format!("to do it: tinyclaw import {}", dir.display()));
    }
    todo
}
