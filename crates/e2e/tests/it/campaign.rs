//! A short kill campaign over the whole loop; the long one is `--example kills`.

use std::process::Command;

#[test]
fn campaign_fifty_kills_of_the_whole_loop() {
    let own = std::env::current_exe().expect("own program");
    let example = own.parent().and_then(|it| it.parent()).expect("folder").join("examples/kills");
    let output = Command::new(example).arg("50").output().expect("the example");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("\"lost\":0,\"askedAgain\":0,\"reordered\":0"), "{report}");
}
