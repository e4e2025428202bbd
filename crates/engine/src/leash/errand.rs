//! What a leash is told on its command line.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::config::Landlock;

/// What a leash is told: whom to start, how, and where Claude may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// The descriptor whose other end closes when the owner dies.
    pub liveness: RawFd,
    /// The session's lock file.
    pub lock: PathBuf,
    /// Whether Claude is confined.
    pub landlock: Landlock,
    /// The folder of which Claude gets nothing but what is named below.
    pub shut: PathBuf,
    /// What Claude may write, besides its directory.
    pub writable: Vec<PathBuf>,
    /// What Claude may read, besides what every program needs.
    pub readable: Vec<PathBuf>,
    /// Claude.
    pub program: PathBuf,
    /// Claude's arguments.
    pub args: Vec<String>,
}

/// A command line that is none of a leash's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad argument {0:?}; usage: tinyclaw-leash --liveness FD --lock FILE --shut DIR \
     --landlock auto|on|off [--write PATH]... [--read PATH]... -- PROGRAM [ARG]..."
)]
pub struct BadErrand(String);

impl Errand {
    /// The command line.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--liveness".into(),
            self.liveness.to_string().into(),
            "--lock".into(),
            self.lock.clone().into(),
            "--shut".into(),
            self.shut.clone().into(),
            "--landlock".into(),
            self.landlock.as_str().into(),
        ];
        for (flag, paths) in [("--write", &self.writable), ("--read", &self.readable)] {
            for path in paths {
                args.extend([flag.into(), path.clone().into()]);
            }
        }
        args.push("--".into());
        args.push(self.program.clone().into());
        args.extend(self.args.iter().map(OsString::from));
        args
    }

    /// The errand behind a command line.
    pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Errand, BadErrand> {
        let bad = |it: &OsString| BadErrand(it.to_string_lossy().chars().take(80).collect());
        let missing = |it: &str| BadErrand(format!("{it} is missing"));
        let (mut liveness, mut lock, mut shut) = (None, None, None);
        let mut landlock = Landlock::Auto;
        let (mut writable, mut readable) = (Vec::new(), Vec::new());
        while let Some(flag) = args.next() {
            if flag == "--" {
                break;
            }
            let value = args.next().ok_or_else(|| bad(&flag))?;
            match flag.to_str() {
                Some("--liveness") => {
                    let number = value.to_str().and_then(|it| it.parse().ok());
                    liveness = Some(number.filter(|it| *it > 2).ok_or_else(|| bad(&value))?);
                }
                Some("--lock") => lock = Some(PathBuf::from(value)),
                Some("--shut") => shut = Some(PathBuf::from(value)),
                Some("--landlock") => {
                    let word = value.to_str().and_then(|it| it.parse().ok());
                    landlock = word.ok_or_else(|| bad(&value))?;
                }
                Some("--write") => writable.push(PathBuf::from(value)),
                Some("--read") => readable.push(PathBuf::from(value)),
                _ => return Err(bad(&flag)),
            }
        }
        Ok(Errand {
            liveness: liveness.ok_or_else(|| missing("--liveness"))?,
            lock: lock.ok_or_else(|| missing("--lock"))?,
            shut: shut.ok_or_else(|| missing("--shut"))?,
            landlock,
            writable,
            readable,
            program: args.next().ok_or_else(|| missing("the program"))?.into(),
            args: args
                .map(|it| it.into_string().map_err(|it| bad(&it)))
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_survives_its_command_line() {
        let errand = Errand {
            liveness: 3,
            lock: "/state/locks/session-7".into(),
            landlock: Landlock::On,
            shut: "/state".into(),
            writable: vec!["/home/ada".into(), "--".into()],
            readable: vec!["/opt/tools".into()],
            program: "/usr/bin/claude".into(),
            args: vec!["-p".to_owned(), "--".to_owned(), "--lock".to_owned()],
        };
        assert_eq!(Errand::parse(errand.to_args().into_iter()), Ok(errand));
    }

    #[test]
    fn a_bad_argument_is_named() {
        let err = Errand::parse(["--lick", "x"].map(OsString::from).into_iter()).unwrap_err();
        assert!(err.to_string().starts_with(r#"bad argument "--lick"; usage:"#), "{err}");
    }
}
