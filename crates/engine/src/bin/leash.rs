//! `tinyclaw-leash`: holds one Claude, see [`tinyclaw_engine::leash`]. Started by the engine, not by people.

fn main() {
    std::process::exit(tinyclaw_engine::leash::run(std::env::args_os()));
}
