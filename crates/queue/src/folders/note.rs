//! The note in a lane's lock file: under which names the next owner has to look, whatever it has heard.
//!
//! News reach claimers late, out of order or not at all, so nobody can tell from its own picture whether the lane's last
//! owner left something behind. The note can: it names every place where the message in hand may be at any moment of
//! its owner's work, both names of one that is just moved back, and what an earlier note named and still lies there.
//! It is written by whoever holds the lane, before the move it speaks of, and never names only what is not there.

use tinyclaw_disk::NOTE_BYTES_MAX;

use crate::name;

/// The names in a lane's note, the most important first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Note {
    names: Vec<String>,
}

/// More cannot be: the two names of the message in hand, and a heartbeat that was moved back before it.
const NAMES_MAX: usize = 4;
const _: () = assert!(NAMES_MAX * (name::NAME_BYTES_MAX + 1) < NOTE_BYTES_MAX);

impl Note {
    /// The note that stands in a lane's file. What is no name of this lane is passed over.
    pub(super) fn parse(text: &str, lane: &str) -> Note {
        let is_of = |it: &&str| name::parts(it).is_some_and(|it| it.lane == lane);
        Note { names: text.split(' ').filter(is_of).take(NAMES_MAX).map(str::to_owned).collect() }
    }

    /// These names, and then those of the other note that are not among them.
    pub(super) fn of<'a>(first: &[&'a str], rest: impl IntoIterator<Item = &'a str>) -> Note {
        let mut names: Vec<&str> = first.to_vec();
        for it in rest {
            if !names.contains(&it) {
                names.push(it);
            }
        }
        Note { names: names.into_iter().take(NAMES_MAX).map(str::to_owned).collect() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_names_nothing_twice_or_of_another_lane() {
        let (a, b) = (
            "0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-1.json",
            "0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-1~5.json",
        );
        let other = "0-01ARZ3NDEKTSV4RRFFQ69G5FAV~8~tg-1.json";
        let note = Note::of(&[a, b], [a]);
        assert_eq!(note.to_string(), format!("{a} {b}"));
        assert_eq!(Note::parse(&note.to_string(), "7"), note);
        assert_eq!(Note::parse(&format!("{other} torn {b}"), "7").names().collect::<Vec<_>>(), [b]);
        assert_eq!(Note::parse("", "7"), Note::default());
    }
}
