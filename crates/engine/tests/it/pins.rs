//! What `scripts/install-claude.sh` installs is what was tested, byte for byte.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tinyclaw_engine::PINNED_VERSION;
use tinyclaw_testkit::state::Place;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");

#[test]
fn the_pinned_version_is_the_one_that_is_installed() {
    assert_eq!(tinyclaw_testkit::claude::pinned(), PINNED_VERSION);
    let pins = std::fs::read_to_string(format!("{SCRIPTS}/claude.pins")).unwrap();
    let oldest = pins.lines().find_map(|it| it.strip_prefix("oldest ")).unwrap();
    for version in [PINNED_VERSION, oldest] {
        for platform in ["linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl"] {
            let line =
                pins.lines().find_map(|it| it.strip_prefix(&format!("{version} {platform} ")));
            let is_hash = |it: &str| it.len() == 64 && it.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(line.is_some_and(is_hash), "{version} {platform}: {line:?}");
        }
    }
}

/// A folder with the script, pins that say this of the package, and an `npm` that packs a program of its own.
fn house(place: &Place) -> PathBuf {
    let dir = place.path("scripts");
    std::fs::create_dir_all(dir.join("package")).unwrap();
    std::fs::copy(format!("{SCRIPTS}/install-claude.sh"), dir.join("install-claude.sh")).unwrap();
    let claude = dir.join("package/claude");
    std::fs::write(&claude, "#!/bin/sh\necho 9.9.9\n").unwrap();
    std::fs::set_permissions(&claude, std::fs::Permissions::from_mode(0o755)).unwrap();
    let pack =
        Command::new("tar").args(["-czf", "claude.tgz", "package"]).current_dir(&dir).status();
    assert!(pack.unwrap().success());
    std::fs::create_dir(dir.join("bin")).unwrap();
    let npm = dir.join("bin/npm");
    let archive = dir.join("claude.tgz").display().to_string();
    // npm pack --silent --pack-destination DIR PACKAGE
    std::fs::write(&npm, format!("#!/bin/sh\n[ \"$1\" = pack ] && cp {archive} \"$4\"\n")).unwrap();
    std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn pin(dir: &Path, hash: &str) {
    let lines: String = ["linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl"]
        .iter()
        .map(|it| format!("9.9.9 {it} {hash}\n"))
        .collect();
    std::fs::write(dir.join("claude.pins"), format!("pinned 9.9.9\n{lines}")).unwrap();
}

fn install(dir: &Path, args: &[&str]) -> Output {
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", dir.join("bin").display());
    let mut command = Command::new(dir.join("install-claude.sh"));
    command.args(args).env("PATH", path).env("TINYCLAW_TEST_CACHE", dir.join("cache"));
    command.output().unwrap()
}

#[test]
fn a_package_with_another_hash_is_refused_by_name_and_nothing_is_installed() {
    let place = Place::below(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = house(&place);
    pin(&dir, &"0".repeat(64));
    let said = install(&dir, &[]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{why}");
    assert!(why.contains("claude-code-linux-") && why.contains("@9.9.9 is not the one"), "{why}");
    assert!(!dir.join("cache/claude/9.9.9").exists(), "nothing is left");

    let hash = Command::new("sha256sum").arg(dir.join("claude.tgz")).output().unwrap();
    let hash = String::from_utf8_lossy(&hash.stdout).split(' ').next().unwrap().to_owned();
    pin(&dir, &hash);
    let said = install(&dir, &[]);
    let program = dir.join("cache/claude/9.9.9/claude");
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), program.display().to_string());
    assert!(program.is_file());
}

#[test]
fn a_version_without_a_hash_is_fetched_only_when_told_so() {
    let place = Place::below(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = house(&place);
    pin(&dir, &"0".repeat(64));
    let said = install(&dir, &["9.9.10"]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && why.contains("--any 9.9.10"), "{why}");
    assert!(!dir.join("cache/claude/9.9.10").exists());
    assert!(install(&dir, &["--any", "9.9.10"]).status.success());
    assert!(dir.join("cache/claude/9.9.10/claude").is_file());
}
