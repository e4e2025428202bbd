//! Processes: whom an agent can signal and look into, and what it can leave behind.

use tinyclaw_e2e::processes_of;

use crate::den::{Den, Verdict, has_scopes};

#[test]
fn the_processor_is_not_signalled() {
    if !has_scopes("the_processor_is_not_signalled") {
        return;
    }
    let mut den = Den::open();
    den.run("7", "sleep 60 & kill -0 $! && kill $!").is_done();
    den.run("7", "kill -0 $PROCESSOR").is_refused();
    den.run("7", "kill -STOP $PROCESSOR").is_refused();
}

#[test]
fn what_an_agent_leaves_running_ends_with_its_office() {
    let mut den = Den::open();
    den.leave("7", "setsid sh -c 'echo $$ > left; exec sleep 600' &");
    den.run("7", "while ! [ -s left ]; do sleep 0.01; done; kill -0 $(cat left)").is_done();
    den.stop();
    assert_eq!(processes_of(&den.path("")), [] as [String; 0]);
}
