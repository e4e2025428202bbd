use std::fs;
use std::path::Path;

use tinyclaw_service::settings::{markdown, rows};

const BEGIN: &str = "<!-- printed from the code: begin -->\n\n";
const END: &str = "<!-- printed from the code: end -->";

/// What `.env.example` invites people to set does something.
#[test]
fn every_variable_of_the_example_is_a_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    let text = fs::read_to_string(path).unwrap();
    let known: Vec<String> = rows().iter().flat_map(|it| it.variables()).collect();
    let names = text.lines().filter_map(|it| it.split_once('=')).map(|(name, _)| name);
    let names: Vec<&str> = names.filter(|it| !it.starts_with('#')).collect();
    assert!(names.len() > 3);
    for name in names {
        assert!(known.iter().any(|it| it == name), "{name} is in no row of the table");
    }
}

/// `docs/SETTINGS.md` says what the code does. `UPDATE_EXPECT=1` prints it anew.
#[test]
fn the_printed_table_is_the_one_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SETTINGS.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = text.find(BEGIN).expect("the marker of the beginning") + BEGIN.len();
    let end = text.find(END).expect("the marker of the end");
    let fresh = markdown();
    if text[begin..end] == fresh {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{}{fresh}{}", &text[..begin], &text[end..])).unwrap();
        return;
    }
    for (ours, theirs) in fresh.lines().zip(text[begin..end].lines()) {
        assert_eq!(ours, theirs, "docs/SETTINGS.md differs; UPDATE_EXPECT=1 prints it anew");
    }
    panic!("docs/SETTINGS.md has more or fewer rows; UPDATE_EXPECT=1 prints it anew");
}
