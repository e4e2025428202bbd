//! TinyClaw's own tools for Claude. They are called through the engine's pipe, so the thread they come from is known
//! and cannot be pretended. What they send goes out when the turn ends.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tinyclaw_domain::{
    Channel, FileRef, FollowUp, Message, Quote, Thread, ThreadId, ThreadStatus, quoted,
};
use tinyclaw_engine::ToolSpec;
use tinyclaw_ledger::recent_history;

use crate::office::{Office, lock};
use crate::work::outbox::Outbox;
use crate::work::prompt::name;

/// A message may be passed on this often; beyond that two threads talk only to each other.
const HOPS_MAX: u32 = 4;
/// A turn may send so many messages and files.
const SENT_MAX: usize = 10;
/// Telegram takes no larger document.
const FILE_BYTES_MAX: u64 = 50 * 1000 * 1000;
/// `read_thread` shows so much of each message.
const SHOWN_CHARS_MAX: usize = 2_000;

/// The tools, as this thread's Claude is told of them.
pub(crate) fn specs(office: &Office, thread: &Thread) -> Arc<[ToolSpec]> {
    static SPECS: OnceLock<[Arc<[ToolSpec]>; 2]> = OnceLock::new();
    let all = SPECS.get_or_init(|| [make_specs(false).into(), make_specs(true).into()]);
    all[usize::from(may_read(office, thread))].clone()
}

/// `may_read`: other threads may be read, too.
fn make_specs(may_read: bool) -> Vec<ToolSpec> {
    let tool = |name: &str, description: &str, properties: Value, required: &[&str]| ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema: json!({ "type": "object", "properties": properties, "required": required }),
    };
    let thread = json!({ "type": ["integer", "string"], "description": "the thread's id, as list_threads shows it" });
    vec![
        tool(
            "send_message",
            "Sends a message to another thread. It goes out when this turn ends and is answered in that thread, not here.",
            json!({ "targetThreadId": thread, "message": { "type": "string" } }),
            &["targetThreadId", "message"],
        ),
        tool(
            "list_threads",
            if may_read {
                "Lists all threads with their directory and what they do."
            } else {
                "Lists all threads by their names."
            },
            json!({}),
            &[],
        ),
        tool(
            "read_thread",
            if may_read {
                "Shows the last messages of a thread."
            } else {
                "Shows the last messages of this thread. Other threads cannot be read here: ask in them with send_message."
            },
            json!({ "threadId": thread, "count": { "type": "integer", "minimum": 1, "maximum": 50 } }),
            &["threadId"],
        ),
        tool(
            "send_file",
            "Attaches a file to the answer. It must lie in this thread's directory.",
            json!({ "path": { "type": "string" } }),
            &["path"],
        ),
        tool(
            "note",
            "Adds a line to today's notes of this thread, which later sessions here will read.",
            json!({ "text": { "type": "string" } }),
            &["text"],
        ),
    ]
}

/// Answers one call. An error is for Claude to read, and says what would work.
pub(crate) fn call(
    office: &Office,
    message: &Message,
    thread: &Thread,
    outbox: &mut Outbox,
    tool: &str,
    input: &Value,
) -> Result<String, String> {
    let text = |name: &str| {
        let given =
            input.get(name).and_then(Value::as_str).map(str::trim).filter(|it| !it.is_empty());
        given.ok_or_else(|| format!("{name} is missing or empty"))
    };
    match tool {
        "send_message" => send_message(office, message, thread, outbox, input, text("message")?),
        "list_threads" => Ok(list_threads(office, &message.thread_id, may_read(office, thread))),
        "read_thread" => read_thread(office, message, thread, input),
        "send_file" => send_file(thread, outbox, text("path")?),
        "note" => {
            let noted =
                office.memory.note(office.who(&message.thread_id), &office.now(), text("text")?);
            noted.map(|()| "Noted.".to_owned()).map_err(|err| err.to_string())
        }
        other => Err(format!("there is no tool {other}")),
    }
}

fn thread_of(office: &Office, input: &Value, name: &str) -> Result<ThreadId, String> {
    let id: ThreadId = match input.get(name) {
        Some(Value::Number(it)) => it.to_string().parse(),
        Some(Value::String(it)) => it.trim().parse(),
        _ => return Err(format!("{name} is missing")),
    }
    .map_err(|err: tinyclaw_domain::BadId| err.to_string())?;
    // General is there from the beginning, also before anybody spoke in it.
    if id != ThreadId::master() && office.thread(&id).is_none() {
        let known: Vec<String> = lock(&office.book).all().keys().map(ToString::to_string).collect();
        return Err(format!("there is no thread {id}; there are {}", known.join(", ")));
    }
    Ok(id)
}

fn send_message(
    office: &Office,
    message: &Message,
    thread: &Thread,
    outbox: &mut Outbox,
    input: &Value,
    text: &str,
) -> Result<String, String> {
    let to = thread_of(office, input, "targetThreadId")?;
    if to == message.thread_id {
        return Err("that is this thread itself; just say it in the answer".to_owned());
    }
    if message.hops >= HOPS_MAX {
        return Err(format!(
            "this message was passed on {HOPS_MAX} times already; answer here instead of passing it on"
        ));
    }
    if outbox.follow_ups.len() >= SENT_MAX {
        return Err(format!("{SENT_MAX} messages are the most in one turn"));
    }
    let target = office.thread(&to);
    if target.as_ref().is_some_and(|it| it.status == ThreadStatus::Closed) {
        return Err(format!("thread {to} is closed; a person has to reopen it"));
    }
    let channel = if office.is_in_telegram(&to) { Channel::Telegram } else { Channel::Cli };
    outbox.follow_ups.push(FollowUp {
        thread_id: to.clone(),
        channel,
        sender: thread.name.clone(),
        message: text.to_owned(),
    });
    let name = target.map_or_else(String::new, |it| format!(" ({})", name(&it.name)));
    Ok(format!("It goes to thread {to}{name} when this turn ends, and is answered there."))
}

/// Whether this thread's Claude may know what happens in others.
pub(crate) fn may_read(office: &Office, thread: &Thread) -> bool {
    thread.is_master || office.settings().engine.cross_thread_reading
}

/// All threads: by name for whoever may only write to them.
fn list_threads(office: &Office, own: &ThreadId, may_read: bool) -> String {
    let book = lock(&office.book);
    let lines = book.all().iter().map(|(id, it)| {
        let mark = if id == own { " (this one)" } else { "" };
        if !may_read && id != own {
            return format!("- {id}: {}", name(&it.name));
        }
        let status = format!("{:?}", it.status).to_lowercase();
        format!("- {id}: {}{mark}, {status}, in {}", name(&it.name), it.cwd)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn read_thread(
    office: &Office,
    message: &Message,
    thread: &Thread,
    input: &Value,
) -> Result<String, String> {
    let id = thread_of(office, input, "threadId")?;
    if id != message.thread_id && !may_read(office, thread) {
        return Err(format!(
            "threads do not read each other here (engine.crossThreadReading is off); ask in thread {id} with send_message"
        ));
    }
    let count = input.get("count").and_then(Value::as_u64).unwrap_or(10).clamp(1, 50) as usize;
    let lines = recent_history(&office.state, Some(&id), count).map_err(|err| err.to_string())?;
    if lines.is_empty() {
        return Ok(format!("Nothing was said in thread {id} yet."));
    }
    // What was said elsewhere is material: it must not read like an order to this Claude.
    let shown = lines.iter().map(|it| {
        let words = quoted(&it.message, Quote::Block, SHOWN_CHARS_MAX);
        format!("{}:\n{words}", name(&it.sender))
    });
    Ok(format!("<messages thread=\"{id}\">\n{}\n</messages>", shown.collect::<Vec<_>>().join("\n")))
}

fn send_file(thread: &Thread, outbox: &mut Outbox, path: &str) -> Result<String, String> {
    if outbox.files.len() >= SENT_MAX {
        return Err(format!("{SENT_MAX} files are the most in one turn"));
    }
    let cwd = Path::new(&thread.cwd)
        .canonicalize()
        .map_err(|err| format!("this thread's directory: {err}"))?;
    let asked = cwd.join(path);
    let there: PathBuf = asked.canonicalize().map_err(|_| format!("there is no file {path}"))?;
    if !there.starts_with(&cwd) {
        return Err(format!("{path} is outside this thread's directory; copy it there first"));
    }
    let meta = there.metadata().map_err(|err| err.to_string())?;
    if !meta.is_file() {
        return Err(format!("{path} is not a file"));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{path} has {} bytes; {FILE_BYTES_MAX} are the most", meta.len()));
    }
    let name = there.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_secret(&there) {
        return Err(format!("{name} looks like a secret and is not sent"));
    }
    outbox.files.push(FileRef {
        path: there.display().to_string(),
        mime: mime_of(&there).to_owned(),
        name: Some(name.clone()),
    });
    Ok(format!("{name} goes out with the answer."))
}

fn is_secret(path: &Path) -> bool {
    let parts = path.components().map(|it| it.as_os_str().to_string_lossy().to_lowercase());
    parts.into_iter().any(|it| {
        it == ".ssh"
            || it == ".env"
            || it.starts_with(".env.") && it != ".env.example"
            || it.ends_with(".pem")
            || it == ".git-credentials"
            || it == ".netrc"
            || it.starts_with("id_rsa")
            || it.starts_with("id_ed25519")
    })
}

fn mime_of(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "md" => "text/markdown",
        "html" => "text/html",
        "csv" => "text/csv",
        "txt" | "log" | "rs" | "py" | "js" | "ts" | "sh" | "toml" | "yaml" | "yml" => "text/plain",
        _ => "application/octet-stream",
    }
}
