//! What the command line says about itself.

use crate::Office;

#[test]
fn help_names_every_exit_code() {
    let help = Office::closed().run(&["help"]).ok();
    for it in ["0 done", "1 it went wrong", "2 the command line", "3 `send"] {
        assert!(help.contains(it), "{help}");
    }
}

#[test]
fn shells_complete_what_the_help_lists() {
    let office = Office::closed();
    for shell in ["bash", "zsh", "fish"] {
        let text = office.run(&["completions", shell]).ok();
        assert!(text.contains("healthcheck") && text.contains("queue"), "{shell}");
    }
}

#[test]
fn the_demo_engine_is_the_sibling_binary() {
    let office = Office::closed();
    let said = office.run(&["demo-engine", "--version"]);
    assert!(format!("{}{}", said.out, said.err).contains("TinyClaw demo engine"), "{said:?}");
}

#[test]
fn what_is_not_understood_exits_2() {
    let office = Office::closed();
    for line in [&["sned"][..], &["queue", "ls", "--frobnicate"], &["send", "--model", "gpt", "x"]]
    {
        assert_eq!(office.run(line).code, Some(2), "{line:?}");
    }
}

#[test]
fn devboxes_are_listed_and_what_is_no_order_for_them_says_why() {
    let office = Office::closed();
    assert!(office.run(&["devbox"]).ok().contains("No devboxes yet"));
    assert_eq!(office.run(&["devbox", "list", "--json"]).ok().trim(), "{\n  \"devboxes\": []\n}");
    for (line, says) in [
        (&["devbox", "dance"][..], "There is no `/devbox dance`"),
        (&["devbox", "add", "api", "a;b"], "`a;b` is no host"),
        (&["devbox", "add", "api", "10.0.0.7", "--fingerprint", "abc"], "is no fingerprint"),
    ] {
        let said = office.run(line);
        assert!(said.code == Some(2) && said.err.contains(says), "{line:?}: {said:?}");
    }
    // Nobody sits there who could look at the key.
    let said = office.run(&["devbox", "add", "api", "10.0.0.7"]);
    assert!(said.code == Some(1) && said.err.contains("--fingerprint"), "{said:?}");
}
