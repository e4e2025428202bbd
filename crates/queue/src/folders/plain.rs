//! Reading a file that anybody may have laid there: only a plain file of a sane size, never through a symlink, and never
//! waiting for somebody at the other end. Nothing here says what becomes of the rest.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use tinyclaw_disk::{open_to_read, read_to_end};

use crate::work::KEPT_BYTES_MAX;

/// What a look at a file found.
pub(super) enum Plain {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Nothing of this name.
    Gone,
    /// Something that will not become readable by waiting, and why.
    Unfit(String),
}

/// Reads a file. An error is one that may pass: the next look may do better.
pub(super) fn read(path: &Path) -> io::Result<Plain> {
    // Without waiting: a pipe that nobody writes to would hold whoever opens it for ever.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = fs::OpenOptions::new();
    let opened = open_to_read(options.read(true).custom_flags(flags.bits()), path);
    let file = match opened {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Plain::Gone),
        Err(err) if may_pass(&err) => return Err(err),
        Err(err) if err.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Ok(Plain::Unfit("it is not a regular file".to_owned()));
        }
        Err(err) => return Ok(Plain::Unfit(format!("it cannot be read: {err}"))),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Plain::Unfit("it is not a regular file".to_owned()));
    }
    if meta.len() > KEPT_BYTES_MAX as u64 {
        return Ok(Plain::Unfit(too_large(meta.len())));
    }
    let bytes = read_to_end(&file, &meta, KEPT_BYTES_MAX)?;
    if bytes.len() > KEPT_BYTES_MAX {
        // Somebody writes to it while it is read.
        return Ok(Plain::Unfit(too_large(bytes.len() as u64)));
    }
    Ok(Plain::Bytes(bytes))
}

/// Whether there is anything of this name, whatever it is. A symlink that leads nowhere is something.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn too_large(bytes: u64) -> String {
    format!("it has {bytes} bytes and {KEPT_BYTES_MAX} are the most")
}

/// Whether an error is of the machine's mood and not of the file.
fn may_pass(err: &io::Error) -> bool {
    let passing = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOMEM,
        Errno::ENOBUFS,
        Errno::EINTR,
        Errno::EAGAIN,
        Errno::EIO,
        Errno::ESTALE,
        Errno::ETIMEDOUT,
    ];
    err.raw_os_error().is_some_and(|it| passing.contains(&Errno::from_raw(it)))
}
