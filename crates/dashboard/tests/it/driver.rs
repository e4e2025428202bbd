//! The browser's driver, for every crate that looks at a page: installed once, outside the project, as its lock says.

use std::path::PathBuf;
use std::process::Command;

/// Where the browser's driver is kept between runs, outside the project.
fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("tinyclaw-browser-tests")
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|it| it.status.success())
}

/// The driver, installed when it is not there yet; or why it cannot be had.
pub(crate) fn driver() -> Result<PathBuf, String> {
    for program in ["chromium", "node", "npm"] {
        if !is_there(program) {
            return Err(format!("{program} is not installed"));
        }
    }
    let cache = cache();
    // What is installed is what the lock names, by hash; another lock is another installation.
    let lock = include_bytes!("../browser/package-lock.json");
    let installed = cache.join("node_modules/.installed-lock.json");
    if std::fs::read(&installed).ok().as_deref() != Some(lock) {
        let lay = |name: &str, bytes: &[u8]| std::fs::write(cache.join(name), bytes);
        std::fs::create_dir_all(&cache)
            .and_then(|()| lay("package.json", include_bytes!("../browser/package.json")))
            .and_then(|()| lay("package-lock.json", lock))
            .map_err(|it| it.to_string())?;
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let npm = Command::new("npm").args(install).current_dir(&cache).output();
        let npm = npm.map_err(|it| it.to_string())?;
        if !npm.status.success() {
            let why = String::from_utf8_lossy(&npm.stderr).into_owned();
            return Err(format!("playwright-core and axe-core cannot be installed: {why}"));
        }
        std::fs::write(&installed, lock).map_err(|it| it.to_string())?;
    }
    Ok(cache)
}
