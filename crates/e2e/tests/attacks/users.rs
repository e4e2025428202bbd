//! What one user may do to another where Landlock does not look: each attack succeeds between two agents that are one user,
//! as all are without a warden, and is refused between desks with users of their own.

use tinyclaw_engine::Landlock;

use crate::den::{Verdict, has_perl};
use crate::warden::{Agent, House};

/// An attack on somebody's process, files or socket: a script for `V` (a process of the victim's), `W` (its
/// folder) and `H` (a folder that everybody may write).
fn attack(case: &str, landlock: Landlock, prepare: &str, script: &str) {
    let Some(mut house) = House::open_with(case, landlock) else { return };
    let mut attacker = house.agent(7, "attacker");
    // The same user first: what is refused below is refused by the fence, not by a typing error.
    let mut same = house.agent(7, "victim");
    let against_same = with_victim(&house, &mut same, prepare, script);
    house.run(&mut attacker, &against_same).is_done();
    let mut other = house.agent(8, "victim");
    let against_other = with_victim(&house, &mut other, prepare, script);
    house.run(&mut attacker, &against_other).is_refused();
    let office =
        format!("V={} W='{}'\n{script}", house.office_pid(), house.path("state").display());
    if !script.contains("$W/") && !script.contains("$H/") {
        house.run(&mut attacker, &office).is_refused();
    }
}

/// The script with the victim's names, when the victim is ready for it.
fn with_victim(house: &House, victim: &mut Agent, prepare: &str, script: &str) -> String {
    let shared = house.path("shared").display().to_string();
    let pid = house.run(victim, &format!("H='{shared}'\n{prepare}\necho $PPID"));
    pid.is_done();
    let pid = pid.out.lines().last().unwrap_or_default().to_owned();
    format!("H='{shared}' V={pid} W='{}'\n{script}", victim.work.display())
}

macro_rules! attacks {
    ($($(#[$about:meta])* $name:ident: $landlock:ident, $prepare:expr, $script:expr;)*) => {
        $($(#[$about])* #[test] fn $name() {
            attack(stringify!($name), Landlock::$landlock, $prepare, $script);
        })*
    };
}

attacks! {
    /// A processor that may write no file stops.
    limits_of_another_desk_are_not_changed: Auto, "", "prlimit --pid $V --core=0:0";
    priorities_of_another_desk_are_not_changed: Auto, "", "renice -n 19 -p $V";
    processors_of_another_desk_are_not_chosen: Auto, "", "taskset -p $(taskset -p $V | sed 's/.*: //') $V";
    scheduling_of_another_desk_is_not_changed: Auto, "", "chrt --idle -p 0 $V";
    /// A state folder of mode 0 outlasts every restart.
    modes_of_another_desks_folder_are_not_changed: Auto, "", "chmod 700 \"$W\"";
    times_of_another_desks_folder_are_not_changed: Auto, "", "touch -d 2001-01-01 \"$W\"";
    another_desks_file_is_not_even_seen: Auto, "echo hush > note", "stat \"$W/note\"";
    // From here on with nothing but users between them.
    another_desks_file_is_not_read: Off, "echo hush > note", "cat \"$W/note\"";
    another_desks_folder_is_not_written: Off, "true", "echo forged > \"$W/forged\"";
    another_desks_process_is_not_signalled: Off, "", "kill -0 $V";
    another_desks_environment_is_not_read: Off, "", "cat /proc/$V/environ";
    another_desks_descriptors_are_not_opened: Off, "", "ls /proc/$V/fd/";
    another_desks_folder_is_not_reached_by_its_process: Off, "", "ls /proc/$V/cwd/";
}

/// In a folder that everybody may write, as `/tmp` is.
#[test]
fn a_socket_with_a_path_is_not_connected_to_from_another_desk() {
    let case = "a_socket_with_a_path_is_not_connected_to_from_another_desk";
    if !has_perl(case) {
        return;
    }
    let socket = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die;";
    let listen = format!(
        "{socket} bind(S, pack_sockaddr_un(\"$ARGV[0]\")) or die \"$!\\n\"; listen(S, 9) or die; \
         open(R, \">\", \"listens\"); sleep 600' \"$H/$PPID\" > /dev/null 2>&1 &\n\
         while ! [ -e listens ]; do sleep 0.01; done"
    );
    let connect =
        format!("{socket} connect(S, pack_sockaddr_un(\"$ARGV[0]\")) or die \"$!\\n\"' \"$H/$V\"");
    attack(case, Landlock::Off, &listen, &connect);
}

#[test]
fn a_desk_that_forks_without_end_leaves_room_for_others() {
    let case = "a_desk_that_forks_without_end_leaves_room_for_others";
    let Some(mut house) = House::open(case) else { return };
    let mut other = house.agent(8, "a");
    let mut agent = house.agent(7, "a");
    let ran = house.run(&mut agent, "i=0; while [ $i -lt 900 ]; do sleep 600 & i=$((i+1)); done");
    assert!(ran.code != 0 && ran.out.contains("fork"), "{ran:?}");
    if house.pids(7).len() < 500 {
        println!("skipped: {case}: the machine's own limit comes before the desk's");
        return;
    }
    assert!(house.pids(7).len() <= 600, "no more than its limit");
    house.run(&mut other, "for i in $(seq 50); do sleep 0.2 & done; wait; echo fine").is_done();
    house.end(7);
}
