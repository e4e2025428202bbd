//! The helper, and the one command that starts it on a devbox.
//!
//! The command is made of the helper's own hash and size and of nothing else. Where the helper is, it is started; where it is
//! not, the same command asks for its bytes, keeps them when they are exactly these, and starts it in the same channel. The
//! version is the name of the file, so offices and updates do not meet.
//!
//! Images and packages are built with the helper's size and hash in `TINYCLAW_HELPER` (scripts/static-programs.sh). A program
//! that was built so brings these bytes and no others: a file that was replaced or damaged is refused by name. One that was
//! built without brings what it finds, and what that is it knows when it has read it.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

/// What this build says of its helper: "SIZE SHA256".
const BUILT_WITH: Option<&str> = option_env!("TINYCLAW_HELPER");

/// A helper has a few megabytes.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Where helpers lie below the HOME there.
const FOLDER: &str = ".local/share/tinyclaw/bin";
/// So much of the hash is the helper's name.
const NAME_CHARS: usize = 16;

/// What the far end says before the helper is there: a line that begins with this.
const MARK: u8 = 0x1e;

/// The program that other machines are given: `tinyclaw-leash`, static. Cheap to make; whoever brings it somewhere asks
/// [`Helper::load`] for its bytes and for what they are.
#[derive(Debug)]
pub struct Helper {
    path: PathBuf,
    wanted: Option<HelperId>,
    loaded: OnceCell<LoadedHelper>,
}

/// Which helper it is: how many bytes, and their hash. What is there of it on another machine is compared with that, there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperId {
    /// How many bytes it has.
    pub size: u64,
    /// Their hash, as 64 hexadecimal digits.
    pub sha256: String,
}

/// Its bytes, and what they are.
#[derive(Debug)]
pub struct LoadedHelper {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Which helper that is.
    pub id: HelperId,
    is_static: bool,
}

/// A helper that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// It is not there, or not to be read.
    #[error("the helper {} cannot be read: {why}", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// It is another one than this program was built with.
    #[error(
        "the helper {} is not the one that this program was built with: it has {found}, and not {wanted}; install all of TinyClaw's programs together, and restart",
        path.display()
    )]
    NotOurs {
        /// Its file.
        path: PathBuf,
        /// What lies there.
        found: HelperId,
        /// What should.
        wanted: HelperId,
    },
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

impl HelperId {
    /// Which helper these bytes are.
    pub fn of(bytes: &[u8]) -> HelperId {
        let sha256 = Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect();
        HelperId { size: bytes.len() as u64, sha256 }
    }

    /// The one that this program was built with. `None`: it was built without.
    pub fn built_with() -> Option<HelperId> {
        const { assert!(is_id(BUILT_WITH), "TINYCLAW_HELPER is not \"SIZE SHA256\"") };
        let (size, sha256) = BUILT_WITH?.split_once(' ')?;
        Some(HelperId { size: size.parse().ok()?, sha256: sha256.to_owned() })
    }
}

impl fmt::Display for HelperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of sha256 {}", self.size, self.sha256)
    }
}

/// Whether a build was told something that makes sense, if anything.
const fn is_id(text: Option<&str>) -> bool {
    let Some(text) = text else { return true };
    let text = text.as_bytes();
    let mut at = 0;
    while at < text.len() && text[at].is_ascii_digit() {
        at += 1;
    }
    if at == 0 || at > 15 || text.len() != at + 65 || text[at] != b' ' {
        return false;
    }
    at += 1;
    while at < text.len() {
        if !matches!(text[at], b'0'..=b'9' | b'a'..=b'f') {
            return false;
        }
        at += 1;
    }
    true
}

impl Helper {
    /// The helper in this file, which is read when it is first needed. Where this program was built with one, it has to be
    /// that.
    pub fn new(path: impl Into<PathBuf>) -> Helper {
        Helper { path: path.into(), wanted: HelperId::built_with(), loaded: OnceCell::new() }
    }

    /// Where it is on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, once: from then on what becomes of the file changes nothing.
    pub async fn load(&self) -> Result<&LoadedHelper, HelperError> {
        let load = || async {
            let (path, wanted) = (self.path.clone(), self.wanted.clone());
            let read = tokio::task::spawn_blocking(move || read(&path, wanted.as_ref())).await;
            read.unwrap_or_else(|err| Err(self.unreadable(err.to_string())))
        };
        self.loaded.get_or_try_init(load).await
    }

    /// Whether it can be brought, which is what [`Helper::load`] would say now.
    pub fn check(&self) -> Result<(), HelperError> {
        read(&self.path, self.wanted.as_ref()).map(drop)
    }

    fn unreadable(&self, why: String) -> HelperError {
        HelperError::Unreadable { path: self.path.clone(), why }
    }
}

fn read(path: &Path, wanted: Option<&HelperId>) -> Result<LoadedHelper, HelperError> {
    let unreadable = |why: String| HelperError::Unreadable { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(|err| unreadable(err.to_string()))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|err| unreadable(err.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable("it is too large".to_owned()));
    }
    let (id, is_static) = (HelperId::of(&bytes), !has_interpreter(&bytes));
    match wanted {
        Some(wanted) if *wanted != id => {
            Err(HelperError::NotOurs { path: path.to_owned(), found: id, wanted: wanted.clone() })
        }
        _ => Ok(LoadedHelper { bytes, id, is_static }),
    }
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
        &self.id.sha256[..NAME_CHARS]
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
        let (file, HelperId { size, sha256 }) = (self.file(), &self.id);
        let kind = std::env::consts::ARCH;
        let script = [
            format!("h=\"$HOME/{file}\""),
            format!(
                "[ -x \"$h\" ] || {{ case \"$(uname -sm)\" in \"Linux {kind}\") ;; *) printf \"\\036never %s\\n\" \"$(uname -sm)\"; exit 98;; esac"
            ),
            format!("umask 077; d=\"$HOME/{FOLDER}\"; t=\"$d/.in.$$\"; mkdir -p \"$d\" || exit 97"),
            "printf \"\\036bytes\\n\"".to_owned(),
            format!(
                "head -c {size} >\"$t\" && s=$({{ sha256sum \"$t\" || shasum -a 256 \"$t\" || openssl dgst -sha256 -r \"$t\"; }} 2>/dev/null | head -n 1 | cut -c 1-64) && [ \"$s\" = {sha256} ] && chmod 700 \"$t\" && mv -f \"$t\" \"$h\" || {{ rm -f \"$t\"; exit 97; }}; }}"
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
        let loaded = read(&path, None).unwrap();
        assert_eq!(loaded.version().len(), NAME_CHARS);
        assert!(loaded.is_static(), "it is no program that needs another one");
        let command = loaded.command();
        assert_eq!(command.matches('\'').count(), 2, "one word for every shell: {command}");
        assert!(
            !command.contains('!') && !command.contains('\n') && command.len() < 1024,
            "{command}"
        );
        assert!(read(&dir.path().join("gone"), None).is_err());
    }

    #[tokio::test]
    async fn a_helper_that_is_not_the_one_of_this_build_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leash");
        tinyclaw_disk::write_new(&path, b"as it was built").unwrap();
        let built = HelperId::of(b"as it was built");
        let helper = || Helper { wanted: Some(built.clone()), ..Helper::new(&path) };
        let loaded = helper();
        assert_eq!(loaded.load().await.unwrap().id, built);
        for other in [&b"as it was Built"[..], b"as it was built.", b""] {
            tinyclaw_disk::replace(&path, other, tinyclaw_disk::Flush::None).unwrap();
            let err = helper().load().await.unwrap_err().to_string();
            let name = path.display().to_string();
            assert!(err.contains(&name) && err.contains(&built.sha256), "{err}");
            assert!(err.contains(&format!("{} bytes", other.len())), "{err}");
            assert!(helper().check().is_err());
        }
        // What was read is what is brought, whatever becomes of the file.
        assert_eq!(loaded.load().await.unwrap().bytes, b"as it was built");
    }

    #[test]
    fn what_a_build_is_told_of_its_helper_is_a_size_and_a_hash() {
        let hash = "0123456789abcdef".repeat(4);
        assert!(is_id(None) && is_id(Some(&format!("1593344 {hash}"))));
        for bad in [
            String::new(),
            hash.clone(),
            format!(" {hash}"),
            format!("12  {hash}"),
            format!("12 {hash}0"),
            format!("12 {}", hash.to_uppercase()),
            format!("1234567890123456 {hash}"),
        ] {
            assert!(!is_id(Some(&bad)), "{bad:?}");
        }
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
