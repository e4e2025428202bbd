//! Facts about this process: what the clock says, and that nobody may read its memory.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970. A clock before that reads as 0.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps other processes of the same user from reading this one's memory, environment and descriptors through
/// `/proc` or a debugger, and the kernel from dumping its core. For every service that holds a secret; before it reads
/// the secret.
pub fn not_dumpable() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_asked_for_it_cannot_be_dumped() {
        not_dumpable().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}
