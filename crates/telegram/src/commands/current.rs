//! What is set in a thread now: `/model`, `/effort`, `/mode` and `/trust` without a word say it, and what each word does.

use tinyclaw_domain::set_now;

use crate::commands::Given;
use crate::commands::table::usage;
use crate::threads;

impl Given<'_> {
    /// What is set, and how it is changed. Of a thread that nobody has worked in yet the latter alone.
    pub(super) fn current(&self, name: &str) -> String {
        let thread = threads::listed(&self.commands.state).remove(&self.thread);
        let now = thread.and_then(|it| set_now(&it, name));
        [now, Some(usage(name))].into_iter().flatten().collect::<Vec<String>>().join("\n\n")
    }
}
