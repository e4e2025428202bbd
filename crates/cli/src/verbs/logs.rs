//! `tinyclaw logs`: the text logs of the services, the last lines or as they come. Only what is whole is shown: a line
//! that is still being written waits for its end.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tinyclaw_disk::backwards;
use tinyclaw_disk::follow::{Followed, Follower, Polled};

use crate::place;
use crate::terminal::{self, Style};

/// New lines are looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So much is shown of one log before it is the other's turn.
const POLL_BYTES: usize = 1 << 20;

/// Show the services' logs.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Which service; both when none is named.
    #[arg(value_enum)]
    service: Option<Service>,

    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,

    /// So many lines to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// A service with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Service {
    /// The telegram service.
    Telegram,
    /// The processor.
    Queue,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Telegram => "telegram",
            Service::Queue => "queue",
        }
    }
}

impl Logs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        let services = match self.service {
            Some(it) => vec![it],
            None => vec![Service::Telegram, Service::Queue],
        };
        let is_one = services.len() == 1;
        let mut out = std::io::stdout().lock();
        let style = Style::of(&out);
        let show = |service: Service, line: &str| {
            let line = painted(&terminal::plain(line), style);
            if is_one { line } else { format!("{:<9}{line}", service.name()) }
        };
        // Where following begins is settled before the last lines are read: a line may come twice, none is missed.
        let mut followers: Vec<(Service, Follower)> = Vec::new();
        let mut last: Vec<(Service, String)> = Vec::new();
        for service in services {
            let path = state.text_log(service.name());
            let follower = Follower::from_end(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let lines =
                backwards(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for line in lines.take(self.lines) {
                last.push((service, String::from_utf8_lossy(&line?.bytes).into_owned()));
            }
            followers.push((service, follower));
        }
        // Every line begins with its time, so that two logs can be told as one.
        last.reverse();
        last.sort_by(|a, b| a.1.split(' ').next().cmp(&b.1.split(' ').next()));
        for (service, line) in last.split_off(last.len().saturating_sub(self.lines)) {
            writeln!(out, "{}", show(service, &line))?;
        }
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            let mut is_dry = true;
            for (service, follower) in &mut followers {
                let mut lines = Vec::new();
                let polled = follower.poll(POLL_BYTES, |it| match it {
                    Followed::Line(line) => {
                        lines.push(show(*service, &String::from_utf8_lossy(line.bytes)));
                    }
                    Followed::Gap { cause, .. } if !cause.is_lossless() => {
                        lines.push(format!("(lines are missing here: {})", cause.as_str()));
                    }
                    Followed::Gap { .. } | Followed::Rotated { .. } => {}
                });
                is_dry &= polled.context("cannot read on")? == Polled::Dry;
                for line in lines {
                    writeln!(out, "{line}")?;
                }
            }
            out.flush()?;
            if is_dry {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

/// Errors are for a person, warnings say that we coped, and the time is beside the point.
fn painted(line: &str, style: Style) -> String {
    match line.split_once(' ') {
        Some((time, rest)) if rest.starts_with("ERROR") => {
            format!("{} {}", style.dim(time), style.red(rest))
        }
        Some((time, rest)) if rest.starts_with("WARN") => {
            format!("{} {}", style.dim(time), style.yellow(rest))
        }
        Some((time, rest)) => format!("{} {rest}", style.dim(time)),
        None => line.to_owned(),
    }
}
