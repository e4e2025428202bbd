//! Who is below a process, by the parents that the kernel names.
//!
//! Groups and sessions say nothing here: every tool that Claude starts has a session of its own.

use std::collections::BTreeMap;

use nix::unistd::Pid;

/// All living descendants of a process, parents before children.
pub(super) fn of(root: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    for stat in all.flatten().filter_map(|it| it.stat().ok()).filter(|it| it.state != 'Z') {
        children.entry(stat.ppid).or_default().push(stat.pid);
    }
    let mut found = Vec::new();
    let mut todo = vec![root.as_raw()];
    while let Some(parent) = todo.pop() {
        for pid in children.remove(&parent).unwrap_or_default() {
            found.push(Pid::from_raw(pid));
            todo.push(pid);
        }
    }
    found
}

/// When a process started, in the kernel's ticks: with its number, its identity. `None` when there is no such process.
pub(crate) fn started(pid: i32) -> Option<u64> {
    procfs::process::Process::new(pid).ok()?.stat().ok().map(|it| it.starttime)
}

/// Processes that carry `name=value` in the environment they were started with, this one left out.
pub(super) fn marked(name: &str, value: &std::ffi::OsStr) -> Vec<Pid> {
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    let me = Pid::this();
    all.flatten()
        .filter(|it| it.pid() != me.as_raw())
        .filter(|it| {
            it.environ()
                .is_ok_and(|it| it.get(std::ffi::OsStr::new(name)).is_some_and(|it| it == value))
        })
        .map(|it| Pid::from_raw(it.pid()))
        .collect()
}
