//! What no program below a leash may ask of the kernel: to get into another process that runs already.
//!
//! Landlock keeps an agent out of processes beyond its own fence, but within it a tool could attach to its own Claude, or
//! take Claude's sockets, and answer Claude's permission questions itself. So nobody there attaches to a process, writes
//! into another one's memory or takes its descriptors. To run a program under a debugger stays possible: that one asks
//! for it (`PTRACE_TRACEME`).

use seccompiler::{apply_filter, sock_filter};

/// Where in the kernel's description of a call things stand.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the first argument; both architectures are little-endian.
const FIRST: u32 = 16;

const PTRACE_ATTACH: u32 = 16;
const PTRACE_SEIZE: u32 = 0x4206;

/// Numbers of `ptrace`, `process_vm_writev` and `pidfd_getfd`.
struct Calls {
    architecture: u32,
    ptrace: u32,
    write: u32,
    take: u32,
}

#[cfg(target_arch = "x86_64")]
const NATIVE: Calls = Calls { architecture: 0xC000_003E, ptrace: 101, write: 311, take: 438 };
#[cfg(target_arch = "x86_64")]
const COMPATIBLE: Calls = Calls { architecture: 0x4000_0003, ptrace: 26, write: 348, take: 438 };
#[cfg(target_arch = "aarch64")]
const NATIVE: Calls = Calls { architecture: 0xC000_00B7, ptrace: 117, write: 271, take: 438 };
#[cfg(target_arch = "aarch64")]
const COMPATIBLE: Calls = Calls { architecture: 0x4000_0028, ptrace: 26, write: 377, take: 438 };
/// Numbers from here on are of x32, a third way to call an x86-64 kernel, which nobody uses.
const X32: u32 = 0x4000_0000;

const ALLOW: u32 = 0x7FFF_0000;
const REFUSE: u32 = 0x0005_0000 | nix::libc::EPERM as u32;

/// Refuses these calls to this process and all that it becomes and starts, for good.
pub(super) fn refuse_intrusion() -> Result<(), seccompiler::Error> {
    apply_filter(&filter())
}

/// The filter, as the kernel reads it: jumps count the instructions to skip.
fn filter() -> Vec<sock_filter> {
    let load = |at| instruction(0x20, 0, 0, at);
    let equal = |value, yes, no| instruction(0x15, yes, no, value);
    let at_least = |value, yes, no| instruction(0x35, yes, no, value);
    let end = |verdict| instruction(0x06, 0, 0, verdict);
    vec![
        load(ARCHITECTURE),
        equal(NATIVE.architecture, 5, 0),
        // Programs of the narrower architecture have no debugger here at all. Of a third one nothing is known.
        equal(COMPATIBLE.architecture, 0, 12),
        load(NUMBER),
        equal(COMPATIBLE.ptrace, 10, 0),
        equal(COMPATIBLE.write, 9, 0),
        equal(COMPATIBLE.take, 8, 9),
        load(NUMBER),
        at_least(X32, 6, 0),
        equal(NATIVE.write, 5, 0),
        equal(NATIVE.take, 4, 0),
        equal(NATIVE.ptrace, 0, 4),
        load(FIRST),
        equal(PTRACE_ATTACH, 1, 0),
        equal(PTRACE_SEIZE, 0, 1),
        end(REFUSE),
        end(ALLOW),
    ]
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
