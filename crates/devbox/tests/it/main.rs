//! Host keys and key files against the system's own ssh.
#![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
#![allow(missing_docs, reason = "the names of tests are their documentation")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tinyclaw_devbox::{HostKey, KeyFault, KeyFile, Kind, Route};
use tinyclaw_testkit::sshd::Sshd;

fn route(sshd: &Sshd, dir: &Path) -> Route {
    Route {
        name: "box".parse().unwrap(),
        host: format!("127.0.0.1:{}", sshd.port()).parse().unwrap(),
        user: sshd.user().parse().unwrap(),
        key: sshd.key(),
        config: None,
        known_hosts: dir.join("known"),
    }
}

/// Runs a command there, and gives back what ssh said of it.
fn run(route: &Route, command: &str) -> (Option<i32>, String, String) {
    let output = std::process::Command::new("ssh")
        .args(route.arguments(command))
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn a_port_where_nobody_listens() -> (socket2::Socket, u16) {
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    held.bind(&any.into()).unwrap();
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    (held, port)
}

fn trouble(route: &Route) -> Kind {
    let (code, stdout, stderr) = run(route, "exit 0");
    let said = tinyclaw_devbox::Said { stderr: &stderr, stdout: &stdout, code };
    tinyclaw_devbox::Trouble::of(route, &said).kind
}

#[tokio::test]
async fn a_host_is_believed_once_its_key_was_approved_and_no_longer_than_it_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sshd) = Sshd::start("a_host_is_believed", dir.path()) else { return };
    let route = route(&sshd, dir.path());
    std::fs::write(&route.known_hosts, "").unwrap();
    assert_eq!(trouble(&route), Kind::KeyUnknown);
    let key = HostKey::learn(&route).await.unwrap();
    assert_eq!(key, sshd.host_key().parse().unwrap());
    assert_eq!(key.kind(), "ED25519");
    let shown = std::process::Command::new("ssh-keygen")
        .arg("-lf")
        .arg(sshd.key().with_file_name("host_key.pub"))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(key.fingerprint().unwrap().as_str()), "{shown}");
    std::fs::write(&route.known_hosts, key.known_hosts(&route.name)).unwrap();
    let (code, stdout, stderr) = run(&route, "echo $HOME");
    assert_eq!((code, stdout.trim()), (Some(0), dir.path().to_str().unwrap()), "{stderr}");
    sshd.change_host_key().unwrap();
    assert_eq!(trouble(&route), Kind::KeyChanged);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sshd) = Sshd::start("who_is_not_let_in_is_told_so", dir.path()) else { return };
    let route = Route { key: sshd.other_key(), ..route(&sshd, dir.path()) };
    let key = HostKey::learn(&route).await.unwrap();
    std::fs::write(&route.known_hosts, key.known_hosts(&route.name)).unwrap();
    assert_eq!(trouble(&route), Kind::NotLetIn);
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_one_that_speaks_no_ssh_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sshd) = Sshd::start("a_port_where_nobody_listens", dir.path()) else { return };
    let mut route = route(&sshd, dir.path());
    sshd.shut(true);
    assert_eq!(HostKey::learn(&route).await.unwrap_err().kind, Kind::NotSsh);
    // Held, so that nobody else listens there meanwhile.
    let (_held, port) = a_port_where_nobody_listens();
    route.host = format!("127.0.0.1:{port}").parse().unwrap();
    assert_eq!(HostKey::learn(&route).await.unwrap_err().kind, Kind::RefusesConnections);
    route.host = "nobody.invalid".parse().unwrap();
    assert_eq!(HostKey::learn(&route).await.unwrap_err().kind, Kind::Unresolved);
}

#[tokio::test]
async fn a_key_that_is_not_kept_well_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sshd) = Sshd::start("a_key_that_is_not_kept_well", dir.path()) else { return };
    let key = KeyFile::read(&sshd.key()).await.unwrap();
    assert!(key.public().starts_with("ssh-ed25519 AAAA"), "{}", key.public());
    let open = dir.path().join("open");
    std::fs::copy(sshd.key(), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(KeyFile::check(&open), Err(KeyFault::Open(open.clone())));
    let gone = dir.path().join("gone");
    assert_eq!(KeyFile::check(&gone), Err(KeyFault::Gone(gone.clone())));
    assert_eq!(KeyFile::check(dir.path()), Err(KeyFault::NotAFile(dir.path().to_owned())));
    let locked = dir.path().join("locked");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
        .arg(&locked)
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(KeyFile::read(&locked).await, Err(KeyFault::Locked(locked)));
    let text = dir.path().join("text");
    std::fs::write(&text, "no key").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(KeyFile::read(&text).await, Err(KeyFault::Locked(text)));
}
