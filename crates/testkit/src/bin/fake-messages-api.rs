//! The fake Messages API for a person: `fake-messages-api [PORT]`, until Ctrl-C.
#![expect(clippy::print_stdout, reason = "it tells a person what to type")]

use anyhow::Context;
use tinyclaw_testkit::messages_api::MessagesApi;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = match std::env::args().nth(1) {
        Some(it) => it.parse().with_context(|| format!("{it:?} is not a port"))?,
        None => 0,
    };
    let api = MessagesApi::start_at(port).await.context("cannot listen")?;
    println!(
        "ANTHROPIC_BASE_URL={} ANTHROPIC_API_KEY=dummy claude -p 'hello [api: say hi]'",
        api.url()
    );
    api.serve().await;
    Ok(())
}
