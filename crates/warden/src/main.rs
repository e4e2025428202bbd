//! `tinyclaw-warden`: reads its command line, and does what the library says.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use tinyclaw_warden::{OfficeProgram, run, seat};

const USAGE: &str = "\
tinyclaw-warden: starts the office as its user, and gives every desk a user of its own

  tinyclaw-warden --desks DIR --user UID [--hub FILE] PROGRAM [ARGUMENT...]

DIR is a folder of root's, mode 711, in which every desk gets one. As another user than root it turns into PROGRAM.";

fn main() {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = seat(words.iter().cloned()) {
        std::process::exit(code);
    }
    let asked = words.first().and_then(|it| it.to_str());
    let text = match asked {
        Some("--help" | "-h") => Some(USAGE),
        Some("--version" | "-V") => Some(concat!("tinyclaw-warden ", env!("CARGO_PKG_VERSION"))),
        _ => None,
    };
    if let Some(text) = text {
        let _ = writeln!(io::stdout(), "{text}");
        return;
    }
    let done = office(words.into_iter()).map_err(io::Error::other).and_then(run);
    std::process::exit(done.unwrap_or_else(|err| {
        let _ = writeln!(io::stderr(), "tinyclaw-warden: {err}");
        78
    }));
}

fn office(mut words: impl Iterator<Item = OsString>) -> Result<OfficeProgram, String> {
    let (mut desks, mut user, mut hub) = (None, None, None);
    let program = loop {
        let word = words.next().ok_or("no program to start; see tinyclaw-warden --help")?;
        let place = match word.to_str() {
            Some("--desks") => &mut desks,
            Some("--user") => &mut user,
            Some("--hub") => &mut hub,
            Some(it) if it.starts_with('-') => return Err(format!("{it} is no option")),
            _ => break word,
        };
        *place = Some(words.next().ok_or_else(|| format!("{word:?} without a value"))?);
    };
    let user = user.as_deref().and_then(OsStr::to_str).and_then(|it| it.parse().ok());
    // Users of desks and of the warden's hands are not to be had, nor is root.
    let user = user.filter(|it| (1..20_000).contains(it));
    Ok(OfficeProgram {
        desks: desks.map(PathBuf::from).ok_or("--desks DIR is missing")?,
        user: user.ok_or("--user needs a number from 1 to 19999")?,
        hub: hub.map_or_else(beside, |it| Ok(PathBuf::from(it)))?,
        program,
        args: words.collect(),
    })
}

/// The hub that came with this program.
fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|err| format!("cannot find this program: {err}"))?;
    Ok(own.with_file_name("tinyclaw-leash"))
}
