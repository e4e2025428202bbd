//! `/start`: who this is, and where one is.

use std::fmt::Write as _;

use crate::commands::Given;
use crate::text;
use crate::threads;

impl Given<'_> {
    pub(super) fn start(&self) -> String {
        let settings = self.commands.bot.settings.current();
        let threads = threads::listed(&self.commands.state);
        let mut words = format!("**TinyClaw {}**\n", env!("CARGO_PKG_VERSION"));
        let desk = threads.get(&self.thread);
        let cwd = desk.map_or_else(
            || settings.0.default_cwd().join(self.thread.as_str()).display().to_string(),
            |it| it.cwd.clone(),
        );
        let _ = write!(
            words,
            "{}, answered by the office's engine, working in `{cwd}`.\n\nWrite, and Claude answers. `/help` lists what else can be said.",
            self.place(),
        );
        words
    }

    /// `Thread 7 (website)`, `Private chat`.
    fn place(&self) -> String {
        let name = text::literal(&self.name());
        match self.thread.number() {
            Some(number) if name != format!("Thread {number}") => {
                format!("Thread {number} ({name})")
            }
            _ => name,
        }
    }
}
