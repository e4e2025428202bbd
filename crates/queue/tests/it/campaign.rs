//! A short kill campaign with real processes; the long one is `--example torture`.

use std::path::PathBuf;
use std::process::Command;

/// The example that was built beside this test.
fn torture() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(|it| it.parent()).unwrap().join("examples/torture")
}

#[test]
fn campaign_fifty_kills() {
    let output = Command::new(torture()).args(["--kills", "50"]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("\"lost\":0,\"stolen\":0,\"reordered\":0"), "{report}");
}
