//! What agents have of the broker: git's credential helper, and under the name `gh` the shim before the real one. One
//! program under two names, because it is in the image for each.

mod credential;
mod gh;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|it| it == "gh") {
        gh::main()
    } else {
        credential::main()
    }
}
