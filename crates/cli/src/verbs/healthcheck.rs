//! `tinyclaw healthcheck`: one GET to a service of this machine, for images that have no curl.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tinyclaw_service::healthcheck::{local_address, probe};
use tinyclaw_service::settings::Office;

use crate::place;

/// Docker gives a health check five seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Ask a service of this machine how it is. Exits 1 with its reason when it is not well.
#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// Where it listens, such as 127.0.0.1:3100 or :3100. [default: the bot's own, health.listen]
    address: Option<String>,

    /// What to ask for; /ready also says whether it can do its job.
    #[arg(long, default_value = "/health")]
    path: String,
}

impl Healthcheck {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let listen: SocketAddr = match &self.address {
            Some(text) => {
                let full =
                    if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.clone() };
                full.parse().with_context(|| {
                    format!("{text:?} is no address; expected one such as 127.0.0.1:7777")
                })?
            }
            None => place::settings::<Office>(&place::state()?)?.health_listen,
        };
        let address = local_address(listen).to_string();
        probe(&address, &self.path, PATIENCE)?;
        writeln!(std::io::stdout(), "ok {address}{}", self.path)?;
        Ok(ExitCode::SUCCESS)
    }
}
