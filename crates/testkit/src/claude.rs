//! Where the real claude CLI is that tests run against: the pinned one, and no other that happens to lie there.

use std::path::PathBuf;

/// What `scripts/install-claude.sh` reads, too.
const PINS: &str = include_str!("../../../scripts/claude.pins");

/// The version that `scripts/install-claude.sh` installs.
pub fn pinned() -> &'static str {
    PINS.lines().find_map(|it| it.strip_prefix("pinned ")).unwrap_or_default()
}

/// The program, or why a test has to do without it. `TINYCLAW_TEST_CLAUDE` names another one, to see what an older or a
/// newer one makes of all this.
pub fn program() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("TINYCLAW_TEST_CLAUDE") {
        return Ok(path.into());
    }
    let cache = std::env::var_os("TINYCLAW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/tinyclaw")));
    let program = cache.unwrap_or_default().join("claude").join(pinned()).join("claude");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("no claude {}; run scripts/install-claude.sh", pinned()))
}
