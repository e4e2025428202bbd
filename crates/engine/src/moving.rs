//! What goes along when a thread moves to another place: what git has of its directory, what is changed there besides, and the
//! session. What a stranger says of it is looked at here.

/// The longest name of a branch that is taken along.
const BRANCH_BYTES_MAX: usize = 200;

/// What goes along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parcel {
    /// What git has; none where the directory is no repository with a commit.
    pub git: Option<GitState>,
    /// The session's transcript; empty where there is none.
    pub transcript: Vec<u8>,
}

/// A directory as git has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitState {
    /// The commit that is checked out.
    pub head: String,
    /// Its branch, if it is on one.
    pub branch: Option<String>,
    /// How many files are changed beside it. Ignored ones do not count, and do not go along.
    pub changed: u64,
    /// HEAD and a commit of what is changed, as `git bundle` makes it.
    pub bundle: Vec<u8>,
}

impl Parcel {
    /// How much is sent.
    pub fn bytes(&self) -> u64 {
        let bundle = self.git.as_ref().map_or(0, |it| it.bundle.len());
        (bundle + self.transcript.len()) as u64
    }
}

/// Whether a word can be a commit.
pub(crate) fn is_commit(word: &str) -> bool {
    matches!(word.len(), 40 | 64) && word.bytes().all(|it| it.is_ascii_hexdigit())
}

/// Whether a word can be a branch: one that git takes, and that means nothing else anywhere.
pub(crate) fn is_branch(word: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"._/-".contains(&it);
    !word.is_empty()
        && word.len() <= BRANCH_BYTES_MAX
        && word.bytes().all(is_plain)
        && !word.starts_with(['-', '.', '/'])
        && !word.ends_with(['.', '/'])
        && !["..", "//", "/.", ".lock"].iter().any(|it| word.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_branches_of_strangers_are_plain_words() {
        assert!(is_commit(&"a1".repeat(20)) && is_commit(&"a1".repeat(32)));
        for bad in ["", "HEAD", "a1", &"g1".repeat(20)] {
            assert!(!is_commit(bad), "{bad:?}");
        }
        assert!(is_branch("main") && is_branch("feature/auth-2"));
        for bad in ["", "-f", "../x", "a..b", "a b", "/a", "a/", "a\tb", ".a", "a/.b", "x.lock"] {
            assert!(!is_branch(bad), "{bad:?}");
        }
    }
}
