//! The folders of desks: which one a thread gets, and what it has to do with others'.
//!
//! The leash grants a desk its folder and everything below it, so a folder that holds another desk's, or the state, is
//! more than a desk may have. Only an admin's word (`/dir`) lets two desks share or nest; nothing lets one into the state.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Map;
use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::{
    Env, EnvName, McpServers, OwnTiers, PermissionMode, Place, Thread, ThreadId, ThreadStatus,
};
use tinyclaw_engine::{Desk, LookError, OutOfReach, Overlap, overlap};
use tinyclaw_ledger::read_envs;
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::Permission;

use crate::blocking::on_disk;
use crate::desks::numbers;
use crate::desks::threads::Desks;

/// In a thread's entry: an admin chose its folder although it shares or holds another desk's.
pub(crate) const BY_ADMIN: &str = "dirByAdmin";
/// In a thread's entry: the folder that it was moved out of, until its Claude was told.
pub(super) const MOVED_FROM: &str = "movedFrom";
/// Another name is tried so often when a desk's folder cannot have the thread's.
const NAMES_MAX: u32 = 100;

/// Another desk whose folder is the same, or lies in this one, or around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) id: ThreadId,
    pub(crate) name: String,
    /// How the folder that was asked about lies to its.
    pub(crate) overlap: Overlap,
}

/// The desks of the same place whose folders this one would share.
pub(crate) async fn neighbours(desks: &Desks, desk: &Desk) -> Result<Vec<Neighbour>, LookError> {
    let all = desks.all().into_iter().filter(|it| it.0 != desk.thread);
    let there = all.filter_map(|(id, it)| {
        let (place, dir) = it.place();
        (place == desk.place).then_some(((id, it.name), dir))
    });
    let (others, dirs): (Vec<_>, Vec<PathBuf>) = there.unzip();
    let overlaps = desks.engine.look(&desk.place)?.overlaps(desk, &dirs).await?;
    let found = others.into_iter().zip(overlaps).map(|((id, name), overlap)| Neighbour {
        id,
        name,
        overlap,
    });
    Ok(found.filter(|it| it.overlap != Overlap::Apart).collect())
}

/// Whether this is the folder of this machine that all desks' folders are made in, or holds it.
pub(crate) fn holds_all(desks: &Desks, desk: &Desk) -> bool {
    let settings = desks.settings.current();
    let made_in = [settings.office.default_cwd(), &settings.office.workspace];
    let holds = |it: &PathBuf| matches!(overlap(&desk.dir, it), Overlap::Same | Overlap::Around);
    desk.place.is_here() && on_disk(|| made_in.into_iter().any(holds))
}

impl Desks {
    /// A thread, made on its first message with a folder of its own.
    pub(crate) async fn get_or_open(
        &self,
        id: &ThreadId,
        name: Option<&str>,
    ) -> anyhow::Result<Thread> {
        let env = env_of(self, id)?;
        let by_env = env.as_ref().and_then(|it| it.1.permission());
        if let Some(thread) = self.get(id).filter(|it| is_where_it_should_be(it, env.as_ref())) {
            return Ok(match by_env {
                // The operator's word of today counts, and not that of when the session began.
                Some(most) if thread.permission_mode.asks_less_than(most) => {
                    let lowered = self.change(id, |it| {
                        it.permission_mode = most;
                        it.clone()
                    })?;
                    lowered.unwrap_or(thread)
                }
                _ => thread,
            });
        }
        let settings = self.settings.current();
        let (env, cwd, extra) = match env {
            // Nobody of this machine works there, and nothing of it is made here.
            Some((name, Env::Container(it))) => (Some(name), it.cwd.path().to_owned(), Map::new()),
            here => {
                let by_operator = here.and_then(|it| match it.1 {
                    Env::None(it) => it.cwd,
                    Env::Container(_) => None,
                });
                let is_by_operator = by_operator.is_some();
                let cwd = match by_operator {
                    Some(dir) => {
                        // A desk that is a user works there as its own, and as nobody else.
                        if let Some(users) = self.engine.users() {
                            numbers::own(&self.engine, id, &users).await?;
                        }
                        dir
                    }
                    None => own(self, id).await?,
                };
                // Making its folder gives a desk that is a user its number.
                let mut extra = numbers::entry(&self.engine, id);
                if is_by_operator {
                    extra.insert(BY_ADMIN.to_owned(), true.into());
                }
                (None, cwd, extra)
            }
        };
        let cwd = cwd.display().to_string();
        let permission_mode = by_env.unwrap_or(match settings.engine.permission {
            Permission::Ask => PermissionMode::Ask,
            Permission::AcceptEdits => PermissionMode::AcceptEdits,
            Permission::Bypass => PermissionMode::Bypass,
        });
        if self.get(id).is_some() {
            // The operator made another place of its environment: it goes on there, with what is remembered of it.
            self.engine.evict(id).await;
            let moved = self.change(id, |it| {
                (it.env, it.cwd, it.permission_mode) = (env.clone(), cwd.clone(), permission_mode);
                it.extra.remove(BY_ADMIN);
                it.extra.extend(extra.clone());
                it.clone()
            })?;
            if let Some(thread) = moved {
                return Ok(thread);
            }
        }
        let made = Thread {
            name: name.map_or_else(|| default_name(id), str::to_owned),
            cwd,
            session_id: None,
            model: None,
            pin: None,
            tiers: OwnTiers::default(),
            effort: None,
            trust: None,
            env,
            permission_mode,
            system_prompt: None,
            mcp: McpServers::new(),
            repo: None,
            is_master: *id == ThreadId::master(),
            status: ThreadStatus::Idle,
            last_active: now_ms(),
            extra,
        };
        Ok(self.change_all(|threads| threads.entry(id.clone()).or_insert(made).clone())?)
    }
}

/// What the operator says of the environment that this thread is a session of; `None` for any other thread. Where they say
/// nothing of it any more, nothing runs.
fn env_of(desks: &Desks, id: &ThreadId) -> anyhow::Result<Option<(EnvName, Env)>> {
    let Some((name, _)) = id.env() else { return Ok(None) };
    match on_disk(|| read_envs(&desks.state))?.remove(&name) {
        Some(env) => Ok(Some((name, env))),
        None => anyhow::bail!("environment {name} is not in envs.json"),
    }
}

/// Whether a session works in the kind of place that its environment is today; in a container, in the directory there.
fn is_where_it_should_be(thread: &Thread, env: Option<&(EnvName, Env)>) -> bool {
    match env {
        Some((name, Env::Container(it))) => {
            thread.place() == (Place::Env(name.clone()), it.cwd.path().to_owned())
        }
        Some((_, Env::None(_))) => thread.env.is_none(),
        None => true,
    }
}

fn default_name(id: &ThreadId) -> String {
    match (id.number(), id.as_str()) {
        (Some(1), _) => "General".to_owned(),
        (Some(number), _) => format!("Thread {number}"),
        (None, text) if text.starts_with('u') && id.is_in_telegram(false) => {
            "Private chat".to_owned()
        }
        (None, text) => text.to_owned(),
    }
}

/// A thread's own folder on this machine, made if it is not there: called as the thread, in the folder for new threads.
pub(crate) async fn own(desks: &Desks, thread: &ThreadId) -> anyhow::Result<PathBuf> {
    if let Some(users) = desks.engine.users() {
        return numbers::own(&desks.engine, thread, &users).await;
    }
    let settings = desks.settings.current();
    // By its own name: a folder behind a link is given to nobody.
    let base = settings.office.default_cwd();
    let base =
        &base.canonicalize().with_context(|| format!("{} cannot be looked at", base.display()))?;
    for count in 1..=NAMES_MAX {
        let name = if count == 1 { thread.to_string() } else { format!("{thread}-{count}") };
        let path = base.join(&name);
        match on_disk(|| foreign::make_dir_below(base, Path::new(&name), 0o777)) {
            Ok(_) => {}
            // Somebody put something else there, when the folder was everybody's.
            Err(ForeignError::Link(_) | ForeignError::NotAFolder(_)) => continue,
            Err(err) => return Err(err.into()),
        }
        // Who has a folder around this one has the folder of all: by an admin's word, or until `settle` moves them, too;
        // who could not be moved is asked nothing (`has_too_much`).
        let there = neighbours(desks, &Desk::here(thread, &path)).await?;
        let is_taken = there.iter().any(|it| it.overlap != Overlap::Inside);
        if !is_taken && on_disk(|| overlap(&path, desks.state.root())) == Overlap::Apart {
            // Before `threads.json` says so for good: some file systems keep that and not this when the power goes, and
            // every message of the thread would be refused for want of its folder.
            on_disk(|| tinyclaw_disk::sync_dir(base))?;
            return Ok(path);
        }
    }
    anyhow::bail!("no folder in {} is free for thread {thread}", base.display())
}

/// Whether a thread has the folder of all desks without an admin's word: it could not be moved out, or a person wrote it
/// into `threads.json`. Nothing is asked there.
pub(super) fn has_too_much(desks: &Desks, desk: &Desk, thread: &Thread) -> bool {
    !thread.extra.contains_key(BY_ADMIN) && holds_all(desks, desk)
}

/// Why the thread's folder may not be granted to its Claude; `None` when it may.
pub(crate) async fn not_granted(
    desks: &Desks,
    desk: &Desk,
    thread: &Thread,
) -> Result<Option<String>, OutOfReach> {
    match desks.engine.look(&desk.place)?.check_dir(desk).await {
        Ok(()) if has_too_much(desks, desk, thread) => {
            Ok(Some(format!("{desk} holds the folders of all threads")))
        }
        Ok(()) => Ok(None),
        Err(LookError::OutOfReach(err)) => Err(err),
        Err(err) => Ok(Some(err.to_string())),
    }
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_session_of_an_environment_has_what_the_operator_says_today() {
        let dir = tempfile::tempdir().unwrap();
        let desks = Desks::empty(dir.path());
        std::fs::create_dir_all(dir.path().join("work")).unwrap();
        let envs = |text: &str| std::fs::write(desks.state.envs(), text).unwrap();
        let open = async |id: &str| desks.get_or_open(&id.parse().unwrap(), None).await;
        let session = "api.dev.01kc8m4q2v7x3z9d5f1h6j0nps";
        let refused = open(session).await.unwrap_err().to_string();
        assert_eq!(refused, "environment dev is not in envs.json");
        envs(
            r#"{"dev":{"isolation":"none","cwd":"/srv/dev","permission":"acceptEdits"},"own":{"isolation":"none"}}"#,
        );
        let thread = open(session).await.unwrap();
        assert_eq!(
            (&*thread.cwd, thread.permission_mode),
            ("/srv/dev", PermissionMode::AcceptEdits)
        );
        assert_eq!(thread.extra[BY_ADMIN], true);
        // The office's own word, and a folder of its own.
        let own = open("api.own").await.unwrap();
        assert!(own.cwd.ends_with("/work/api.own"), "{}", own.cwd);
        assert_eq!(own.permission_mode, PermissionMode::Ask);
        envs(
            r#"{"dev":{"isolation":"none","permission":"plan"},"own":{"isolation":"container","image":"x"}}"#,
        );
        assert_eq!(open(session).await.unwrap().permission_mode, PermissionMode::Plan);
        // It is a container from now on, and then none again.
        let there = open("api.own").await.unwrap();
        assert_eq!(there.place(), (Place::Env("own".parse().unwrap()), "/work".into()));
        assert_eq!(desks.get(&"api.own".parse().unwrap()), Some(there), "and on disk");
        envs(r#"{"own":{"isolation":"container","image":"x","cwd":"/srv/own"}}"#);
        let there = open("api.own.01kc8m4q2v7x3z9d5f1h6j0nps").await.unwrap();
        assert_eq!((there.place().1, &there.extra), ("/srv/own".into(), &Map::new()));
        assert_eq!(open("api.own").await.unwrap().cwd, "/srv/own");
        envs(r#"{"own":{"isolation":"none"}}"#);
        let back = open("api.own").await.unwrap();
        assert!(back.cwd.ends_with("/work/api.own") && back.env.is_none(), "{}", back.cwd);
        std::fs::remove_file(desks.state.envs()).unwrap();
        assert!(open(session).await.is_err(), "nothing runs in an environment that is gone");
    }
}
