//! The operator's terminal: an agent neither types there nor reads there.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::den::{Den, Verdict};

#[test]
fn claude_has_a_session_of_its_own_and_no_terminal() {
    let mut den = Den::open();
    // The sixth number: `pid (name) state parent group session …`.
    let ran = den.run("7", "set -- $(cat /proc/$CLAUDE_PID/stat); [ \"$6\" = \"$CLAUDE_PID\" ]");
    ran.is_done();
    let ran = den.run("7", ": < /dev/tty");
    ran.is_refused();
}

#[test]
fn a_terminal_of_the_same_user_is_neither_read_nor_written() {
    let mut den = Den::open();
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("terminal");
    grantpt(&ours).expect("terminal");
    unlockpt(&ours).expect("terminal");
    let name = ptsname(&ours, Vec::new()).expect("name").into_string().expect("name");
    den.run("7", "echo x > /dev/null && head -c 1 /dev/zero > /dev/null").is_done();
    den.run("7", &format!("echo 'rm -r *' > {name}")).is_refused();
    den.run("7", &format!(": < {name}")).is_refused();
}
