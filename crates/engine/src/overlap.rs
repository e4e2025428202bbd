//! How two folders lie to each other, by what they are and not by what they are called: a link, a bind mount or `..` in a
//! path makes no difference.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How one folder lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Neither holds the other.
    Apart,
    /// They are one.
    Same,
    /// The first lies in the second.
    Inside,
    /// The first holds the second.
    Around,
}

/// How the first folder lies to the second. Where one of them is not there, by their names alone.
pub fn overlap(one: &Path, other: &Path) -> Overlap {
    by_identity(one, other).unwrap_or_else(|_| by_name(one, other))
}

fn by_identity(one: &Path, other: &Path) -> io::Result<Overlap> {
    let id = |it: Metadata| (it.dev(), it.ino());
    let (one, other) = (one.canonicalize()?, other.canonicalize()?);
    let (first, second) = (id(one.metadata()?), id(other.metadata()?));
    if first == second {
        return Ok(Overlap::Same);
    }
    let lies_in = |path: &Path, wanted| {
        path.ancestors().skip(1).any(|it| it.metadata().is_ok_and(|it| id(it) == wanted))
    };
    Ok(if lies_in(&one, second) {
        Overlap::Inside
    } else if lies_in(&other, first) {
        Overlap::Around
    } else {
        Overlap::Apart
    })
}

fn by_name(one: &Path, other: &Path) -> Overlap {
    let there = |it: &Path| it.canonicalize().unwrap_or_else(|_| it.to_owned());
    let (one, other) = (there(one), there(other));
    if one == other {
        Overlap::Same
    } else if one.starts_with(&other) {
        Overlap::Inside
    } else if other.starts_with(&one) {
        Overlap::Around
    } else {
        Overlap::Apart
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use super::*;

    #[test]
    fn folders_are_told_apart_by_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = |it: &str| dir.path().join(it);
        for it in ["state/queue", "work/7", "work/70"] {
            std::fs::create_dir_all(path(it)).unwrap();
        }
        std::os::unix::fs::symlink(path("state/queue"), path("work/site")).unwrap();
        for (one, other, wanted) in [
            ("work/7", "state", Overlap::Apart),
            ("work/7", "work/70", Overlap::Apart),
            ("work/site", "state", Overlap::Inside),
            ("work/site", "state/queue", Overlap::Same),
            ("work/7/../../state", "work/site", Overlap::Around),
            ("work", "work/7", Overlap::Around),
            ("work/gone/deep", "work/gone", Overlap::Inside),
            ("work/gone", "work/gone/deep", Overlap::Around),
            ("work/gone", "work/gone", Overlap::Same),
        ] {
            assert_eq!(overlap(&path(one), &path(other)), wanted, "{one} {other}");
        }
    }
}
