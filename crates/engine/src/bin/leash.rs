//! `tinyclaw-leash`: holds one Claude, see [`tinyclaw_engine::leash`]; its words `hub` and `hold` are the far end of a link, see
//! [`tinyclaw_engine::link`]. Started by the engine, not by people.

fn main() {
    let code = tinyclaw_engine::link::run(std::env::args_os());
    let code = code.unwrap_or_else(|| tinyclaw_engine::leash::run(std::env::args_os()));
    std::process::exit(code);
}
