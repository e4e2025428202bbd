//! `tinyclaw chat`: talk with the office from a terminal, as in a forum.

use std::process::ExitCode;

use clap::Args;
use tinyclaw_domain::ThreadId;

use crate::place;
use crate::signals::Signals;

/// Talk with the office: threads, answers as they are written, permission questions, files.
///
/// Reads lines and prints answers when it is not at a terminal.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The thread to begin in: a topic's number, or a name such as cli or cli-notes.
    #[arg(long, value_name = "N", default_value = "cli")]
    thread: ThreadId,
}

impl Chat {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let signals = Signals::listen()?;
            crate::chat::Chat::open(&state, self.thread)?.run(signals).await
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
