//! What Claude may touch: Landlock rules, set by the process that turns into Claude, inherited by all below it.
//!
//! Reading is granted for what programs need to run, writing for the thread's directory and what the errand names.
//! Rules reach downwards and cannot be taken back below, so a folder that contains the state folder is granted child
//! by child, leaving that one out. Besides files, nothing outside may be signalled or looked into, as far as the kernel
//! knows how: the owner, its secrets and other threads' Claudes are out of reach.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::Errand;
use crate::config::Landlock;

/// The newest rights that this code knows what to do with.
const KNOWN: ABI = ABI::V6;

/// What every program reads.
const SYSTEM: [&str; 22] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix",
    "/snap",
    "/proc",
    "/sys",
    "/dev",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/nscd",
    "/run/current-system",
    "/var/lib/dpkg",
    "/var/lib/ca-certificates",
    "/var/cache/fontconfig",
    "/mnt/wsl/resolv.conf",
];
/// What every program writes.
const SCRATCH: [&str; 11] = [
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

#[derive(Debug, thiserror::Error)]
pub(super) enum ConfineError {
    #[error("cannot confine claude")]
    Rules(#[from] RulesetError),
    #[error("landlock is set to on, and this kernel does not have it")]
    Missing,
    #[error("cannot tell the working directory")]
    Cwd(#[source] std::io::Error),
}

/// Whether this kernel has Landlock, for whoever wants to know before a Claude starts. Confines nothing.
pub fn kernel_confines() -> bool {
    let asked = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1));
    asked.and_then(Ruleset::create).is_ok()
}

/// Confines this process for good. `false`: the kernel cannot, and the errand does not insist.
pub(super) fn confine(errand: &Errand) -> Result<bool, ConfineError> {
    if errand.landlock == Landlock::Off {
        return Ok(true);
    }
    let cwd = std::env::current_dir().map_err(ConfineError::Cwd)?;
    let shut = errand.shut.canonicalize().unwrap_or_else(|_| errand.shut.clone());
    let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    readable.extend(errand.readable.iter().cloned());
    readable.extend(errand.program.parent().map(Path::to_owned));
    let mut writable: Vec<PathBuf> = SCRATCH.iter().map(PathBuf::from).collect();
    writable.extend(errand.writable.iter().cloned());
    writable.extend(common_git_dir(&cwd));
    writable.push(cwd);

    let read = AccessFs::from_read(KNOWN);
    let all: BitFlags<AccessFs> = AccessFs::from_all(KNOWN);
    let status = Ruleset::default()
        .handle_access(all)?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(around(&readable, &shut), read))?
        .add_rules(path_beneath_rules(around(&writable, &shut), all))?
        .restrict_self()?;
    match (status.ruleset, errand.landlock) {
        (RulesetStatus::NotEnforced, Landlock::On) => Err(ConfineError::Missing),
        (RulesetStatus::NotEnforced, _) => Ok(false),
        _ => Ok(true),
    }
}

/// The paths, with every one that contains `shut` replaced by its children that do not.
fn around(paths: &[PathBuf], shut: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = paths.iter().filter_map(|it| it.canonicalize().ok()).collect();
    while let Some(path) = todo.pop() {
        if !shut.starts_with(&path) {
            found.push(path);
        } else if path != shut {
            let children = std::fs::read_dir(&path).into_iter().flatten().flatten();
            // A link may lead anywhere, also to what is left out here; it is not what was granted.
            let children = children.filter(|it| it.file_type().is_ok_and(|it| !it.is_symlink()));
            todo.extend(children.map(|it| it.path()));
        }
    }
    found
}

/// The repository behind a linked worktree, which Git has to write when something is committed there.
///
/// `.git` in the directory can be written by Claude, so it is believed only when the place it names points back: that
/// one Claude cannot have made.
fn common_git_dir(cwd: &Path) -> Option<PathBuf> {
    let dot_git = cwd.join(".git");
    let text = dot_git.is_file().then(|| std::fs::read_to_string(&dot_git).ok())??;
    let linked = cwd.join(text.strip_prefix("gitdir:")?.trim()).canonicalize().ok()?;
    let back = std::fs::read_to_string(linked.join("gitdir")).ok()?;
    let back = linked.join(back.trim()).canonicalize().ok()?;
    let common = std::fs::read_to_string(linked.join("commondir")).ok()?;
    let common = linked.join(common.trim()).canonicalize().ok()?;
    let is_ours =
        back == dot_git.canonicalize().ok()? && linked.starts_with(common.join("worktrees"));
    (is_ours && common.join("objects").is_dir()).then_some(common)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use super::*;

    #[test]
    fn a_folder_around_the_state_is_granted_child_by_child() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for it in ["home/.tinyclaw/queue", "home/project/src", "home/.claude"] {
            std::fs::create_dir_all(root.join(it)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("home/.tinyclaw/queue"), root.join("home/link"))
            .unwrap();
        let shut = root.join("home/.tinyclaw");
        let mut found = around(&[root.join("home"), root.join("home/.tinyclaw/queue")], &shut);
        found.sort();
        let wanted = ["home/.claude", "home/.tinyclaw/queue", "home/project"];
        // What was named itself is granted; what lies below the state and was not named is not.
        assert_eq!(found, wanted.map(|it| root.join(it)));
        assert_eq!(around(std::slice::from_ref(&shut), &shut), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_git_file_is_believed_only_if_the_repository_points_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (desk, linked) = (root.join("desk"), root.join("repo/.git/worktrees/desk"));
        for it in [&desk, &linked, &root.join("repo/.git/objects")] {
            std::fs::create_dir_all(it).unwrap();
        }
        std::fs::write(desk.join(".git"), format!("gitdir: {}\n", linked.display())).unwrap();
        std::fs::write(linked.join("commondir"), "../..\n").unwrap();
        assert_eq!(common_git_dir(&desk), None);
        std::fs::write(linked.join("gitdir"), desk.join(".git").to_str().unwrap()).unwrap();
        assert_eq!(common_git_dir(&desk), Some(root.join("repo/.git")));
    }
}
