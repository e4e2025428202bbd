//! `tinyclaw demo-engine`: becomes the demo engine, which speaks Claude's protocol without a model or an account.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::sibling;

/// Become the demo engine: Claude's protocol, without a model or an account.
#[derive(Debug, Args)]
pub(crate) struct DemoEngine {
    /// What Claude would be given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl DemoEngine {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let program = sibling("tinyclaw-demo-engine")?;
        #[expect(clippy::disallowed_methods, reason = "this process becomes that one")]
        let err = Command::new(&program).args(self.arguments).exec();
        Err(err).with_context(|| format!("cannot become {}", program.display()))
    }
}
