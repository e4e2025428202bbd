//! `/sessions`: all threads.

use std::fmt::Write as _;

use tinyclaw_domain::{Model, ThreadStatus};
use tinyclaw_service::words;

use crate::commands::Given;
use crate::threads;

impl Given<'_> {
    pub(super) fn sessions(&self) -> String {
        let threads = threads::listed(&self.commands.state);
        if threads.is_empty() {
            return "No threads yet. Write something, or `/new NAME`.".to_owned();
        }
        let mut words = String::from("|thread|name|model|status|last|\n|--:|--|--|--|--:|\n");
        let now = tinyclaw_service::now_ms();
        for (id, it) in &threads {
            let model = it.pin.or(it.model);
            let model = model.as_ref().map_or("–", Model::as_str);
            let status = match it.status {
                ThreadStatus::Idle => "idle",
                ThreadStatus::Working => "working",
                ThreadStatus::Waiting => "waiting",
                ThreadStatus::Closed => "closed",
            };
            let name = it.name.replace('|', "\\|");
            let last = match it.last_active {
                0 => "–".to_owned(),
                at => words::ago(now.saturating_sub(at)),
            };
            let _ = writeln!(words, "|{id}|{name}|{model}|{status}|{last}|");
        }
        words
    }
}
