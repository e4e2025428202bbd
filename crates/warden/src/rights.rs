//! Which of root's rights this process has, how it gives up all but four, and how it gives up those, too.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Command;

use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid, getgroups, getresgid, getresuid};
use nix::unistd::{setgroups, setresgid, setresuid, write};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::request::DeskNumber;

/// Processes and threads of one desk, at most: a good half of what the container may have.
const TASKS_MAX: u64 = 600;

/// When memory runs out the kernel ends desks before the office, whose number is 0.
const GOES_FIRST: &[u8] = b"500";

/// What the warden needs of root's rights, and nothing else.
const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::KILL, "CAP_KILL"),
];

/// Whether this process is root, with all that is needed; an error names what root lacks.
pub(crate) fn is_root_with_needed() -> io::Result<bool> {
    if !geteuid().is_root() {
        return Ok(false);
    }
    let has = capabilities(None)?.effective;
    let missing = NEEDED.iter().filter(|(it, _)| !has.contains(*it)).map(|(_, name)| *name);
    match &missing.collect::<Vec<_>>()[..] {
        [] => Ok(true),
        missing => Err(io::Error::other(format!(
            "root without {}: give it all four capabilities, or start it as the office's user",
            missing.join(", ")
        ))),
    }
}

/// Gives up everything but what is needed, for this process and all that it starts.
pub(crate) fn keep_needed() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    let needed = NEEDED.iter().fold(CapabilitySet::empty(), |all, (it, _)| all | *it);
    let inheritable = CapabilitySet::empty();
    let kept = CapabilitySets { effective: needed, permitted: needed, inheritable };
    Ok(set_capabilities(None, kept)?)
}

/// A program, to start it or to turn into it.
pub(crate) fn program(path: impl AsRef<OsStr>, args: &[OsString]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "starting others is what the warden is for")]
    let mut command = Command::new(path);
    command.args(args);
    command
}

/// Makes this process the desk's, with its limits, for good.
pub(crate) fn become_desk(desk: DeskNumber) -> io::Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    limit(Resource::RLIMIT_NPROC, TASKS_MAX)?;
    // A core would hold what the desk's processes were told.
    limit(Resource::RLIMIT_CORE, 0)?;
    // While the file is still ours. A kernel without it ends whom it will.
    if let Ok(file) = open("/proc/self/oom_score_adj", OFlag::O_WRONLY, Mode::empty()) {
        let _ = write(&file, GOES_FIRST);
    }
    become_user([desk.user(); 3], desk.user())
}

/// Makes this process one that may do to the desk's processes and files what the desk may, and that the desk may not
/// signal: its user counts as the desk's where it acts, and as another where somebody acts on it.
pub(crate) fn become_hand(desk: DeskNumber) -> io::Result<()> {
    become_user([desk.hand(), desk.user(), desk.hand()], desk.user())
}

/// Makes this process the office's.
pub(crate) fn become_office(user: u32) -> io::Result<()> {
    // As it would be without a warden: its group reads what it writes.
    umask(Mode::from_bits_truncate(0o022));
    become_user([user; 3], user)
}

/// Real, effective and saved user; a group, and no other. Believes nothing: what came of it is asked of the kernel.
fn become_user([real, effective, saved]: [u32; 3], group: u32) -> io::Result<()> {
    let gid = Gid::from_raw(group);
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(Uid::from_raw(real), Uid::from_raw(effective), Uid::from_raw(saved))?;
    prctl::set_no_new_privs()?;
    let (users, groups) = (getresuid()?, getresgid()?);
    let is_user = [users.real, users.effective, users.saved].map(Uid::as_raw)
        == [real, effective, saved]
        && [groups.real, groups.effective, groups.saved] == [gid; 3]
        && getgroups()?.is_empty();
    let none = CapabilitySet::empty();
    let nothing = CapabilitySets { effective: none, permitted: none, inheritable: none };
    if !is_user || capabilities(None)? != nothing || !prctl::get_no_new_privs()? {
        return Err(io::Error::other("the kernel left this process rights that it gave up"));
    }
    Ok(())
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let to = to.min(hard);
    Ok(setrlimit(resource, to, to)?)
}
