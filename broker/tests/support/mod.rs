//! What the tests and the measurement share: a fake GitHub, keys made on the spot, and a broker
//! that is really a process, whose every word is searched for secrets when it ends.
#![allow(dead_code, reason = "each user takes what it needs")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]
#![allow(clippy::disallowed_methods, reason = "tests start processes and write their own files")]

pub mod git_server;
pub mod github;
pub mod process;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs openssl and expects it to succeed.
#[track_caller]
pub fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is needed to make keys");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An RSA key pair in `folder`: PKCS#1 private, mode 0600, and public.
pub fn rsa_key(folder: &Path) -> (PathBuf, String) {
    openssl(folder, "genrsa -traditional -out github-app.pem 2048");
    openssl(folder, "rsa -in github-app.pem -pubout -out public.pem");
    let key = folder.join("github-app.pem");
    mode(&key, 0o600);
    (key, std::fs::read_to_string(folder.join("public.pem")).unwrap())
}

/// Sets a file's mode.
pub fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
