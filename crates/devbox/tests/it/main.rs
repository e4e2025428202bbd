//! Host keys and key files against the system's own ssh.
#![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
#![allow(missing_docs, reason = "the names of tests are their documentation")]
#![allow(clippy::print_stderr, reason = "a test that skips itself says so")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tinyclaw_devbox::{HostKey, KeyFault, KeyFile, Kind, Route};
use tinyclaw_testkit::sshd::Sshd;

mod failures;

fn route(sshd: &Sshd, dir: &Path) -> Route {
    Route {
        name: "box".parse().unwrap(),
        host: format!("127.0.0.1:{}", sshd.port()).parse().unwrap(),
        user: sshd.user().parse().unwrap(),
        key: sshd.key(),
        config: None,
        known_hosts: dir.join("known"),
        cert_command: None,
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

/// In a network of its own, which only root can have: nobody answers at one port of it, and there is no way to a part of it.
#[test]
fn a_machine_that_is_silent_and_one_to_which_there_is_no_way_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sshd) = Sshd::start("a_machine_that_is_silent", dir.path()) else { return };
    let setup = "ip link set lo up && iptables -A INPUT -p tcp -j DROP && ip route add unreachable 10.9.8.0/24";
    let in_a_network = |route: &Route, what: &str| {
        let script = format!("{setup} || exit 77; {what}");
        std::process::Command::new("unshare")
            .args(["--net", "sh", "-c", &script, "sh"])
            .args(route.arguments("exit 0"))
            .env("LC_ALL", "C")
            .stdin(std::process::Stdio::null())
            .output()
    };
    let mut route = route(&sshd, dir.path());
    let made = in_a_network(&route, "exit 0");
    if !made.is_ok_and(|it| it.status.success()) {
        eprintln!("a_machine_that_is_silent is skipped: no network of its own can be had here");
        return;
    }
    for (host, kind) in [("10.9.8.1", Kind::NoRoute), ("127.0.0.1:7", Kind::Silent)] {
        route.host = host.parse().unwrap();
        let output = in_a_network(&route, "exec ssh \"$@\"").unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let said =
            tinyclaw_devbox::Said { stderr: &stderr, stdout: "", code: output.status.code() };
        assert_eq!(tinyclaw_devbox::Trouble::of(&route, &said).kind, kind, "{stderr}");
    }
}

#[tokio::test]
async fn a_user_without_a_shell_and_a_server_without_sessions_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    for (more, kind) in [
        ("ForceCommand echo 'This account is currently not available.'; exit 1", Kind::NoShell),
        ("ForceCommand internal-sftp", Kind::NoShell),
        ("MaxSessions 0", Kind::NoSession),
    ] {
        let Some(sshd) = Sshd::start_with("a_user_without_a_shell", dir.path(), more) else {
            return;
        };
        let route = route(&sshd, dir.path());
        let key: HostKey = sshd.host_key().parse().unwrap();
        std::fs::write(&route.known_hosts, key.known_hosts(&route.name)).unwrap();
        assert_eq!(trouble(&route), kind, "{more}");
    }
}

/// The user's key alone is worth nothing there; what a signer says of it is, for as long as the signer says.
#[tokio::test]
async fn a_certificate_is_made_for_each_dial_and_an_expired_one_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let keygen = |args: &[&str]| {
        let made = std::process::Command::new("ssh-keygen").args(args).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let more = format!("TrustedUserCAKeys {}\nAuthorizedKeysFile none", at("ca.pub"));
    if std::fs::exists("/usr/bin/ssh-keygen").is_ok_and(|it| !it) {
        eprintln!(
            "a_certificate_is_made_for_each_dial is skipped: there is no /usr/bin/ssh-keygen"
        );
        return;
    }
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &at("ca")]);
    let Some(sshd) = Sshd::start_with("a_certificate_is_made", dir.path(), &more) else { return };
    let signer = dir.path().join("sign");
    let sign = |valid: &str| {
        let script = format!(
            "#!/bin/sh\nset -eu\ncp \"$4.pub\" {0}.pub\n/usr/bin/ssh-keygen -q -s {1} -I \"$1\" -n {2} -V {valid} {0}.pub\ncat {0}-cert.pub\n",
            at("signed"),
            at("ca"),
            sshd.user(),
        );
        std::fs::write(&signer, script).unwrap();
        std::fs::set_permissions(&signer, std::fs::Permissions::from_mode(0o700)).unwrap();
    };
    let key: HostKey = sshd.host_key().parse().unwrap();
    let plain = route(&sshd, dir.path());
    std::fs::write(&plain.known_hosts, key.known_hosts(&plain.name)).unwrap();
    assert_eq!(trouble(&plain), Kind::NotLetIn);
    let route = Route { cert_command: Some(format!("/bin/sh {}", signer.display())), ..plain };
    sign("-5m:+5m");
    route.certify().await.unwrap();
    assert_eq!(run(&route, "exit 7").0, Some(7), "it runs there");
    sign("20200101:20200102");
    route.certify().await.unwrap();
    assert_eq!(trouble(&route), Kind::NotLetIn);
    std::fs::write(&signer, "echo Welcome").unwrap();
    assert_eq!(route.certify().await.unwrap_err().kind, Kind::NoCertificate);
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
