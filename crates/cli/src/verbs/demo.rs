//! `tinyclaw demo`: a running office in this terminal, with nothing configured.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Start a demo in this terminal: processor, dashboard and a chat, with nothing configured. Ctrl-C ends it.
///
/// With --web the gateway, too: a chat in the browser, whose printed address logs you in. It also keeps what Claude Code's
/// hooks tell, and the dashboard's view Events shows it live.
///
/// Where `claude` is installed and logged in (or a key or token for it is set) it answers, and what you say costs what it
/// always costs; nothing is sent before you say something. Everywhere else, and with --no-claude, an engine answers that only
/// pretends and costs nothing.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Ask the real Claude, also when it does not seem to be logged in.
    #[arg(long)]
    claude: bool,

    /// Do not ask the real Claude, also when it is installed and logged in: spends nothing in any case.
    #[arg(long, conflicts_with = "claude")]
    no_claude: bool,

    /// Start the gateway, too: a chat in the browser. Say how your own Claude Code's hooks reach it.
    #[arg(long)]
    web: bool,

    /// Where the dashboard and the gateway listen. In a container, 0.0.0.0 makes it reachable from outside.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    listen: IpAddr,

    /// The demo's state folder.
    #[arg(long, value_name = "DIR", default_value = ".tinyclaw-demo")]
    dir: PathBuf,
}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Demo { claude, no_claude, web, listen, dir } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(crate::demo::Demo { dir, claude, no_claude, web, listen }.run())?;
        Ok(ExitCode::SUCCESS)
    }
}
