//! `doctor --deep`: every file of the state folder, read to its end, checked and counted.
//!
//! What has a checksum is held against it, what has a shape against its shape, and what has neither is read, so that a disk
//! that cannot give it back says so now. It changes nothing, follows no link and waits for no pipe. It may run beside a working
//! office: a file that moves on meanwhile is passed over.

mod shapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tinyclaw_disk::LINE_BYTES_MAX;
use tinyclaw_disk::foreign::{Foreign, ForeignError, open_below};
use tinyclaw_domain::checksum::Checked;
use tinyclaw_ledger::StateDir;

use self::shapes::{Shape, shape_of};
use crate::terminal::{Style, count, one_line};
use tinyclaw_service::words;

/// A JSON file of ours is smaller by far.
const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// So much is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deep {
    files: u64,
    bytes: u64,
    /// By what the files are, such as `messages`.
    kinds: BTreeMap<&'static str, Kind>,
    /// What is not as it should be.
    wrong: Vec<Wrong>,
    /// What was set aside before, for a person to look at.
    aside: Vec<String>,
}

/// The files of one kind.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    files: u64,
    bytes: u64,
    /// Lines, of logs.
    lines: u64,
    /// Objects whose checksum vouches for them.
    checked: u64,
    /// Objects without one.
    unmarked: u64,
}

/// A file, or a line of one, that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrong {
    /// Below the state folder.
    path: String,
    /// Which line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    why: String,
}

/// Reads everything below the state folder.
pub(crate) fn read(state: &StateDir) -> Deep {
    let mut deep = Deep::default();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        match names_in(&state.root().join(&below)) {
            Ok(names) => {
                for (name, is_dir) in names {
                    let below = below.join(name);
                    if is_dir { todo.push(below) } else { deep.file(state, &below) }
                }
            }
            Err(err)
                if err.kind() == std::io::ErrorKind::NotFound && !below.as_os_str().is_empty() => {}
            Err(err) => deep.wrong(&below, None, format!("cannot be listed: {err}")),
        }
    }
    deep.wrong.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    deep.aside.sort();
    deep
}

/// The names in a folder, and which of them are folders themselves.
fn names_in(dir: &Path) -> std::io::Result<Vec<(std::ffi::OsString, bool)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        names.push((entry.file_name(), entry.file_type()?.is_dir()));
    }
    names.sort();
    Ok(names)
}

/// Whether this is `runs/<run>/s`.
fn is_of_a_hold(below: &Path) -> bool {
    let parts: Vec<_> = below.iter().collect();
    matches!(parts[..], [runs, _, name] if runs == "runs" && name == "s")
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket())
}

impl Deep {
    /// Whether something is not as it should be.
    pub(crate) fn is_broken(&self) -> bool {
        !self.wrong.is_empty()
    }

    fn wrong(&mut self, below: &Path, line: Option<u64>, why: String) {
        self.wrong.push(Wrong { path: below.display().to_string(), line, why });
    }

    fn file(&mut self, state: &StateDir, below: &Path) {
        let (name, shape) = shape_of(below);
        let file = match open_below(state.root(), below) {
            Ok(file) => file,
            // Moved on, as messages do.
            Err(ForeignError::Missing(_)) => return,
            // Where a hold listens there is nothing to read.
            Err(ForeignError::NotAFile(path)) if is_of_a_hold(below) && is_socket(&path) => return,
            Err(err) => return self.wrong(below, None, told(&err)),
        };
        self.files += 1;
        let length = file.about().len();
        self.bytes += length;
        let kind = self.kinds.entry(name).or_default();
        kind.files += 1;
        kind.bytes += length;
        match shape {
            Shape::Object(check) => {
                let read = file.read(OBJECT_BYTES_MAX);
                let found = read.map_err(|err| told(&err)).and_then(|it| check(state, below, &it));
                match found {
                    Ok(found) => found.into_iter().for_each(|it| self.count(name, it)),
                    Err(why) => self.wrong(below, None, why),
                }
            }
            Shape::Lines(check) => self.lines(name, below, file, check),
            Shape::Any => self.any(below, file),
            Shape::Aside => {
                // A reason stands beside what it explains, which is named.
                if below.extension().is_none_or(|it| it != "reason") {
                    self.aside.push(below.display().to_string());
                }
                self.any(below, file);
            }
        }
    }

    fn count(&mut self, name: &'static str, checked: Checked) {
        let kind = self.kinds.entry(name).or_default();
        match checked {
            Checked::Whole => kind.checked += 1,
            Checked::Unmarked | Checked::Damaged => kind.unmarked += 1,
        }
    }

    fn lines(
        &mut self,
        name: &'static str,
        below: &Path,
        file: Foreign,
        check: fn(&[u8]) -> Result<Checked, String>,
    ) {
        let lines = match file.lines(u64::MAX, LINE_BYTES_MAX) {
            Ok(lines) => lines,
            Err(err) => return self.wrong(below, None, told(&err)),
        };
        for (at, line) in lines.enumerate() {
            let number = at as u64 + 1;
            let checked = match line {
                Err(err) => return self.wrong(below, Some(number), told(&err)),
                Ok(None) => Err("is too long for a line of ours".to_owned()),
                // Closed off after a crash.
                Ok(Some(line)) if line.is_empty() => continue,
                Ok(Some(line)) => check(&line),
            };
            self.kinds.entry(name).or_default().lines += 1;
            match checked {
                Ok(checked) => self.count(name, checked),
                Err(why) => self.wrong(below, Some(number), why),
            }
        }
    }

    fn any(&mut self, below: &Path, file: Foreign) {
        let (mut file, mut chunk) = (file.into_file(), vec![0; CHUNK_BYTES]);
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => return self.wrong(below, None, format!("cannot be read: {err}")),
            }
        }
    }

    /// A line for each kind, then what is wrong, then the verdict.
    pub(crate) fn draw(&self, style: Style) -> String {
        let mut text = String::new();
        let wide = self.kinds.keys().map(|it| it.len()).max().unwrap_or(0);
        for (name, kind) in &self.kinds {
            let mut told = vec![count(kind.files as usize, "file"), words::bytes(kind.bytes)];
            if kind.lines > 0 {
                told.push(count(kind.lines as usize, "line"));
            }
            if kind.checked > 0 {
                told.push(format!("{} with a checksum that fits", kind.checked));
            }
            if kind.unmarked > 0 {
                told.push(format!("{} without one", kind.unmarked));
            }
            let _ = writeln!(text, "{name:<wide$}  {}", told.join(", "));
        }
        for it in &self.aside {
            let _ = writeln!(text, "{}  {}: was set aside", style.yellow("warn"), one_line(it));
        }
        for it in &self.wrong {
            let line = it.line.map_or_else(String::new, |it| format!(", line {it}"));
            let where_it_is = one_line(&it.path);
            let why = one_line(&it.why);
            let _ = writeln!(text, "{}  {where_it_is}{line}: {why}", style.red("fail"));
        }
        let read =
            format!("{} read, {}", count(self.files as usize, "file"), words::bytes(self.bytes));
        let verdict = match (self.wrong.len(), self.aside.len()) {
            (0, 0) => "all of it is as it should be".to_owned(),
            (0, aside) => format!("{aside} set aside, the rest is as it should be"),
            (some, _) => format!("{some} not as they should be"),
        };
        let _ = writeln!(text, "{read}: {verdict}");
        text
    }
}

/// An error of a foreign file, without its path, which is told anyway.
fn told(err: &ForeignError) -> String {
    match err {
        ForeignError::Missing(_) => "is not there".to_owned(),
        ForeignError::Link(_) => "is a link".to_owned(),
        ForeignError::NotAFile(_) => "is no regular file".to_owned(),
        ForeignError::NotAFolder(_) => "lies in what is no folder".to_owned(),
        ForeignError::Outside(_) => "leads out of its folder".to_owned(),
        ForeignError::TooLarge { bytes_max, .. } => format!("is larger than {bytes_max} bytes"),
        ForeignError::Io { step, source, .. } => format!("cannot {step} it: {source}"),
    }
}
