//! The demo engine's transcript: where Claude's would lie and in its shape, so that resuming works the same way.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tinyclaw_disk::{Appender, Rotation};

use crate::Options;
use crate::pipe::complain;

pub(crate) struct Session {
    id: String,
    cwd: PathBuf,
    file: Option<Appender>,
    record: Option<Appender>,
    uuids: HashSet<String>,
    /// Messages answered before, the latest last.
    pub(crate) asked: Vec<String>,
}

const WHOLE: Rotation = Rotation { bytes_max: u64::MAX, segments_max: None, age_max: None };

impl Session {
    pub(crate) fn open(options: &Options) -> Result<Session, String> {
        let id = options.session.to_string();
        let path =
            tinyclaw_engine::transcript_path(&options.claude_dir, &options.cwd, &options.session);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if options.resume && text.trim().is_empty() {
            return Err(format!("No conversation found with session ID: {id}"));
        }
        if !options.resume && !text.is_empty() && options.keep {
            return Err(format!("Error: Session ID {id} is already in use."));
        }
        let mut session = Session {
            id,
            cwd: options.cwd.clone(),
            file: options.keep.then(|| Appender::new(path, WHOLE)),
            record: std::env::var("TINYCLAW_DEMO_RECORD").ok().map(|it| Appender::new(it, WHOLE)),
            uuids: HashSet::new(),
            asked: Vec::new(),
        };
        for line in text.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok()) {
            if line["type"] == "user"
                && let (Some(uuid), Some(asked)) = (
                    line["uuid"].as_str(),
                    line.pointer("/message/content").and_then(Value::as_str),
                )
            {
                session.uuids.insert(uuid.to_owned());
                session.asked.push(asked.to_owned());
            }
        }
        Ok(session)
    }

    /// Whether this uuid is new; from now on it is not.
    pub(crate) fn is_new(&mut self, uuid: &str) -> bool {
        uuid.is_empty() || self.uuids.insert(uuid.to_owned())
    }

    pub(crate) fn heard(&mut self, uuid: &str, text: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = json!({
            "atUs": u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
            "pid": std::process::id(), "session": self.id, "uuid": uuid, "text": text,
        });
        append(&mut self.record, &line);
        self.write(json!({
            "type": "user", "uuid": uuid, "message": { "role": "user", "content": text },
        }));
    }

    /// Keeps a piece of the answer. Without a reason to stop it is an unfinished one.
    pub(crate) fn said(&mut self, model: &str, message: &str, block: &Value, stop: Option<&str>) {
        self.write(json!({
            "type": "assistant",
            "message": {
                "id": message, "type": "message", "role": "assistant", "model": model,
                "content": [block], "stop_reason": stop,
            },
        }));
    }

    fn write(&mut self, mut line: Value) {
        line["sessionId"] = json!(self.id);
        line["cwd"] = json!(self.cwd);
        line["isSidechain"] = json!(false);
        append(&mut self.file, &line);
    }
}

fn append(to: &mut Option<Appender>, line: &Value) {
    if let Some(file) = to
        && let Err(err) = file.append(line.to_string().as_bytes())
    {
        let source = std::error::Error::source(&err).map(ToString::to_string).unwrap_or_default();
        complain(&format!("{err}: {source}"));
    }
}
