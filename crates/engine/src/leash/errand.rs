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
    /// The descriptor of a pipe to the owner, for what the leash has to say. Claude never has it.
    pub report: RawFd,
    /// The descriptor of the directory that Claude works in.
    pub cwd: RawFd,
    /// The session's lock file.
    pub lock: PathBuf,
    /// Whether Claude is confined.
    pub landlock: Landlock,
    /// The folder of which Claude gets nothing but what is named below.
    pub shut: PathBuf,
    /// The desk's own places below that folder, relative to it: Claude may write them.
    pub own: Vec<PathBuf>,
    /// Descriptors of what Claude may write, besides its directory.
    pub writable: Vec<RawFd>,
    /// Descriptors of what Claude may read, besides what every program needs.
    pub readable: Vec<RawFd>,
    /// Claude.
    pub program: PathBuf,
    /// Claude's arguments.
    pub args: Vec<String>,
}

/// A command line that is none of a leash's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad argument {0:?}; usage: tinyclaw-leash --liveness FD --report FD --cwd FD --lock FILE --shut DIR \
     --landlock auto|on|off [--own BELOW]... [--write FD]... [--read FD]... -- PROGRAM [ARG]..."
)]
pub struct BadErrand(String);

impl Errand {
    /// The command line.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
        let number = |it: RawFd| OsString::from(it.to_string());
        flag("--liveness", number(self.liveness));
        flag("--report", number(self.report));
        flag("--cwd", number(self.cwd));
        flag("--lock", self.lock.clone().into());
        flag("--shut", self.shut.clone().into());
        flag("--landlock", self.landlock.as_str().into());
        self.own.iter().for_each(|it| flag("--own", it.clone().into()));
        self.writable.iter().for_each(|it| flag("--write", number(*it)));
        self.readable.iter().for_each(|it| flag("--read", number(*it)));
        args.push("--".into());
        args.push(self.program.clone().into());
        args.extend(self.args.iter().map(OsString::from));
        args
    }

    /// The errand behind a command line.
    pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Errand, BadErrand> {
        let bad = |it: &OsString| BadErrand(it.to_string_lossy().chars().take(80).collect());
        let missing = |it: &str| BadErrand(format!("{it} is missing"));
        let number = |it: &OsString| {
            let number = it.to_str().and_then(|it| it.parse::<RawFd>().ok());
            number.filter(|it| *it > 2).ok_or_else(|| bad(it))
        };
        let (mut liveness, mut report, mut cwd) = (None, None, None);
        let (mut lock, mut shut) = (None, None);
        let mut landlock = Landlock::Auto;
        let (mut own, mut writable, mut readable) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(flag) = args.next() {
            if flag == "--" {
                break;
            }
            let value = args.next().ok_or_else(|| bad(&flag))?;
            match flag.to_str() {
                Some("--liveness") => liveness = Some(number(&value)?),
                Some("--report") => report = Some(number(&value)?),
                Some("--cwd") => cwd = Some(number(&value)?),
                Some("--lock") => lock = Some(PathBuf::from(value)),
                Some("--shut") => shut = Some(PathBuf::from(value)),
                Some("--landlock") => {
                    let word = value.to_str().and_then(|it| it.parse().ok());
                    landlock = word.ok_or_else(|| bad(&value))?;
                }
                Some("--own") => own.push(PathBuf::from(value)),
                Some("--write") => writable.push(number(&value)?),
                Some("--read") => readable.push(number(&value)?),
                _ => return Err(bad(&flag)),
            }
        }
        Ok(Errand {
            liveness: liveness.ok_or_else(|| missing("--liveness"))?,
            report: report.ok_or_else(|| missing("--report"))?,
            cwd: cwd.ok_or_else(|| missing("--cwd"))?,
            lock: lock.ok_or_else(|| missing("--lock"))?,
            shut: shut.ok_or_else(|| missing("--shut"))?,
            landlock,
            own,
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
            report: 4,
            cwd: 5,
            lock: "/state/locks/session-7".into(),
            landlock: Landlock::On,
            shut: "/state".into(),
            own: vec!["files/7".into(), "--".into()],
            writable: vec![6, 7],
            readable: vec![8],
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
