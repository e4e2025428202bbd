//! Processes: whom an agent can signal and look into, and what it can leave behind.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use tinyclaw_e2e::processes_of;
use tinyclaw_testkit::hostile::Act;

use crate::den::{Den, Verdict, has_perl, has_scopes};

#[test]
fn the_processor_is_not_signalled() {
    if !has_scopes("the_processor_is_not_signalled") {
        return;
    }
    let mut den = Den::open();
    den.run("7", "sleep 60 & kill -0 $! && kill $!").is_done();
    den.run("7", "kill -0 $PROCESSOR").is_refused();
    den.run("7", "kill -STOP $PROCESSOR").is_refused();
    // Everybody that it may: its own Claude, and nobody else.
    let key = den.send("7", &[Act::Run("kill -KILL -1".to_owned())]);
    den.is_given_up(&key);
    den.run("8", "kill -0 $PPID").is_done();
    den.stop();
}

#[test]
fn the_processors_secrets_are_not_in_reach() {
    let mut den = Den::open();
    den.run("7", "head -c 1 /proc/self/environ && ls /proc/$CLAUDE_PID/fd").is_done();
    for script in [
        "cat /proc/$PROCESSOR/environ",
        "head -c 1 /proc/$PROCESSOR/mem",
        "ls /proc/$PROCESSOR/fd",
        "ls /proc/$PROCESSOR/cwd/",
        "ls /proc/$PROCESSOR/root/",
    ] {
        den.run("7", script).is_refused();
    }
}

#[test]
fn another_desks_claude_is_not_reached() {
    if !has_scopes("another_desks_claude_is_not_reached") {
        return;
    }
    let mut den = Den::open();
    let other = den.run("8", "echo $CLAUDE_PID").out;
    let other = other.trim();
    for script in [
        format!("kill -0 {other}"),
        format!("cat /proc/{other}/environ"),
        format!("head -c 1 /proc/{other}/mem"),
        format!("cat /proc/{other}/fd/1"),
        format!("echo forged > /proc/{other}/fd/0"),
        format!("ls /proc/{other}/cwd/"),
    ] {
        den.run("7", &script).is_refused();
    }
    assert_eq!(den.run("8", "echo $CLAUDE_PID").out.trim(), other, "it lives");
}

#[test]
fn an_abstract_socket_of_somebody_else_is_not_connected_to() {
    let case = "an_abstract_socket_of_somebody_else_is_not_connected_to";
    if !has_scopes(case) || !has_perl(case) {
        return;
    }
    let mut den = Den::open();
    let name = format!("tinyclaw-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("name");
    let _listener = UnixListener::bind_addr(&address).expect("socket");
    let perl = |script: &str| format!("perl -MSocket -e '{script}'");
    let connect = |name: &str| {
        format!(
            "socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
             connect(S, pack_sockaddr_un(\"\\0{name}\")) or die \"$!\\n\";"
        )
    };
    let own = "socket(L, AF_UNIX, SOCK_STREAM, 0) or die; \
               bind(L, pack_sockaddr_un(\"\\0own-$$\")) or die; listen(L, 1) or die;";
    den.run("7", &perl(&format!("{own} {}", connect("own-$$")))).is_done();
    den.run("7", &perl(&connect(&name))).is_refused();
}

#[test]
fn what_an_agent_leaves_running_ends_with_its_office() {
    let mut den = Den::open();
    den.leave("7", "setsid sh -c 'echo $$ > left; exec sleep 600' &");
    den.run("7", "while ! [ -s left ]; do sleep 0.01; done; kill -0 $(cat left)").is_done();
    den.stop();
    is_empty_within(&den, Duration::from_secs(20));
}

/// Killed one by one sixty of them outlived their office by 40 s.
#[test]
fn processes_that_fork_without_end_are_gone_in_a_moment() {
    if !has_scopes("processes_that_fork_without_end_are_gone_in_a_moment") {
        return;
    }
    let mut den = Den::open();
    den.leave("7", "trap '' TERM HUP INT\nhop() { hop & }\nfor i in $(seq 200); do hop & done");
    den.run("7", "true").is_done();
    den.stop();
    // Two seconds of these are what everybody gets to leave by himself.
    is_empty_within(&den, Duration::from_secs(15));
}

#[track_caller]
fn is_empty_within(den: &Den, time: Duration) {
    let until = Instant::now() + time;
    loop {
        let left = processes_of(&den.path(""));
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "still there after {time:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
