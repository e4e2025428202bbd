//! Names of files that strangers chose: people who send one, other machines that have one. Whatever it was, what is kept
//! under is a name in one folder.

/// A name is shortened to this.
const NAME_BYTES_MAX: usize = 100;

/// A name that is one, whatever it was: no folders, no leading dot, no control characters, not too long.
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .map(|it| if it.is_alphanumeric() || "._-+ ()".contains(it) { it } else { '_' })
        .collect();
    let clean = clean.trim().trim_start_matches('.').trim_start_matches('-');
    let mut out = clean.to_owned();
    if out.len() > NAME_BYTES_MAX {
        // The extension says what it is.
        let extension =
            out.rfind('.').filter(|it| out.len() - it <= 12).map(|it| out[it..].to_owned());
        let extension = extension.unwrap_or_default();
        out.truncate(out.floor_char_boundary(NAME_BYTES_MAX - extension.len()));
        out.push_str(&extension);
    }
    if out.is_empty() { "file".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_stranger_is_only_a_name() {
        for (name, safe) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\x.exe", "x.exe"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a\nb\0c.txt", "a_b_c.txt"),
            ("Übersicht (1).md", "Übersicht (1).md"),
            ("///", "file"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
        let long = safe_name(&format!("{}.pdf", "ä".repeat(300)));
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with(".pdf"), "{long}");
    }
}
