//! What every program of ours answers when it is asked about itself, before it does anything.

use std::io::Write as _;

/// Answers `--version` and `--help`. True when it was asked one of them, and there is nothing else to do.
///
/// The usage begins with the program's name.
pub fn was_asked(usage: &str, version: &str) -> bool {
    let Some(told) = answer(std::env::args().nth(1).as_deref(), usage, version) else {
        return false;
    };
    // Whoever asked and went away does not need it.
    let _ = std::io::stdout().write_all(told.as_bytes());
    true
}

fn answer(word: Option<&str>, usage: &str, version: &str) -> Option<String> {
    let name = usage.split([':', ' ', '\n']).next().unwrap_or_default();
    match word {
        Some("--version" | "-V") => Some(format!("{name} {version}\n")),
        Some("--help" | "-h" | "help") => Some(usage.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_version_and_its_usage_and_nothing_else() {
        let usage = "tinyclaw-x: does x\n\n  tinyclaw-x    does it\n";
        assert_eq!(answer(Some("-V"), usage, "1.2").as_deref(), Some("tinyclaw-x 1.2\n"));
        assert_eq!(answer(Some("--help"), usage, "1.2").as_deref(), Some(usage));
        assert_eq!(answer(Some("serve"), usage, "1.2"), None);
        assert_eq!(answer(None, usage, "1.2"), None);
    }
}
