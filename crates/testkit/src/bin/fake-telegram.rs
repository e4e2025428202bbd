//! The fake Telegram as a program: prints where it listens and runs until it is ended.

use std::net::SocketAddr;

use tinyclaw_testkit::telegram::{FORUM, FakeTelegram, Limits, Options, TOKEN, schema::Schema};

const USAGE: &str =
    "usage: fake-telegram [--listen ADDRESS] [--control ADDRESS] [--no-limits] [--schema]";

#[tokio::main]
#[expect(clippy::print_stdout, reason = "whoever starts it reads the addresses from here")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = options(std::env::args().skip(1))?;
    let fake = FakeTelegram::start_with(options).await?;
    println!("TELEGRAM_API_URL={}", fake.url());
    println!("TELEGRAM_BOT_TOKEN={TOKEN}");
    println!("TELEGRAM_CHAT_ID={FORUM}");
    println!("CONTROL_URL={}", fake.control_url());
    std::future::pending().await
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(flag) = arguments.next() {
        let mut address = || -> Result<SocketAddr, String> {
            let text =
                arguments.next().ok_or_else(|| format!("{flag} needs an address\n{USAGE}"))?;
            text.parse().map_err(|it| format!("{flag} {text}: {it}\n{USAGE}"))
        };
        match flag.as_str() {
            "--listen" => options.listen = address()?,
            "--control" => options.control = address()?,
            "--no-limits" => options.limits = Limits::none(),
            "--schema" => options.schema = Some(Schema::fetch()?),
            other => return Err(format!("{other}: unknown\n{USAGE}")),
        }
    }
    Ok(options)
}
