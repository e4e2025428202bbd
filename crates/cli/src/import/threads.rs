//! The original's `threads.json`: names, folders, sessions and models under the ids they had.
//!
//! Only the original's own fields are taken, each read anew. What Claude may do without asking is this office's word,
//! whatever the file says.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value};
use tinyclaw_domain::{
    McpServers, Model, OwnTiers, PermissionMode, SessionId, Thread, ThreadId, ThreadStatus, Threads,
};
use tinyclaw_ledger::{StateDir, ThreadBook, read_threads};
use tinyclaw_service::settings::{Permission, Settings};

use super::report::ReportPart;
use super::source::Source;
use crate::terminal::{clip, one_line};

const BYTES_MAX: u64 = 16_000_000;
const THREADS_MAX: usize = 10_000;
const NAME_WIDTH_MAX: usize = 128;
const PATH_BYTES_MAX: usize = 4_096;
/// What an entry of the original has that is taken, and what means nothing here.
const KNOWN: [&str; 6] = ["name", "cwd", "sessionId", "model", "isMaster", "lastActive"];

/// Takes the threads over. Those that were taken or were here already come back, for whoever looks for their sessions.
pub(super) fn take(
    source: &Source,
    state: &StateDir,
    settings: &Settings,
    dry_run: bool,
) -> anyhow::Result<(ReportPart, Threads)> {
    let mut part = ReportPart::new("threads", "thread");
    let mut found = Threads::new();
    match source.read("threads.json", BYTES_MAX) {
        Ok(None) => {}
        Ok(Some(bytes)) => match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(entries) if entries.len() <= THREADS_MAX => {
                found = read(entries, settings, &mut part);
            }
            Ok(_) => part.left.add("threads.json", format!("it has over {THREADS_MAX} threads")),
            Err(err) => part.left.add("threads.json", format!("it is not a JSON object: {err}")),
        },
        Err(why) => part.left.add("threads.json", why),
    }
    // Refused by name when it is broken, before the book would set it aside.
    let here = read_threads(state).context("mend this office's own threads first")?;
    let mut fresh = Threads::new();
    for (id, thread) in &found {
        match here.get(id) {
            None => {
                fresh.insert(id.clone(), thread.clone());
            }
            Some(it) if it.name == thread.name && it.cwd == thread.cwd => part.here += 1,
            Some(it) => {
                let why = format!("{} in {} stays, not {}", it.name, it.cwd, thread.name);
                part.kept.add(format!("thread {id}"), why);
            }
        }
    }
    part.taken = fresh.len();
    if !dry_run && !fresh.is_empty() {
        let (mut book, _) = ThreadBook::open(state).context("cannot open threads.json")?;
        book.change(|threads| threads.extend(fresh)).context("cannot save the threads")?;
    }
    for (id, it) in here {
        found.insert(id, it);
    }
    Ok((part, found))
}

fn read(entries: Map<String, Value>, settings: &Settings, part: &mut ReportPart) -> Threads {
    let mut threads = Threads::new();
    for (id, entry) in entries {
        let what = format!("thread {}", clip(&one_line(&id), 40));
        let read = match id.parse::<ThreadId>() {
            Ok(id) => thread(&id, &entry, settings).map(|it| (id, it)),
            Err(err) => Err(err.to_string()),
        };
        match read {
            Ok((id, (thread, lost))) => {
                if !lost.is_empty() {
                    part.left.add(what, lost.join("; "));
                }
                threads.insert(id, thread);
            }
            Err(why) => part.left.add(what, why),
        }
    }
    // Its code never named one; somebody had to by hand, and seldom did.
    if !threads.values().any(|it| it.is_master)
        && let Some(general) = threads.get_mut(&ThreadId::master())
    {
        general.is_master = true;
        part.kept.add("thread 1", "no thread was the master there; here General is");
    }
    threads
}

/// A thread of ours from an entry of theirs, and what of the entry was not taken.
fn thread(
    id: &ThreadId,
    entry: &Value,
    settings: &Settings,
) -> Result<(Thread, Vec<String>), String> {
    let entry = entry.as_object().ok_or("it is not a JSON object")?;
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let mut lost = Vec::new();
    let cwd = text("cwd").ok_or("it has no cwd")?;
    if !Path::new(cwd).is_absolute() || cwd.len() > PATH_BYTES_MAX || cwd.contains(char::is_control)
    {
        return Err("its cwd is no absolute path".to_owned());
    }
    let name = clip(&one_line(text("name").unwrap_or_default()), NAME_WIDTH_MAX);
    let session_id = text("sessionId").and_then(|it| {
        let parsed = it.parse::<SessionId>();
        lost.extend(parsed.as_ref().err().map(|err| format!("its session: {err}")));
        parsed.ok()
    });
    let unknown: Vec<String> = entry
        .keys()
        .filter(|it| !KNOWN.contains(&it.as_str()))
        .take(8)
        .map(|it| clip(&one_line(it), 40))
        .collect();
    if !unknown.is_empty() {
        lost.push(format!("its {} means nothing here", unknown.join(", ")));
    }
    let last_active = entry.get("lastActive").and_then(Value::as_f64).unwrap_or(0.0);
    let thread = Thread {
        name: if name.is_empty() { format!("Thread {id}") } else { name },
        cwd: cwd.to_owned(),
        session_id,
        model: text("model").and_then(Model::of_name),
        pin: None,
        tiers: OwnTiers::default(),
        effort: None,
        trust: None,
        env: None,
        permission_mode: match settings.engine.permission {
            Permission::Ask => PermissionMode::Ask,
            Permission::AcceptEdits => PermissionMode::AcceptEdits,
            Permission::Bypass => PermissionMode::Bypass,
        },
        system_prompt: None,
        mcp: McpServers::new(),
        repo: None,
        is_master: entry.get("isMaster").and_then(Value::as_bool).unwrap_or(false),
        status: ThreadStatus::Idle,
        last_active: last_active.max(0.0) as u64,
        extra: Map::new(),
    };
    Ok((thread, lost))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tinyclaw_service::settings::{Environment, Reader};

    use super::*;

    fn take(entries: Value) -> (Threads, ReportPart) {
        let environment = Environment::new();
        let settings = Reader::new("", &environment).finish::<Settings>().unwrap().0;
        let mut part = ReportPart::new("threads", "thread");
        let Value::Object(entries) = entries else { panic!("an object") };
        (read(entries, &settings, &mut part), part)
    }

    #[test]
    fn general_is_the_master_unless_another_is() {
        let desk = |is_master: bool| json!({"name": "x", "cwd": "/x", "isMaster": is_master});
        let master = |(threads, _): &(Threads, ReportPart)| {
            let found: Vec<String> =
                threads.iter().filter(|it| it.1.is_master).map(|it| it.0.to_string()).collect();
            found.join(" ")
        };
        let nobody = take(json!({"1": desk(false), "7": desk(false)}));
        assert_eq!((master(&nobody), nobody.1.kept.count), ("1".to_owned(), 1));
        assert_eq!(master(&take(json!({"1": desk(false), "7": desk(true)}))), "7");
    }

    #[test]
    fn what_is_no_thread_is_left_and_what_is_odd_in_one_is_told() {
        let (threads, part) = take(json!({
            "7": {"name": " a\u{1b}[2Jb ", "cwd": "/x", "sessionId": "../../x", "model": "claude-opus-4", "lastActive": -3},
            "8": {"name": "x", "cwd": "here"},
            "9": "x",
            "c.7": {"name": "x", "cwd": "/x"},
        }));
        let thread = &threads[&"7".parse::<ThreadId>().unwrap()];
        assert!(!thread.name.contains('\u{1b}'), "{}", thread.name);
        assert_eq!((&thread.session_id, thread.model), (&None, Some(Model::OPUS)));
        let left: Vec<&str> = part.left.named.iter().map(|it| it.why.as_str()).collect();
        assert_eq!(threads.len(), 1);
        for (why, expected) in
            left.iter().zip(["session id", "no absolute path", "not a JSON object", "lanes"])
        {
            assert!(why.contains(expected), "{why}");
        }
        assert_eq!(left.len(), 4);
    }
}
