//! The helper, and the one command that starts it on a devbox.
//!
//! The command is made of the helper's own hash and size and of nothing else. Where the helper is, it is started; where it is
//! not, the same command asks for its bytes, keeps them when they are exactly these, and starts it in the same channel. The
//! version is the name of the file, so offices and updates do not meet.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

/// A helper has a few megabytes.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Where helpers lie below the HOME there.
const FOLDER: &str = ".local/share/tinyclaw/bin";
/// So much of the hash is the helper's name.
const NAME_CHARS: usize = 16;

/// What the far end says before the helper is there: a line that begins with this.
const MARK: u8 = 0x1e;

/// The program that is put on devboxes: `tinyclaw-leash`.
#[derive(Debug)]
pub struct Helper {
    path: PathBuf,
    loaded: OnceCell<LoadedHelper>,
}

/// Its bytes, and what they are.
#[derive(Debug)]
pub struct LoadedHelper {
    /// All of them.
    pub bytes: Vec<u8>,
    sum: String,
    is_static: bool,
}

/// A helper that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the helper {} cannot be read: {why}", path.display())]
pub struct HelperError {
    path: PathBuf,
    why: String,
}

/// What the far end says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The helper is there and listens.
    Here,
    /// It is not: its bytes are wanted.
    Bytes,
    /// It would not run there: the machine is another one.
    Never(String),
}

impl Helper {
    /// The helper in this file, which is read when it is first needed.
    pub fn new(path: impl Into<PathBuf>) -> Helper {
        Helper { path: path.into(), loaded: OnceCell::new() }
    }

    /// Where it is on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, once.
    pub async fn load(&self) -> Result<&LoadedHelper, HelperError> {
        let load = || async {
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            let read = read.map_err(|err| err.to_string()).and_then(|it| it);
            read.map_err(|why| HelperError { path: self.path.clone(), why })
        };
        self.loaded.get_or_try_init(load).await
    }
}

fn read(path: &Path) -> Result<LoadedHelper, String> {
    let file = std::fs::File::open(path).map_err(|err| err.to_string())?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|err| err.to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err("it is too large".to_owned());
    }
    let sum = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
    let is_static = !has_interpreter(&bytes);
    Ok(LoadedHelper { bytes, sum, is_static })
}

/// Whether a 64-bit ELF file names a program that has to load it, and so the libraries of its own machine.
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(elf.get(at..at + 8)?.try_into().ok()?));
    let found = || -> Option<bool> {
        let table = usize::try_from(u64_at(32)?).ok()?;
        let (size, count) = (usize::from(u16_at(54)?), usize::from(u16_at(56)?));
        let mut kinds = (0..count).map(|it| u32_at(table + it * size));
        Some(kinds.any(|it| it == Some(PT_INTERP)))
    };
    elf.starts_with(b"\x7fELF") && found().unwrap_or(true)
}

impl LoadedHelper {
    /// The hash that is its version.
    pub fn version(&self) -> &str {
        &self.sum[..NAME_CHARS]
    }

    /// Whether it runs on another machine of its kind: it needs no library of this one.
    pub fn is_static(&self) -> bool {
        self.is_static
    }

    /// Its file below the HOME of a devbox.
    pub fn file(&self) -> String {
        format!("{FOLDER}/leash-{}", self.version())
    }

    /// The command that starts it. No shell finds anything of its own in it, and no user's word is.
    pub fn command(&self) -> String {
        let (file, size, sum) = (self.file(), self.bytes.len(), &self.sum);
        let kind = std::env::consts::ARCH;
        let script = [
            format!("h=\"$HOME/{file}\""),
            format!(
                "[ -x \"$h\" ] || {{ case \"$(uname -sm)\" in \"Linux {kind}\") ;; *) printf \"\\036never %s\\n\" \"$(uname -sm)\"; exit 98;; esac"
            ),
            format!("umask 077; d=\"$HOME/{FOLDER}\"; t=\"$d/.in.$$\"; mkdir -p \"$d\" || exit 97"),
            "printf \"\\036bytes\\n\"".to_owned(),
            format!(
                "head -c {size} >\"$t\" && s=$({{ sha256sum \"$t\" || shasum -a 256 \"$t\" || openssl dgst -sha256 -r \"$t\"; }} 2>/dev/null | head -n 1 | cut -c 1-64) && [ \"$s\" = {sum} ] && chmod 700 \"$t\" && mv -f \"$t\" \"$h\" || {{ rm -f \"$t\"; exit 97; }}; }}"
            ),
            "exec \"$h\" hub".to_owned(),
        ];
        format!("sh -c '{}'", script.join("; "))
    }
}

impl Asked {
    /// What a line says that begins with the mark, without the mark. `None`: a shell's noise.
    pub fn read(line: &[u8]) -> Option<Asked> {
        let text = std::str::from_utf8(line).ok()?;
        match text.split_once(' ').unwrap_or((text, "")) {
            ("here", "") => Some(Asked::Here),
            ("bytes", "") => Some(Asked::Bytes),
            ("never", kind) => {
                let kind = kind.chars().filter(|it| !it.is_control()).take(60).collect();
                Some(Asked::Never(kind))
            }
            _ => None,
        }
    }

    /// The line with which a helper says that it listens.
    pub fn here() -> Vec<u8> {
        [&[MARK], b"here\n".as_slice()].concat()
    }

    /// What such a line begins with.
    pub const MARK: u8 = MARK;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_known_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leash");
        tinyclaw_disk::write_new(&path, b"not a program").unwrap();
        let loaded = read(&path).unwrap();
        assert_eq!(loaded.version().len(), NAME_CHARS);
        assert!(loaded.is_static(), "it is no program that needs another one");
        let command = loaded.command();
        assert_eq!(command.matches('\'').count(), 2, "one word for every shell: {command}");
        assert!(
            !command.contains('!') && !command.contains('\n') && command.len() < 1024,
            "{command}"
        );
        assert!(read(&dir.path().join("gone")).is_err());
    }

    #[test]
    fn what_the_far_end_asks_for_is_one_of_three_things() {
        assert_eq!(Asked::read(b"here"), Some(Asked::Here));
        assert_eq!(Asked::read(b"bytes"), Some(Asked::Bytes));
        assert_eq!(
            Asked::read(b"never Linux aarch64"),
            Some(Asked::Never("Linux aarch64".to_owned()))
        );
        for noise in [&b""[..], b"here it is", b"{}", b"\xff"] {
            assert_eq!(Asked::read(noise), None);
        }
    }
}
