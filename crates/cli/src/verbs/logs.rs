//! `tinyclaw logs`: the text logs of the services, the last lines or as they come. Only what is whole is shown: a line
//! that is still being written waits for its end.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tinyclaw_disk::backwards;

use crate::face::{self, Style};
use crate::place;

/// New lines are looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A line longer than this is shown in pieces.
const LINE_BYTES_MAX: usize = 1024 * 1024;

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
            let line = painted(&face::plain(line), style);
            if is_one { line } else { format!("{:<9}{line}", service.name()) }
        };
        // Where following begins is settled before the last lines are read: a line may come twice, none is missed.
        let mut followers: Vec<(Service, Follower)> = Vec::new();
        let mut last: Vec<(Service, String)> = Vec::new();
        for service in services {
            let path = state.text_log(service.name());
            let follower = Follower::at_end(&path)?;
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
            for (service, follower) in &mut followers {
                for line in follower.lines().context("cannot read on")? {
                    writeln!(out, "{}", show(*service, &line))?;
                }
            }
            out.flush()?;
            std::thread::sleep(LOOK_EVERY);
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

/// Reads on in a log that grows, through its rotations.
struct Follower {
    path: PathBuf,
    file: Option<File>,
    /// What was read and is no whole line yet.
    rest: Vec<u8>,
}

impl Follower {
    /// From the end of what is there now, which may be in the middle of a line: that line comes whole.
    fn at_end(path: &Path) -> io::Result<Follower> {
        let mut follower = Follower { path: path.to_owned(), file: None, rest: Vec::new() };
        if let Some(mut file) = follower.open()? {
            let mut end = file.seek(SeekFrom::End(0))?;
            let mut byte = [0];
            while end > 0 {
                file.seek(SeekFrom::Start(end - 1))?;
                file.read_exact(&mut byte)?;
                if byte == *b"\n" {
                    break;
                }
                end -= 1;
            }
            file.seek(SeekFrom::Start(end))?;
            follower.file = Some(file);
        }
        Ok(follower)
    }

    fn open(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// The whole lines that came since the last look.
    fn lines(&mut self) -> io::Result<Vec<String>> {
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut self.rest)?;
        }
        // Rotated: the old file was read to its end above, unless something was added in between.
        let new = std::fs::metadata(&self.path).map(|it| it.ino()).ok();
        let own = self.file.as_ref().and_then(|it| it.metadata().ok()).map(|it| it.ino());
        if new.is_some() && new != own {
            if let Some(file) = &mut self.file {
                file.read_to_end(&mut self.rest)?;
            }
            self.file = self.open()?;
            if let Some(file) = &mut self.file {
                file.read_to_end(&mut self.rest)?;
            }
        }
        let end = match self.rest.iter().rposition(|it| *it == b'\n') {
            Some(at) => at + 1,
            None if self.rest.len() > LINE_BYTES_MAX => self.rest.len(),
            None => 0,
        };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        Ok(String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test plays the service that writes a log")]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_followed_through_half_lines_and_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.log");
        std::fs::write(&path, "old\nhalf").unwrap();
        let mut follower = Follower::at_end(&path).unwrap();
        assert!(follower.lines().unwrap().is_empty(), "half a line is no line");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b" whole\n")
            .unwrap();
        assert_eq!(follower.lines().unwrap(), ["half whole"]);
        std::fs::rename(&path, dir.path().join("queue.1.log")).unwrap();
        assert!(follower.lines().unwrap().is_empty());
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(follower.lines().unwrap(), ["new"]);
    }
}
