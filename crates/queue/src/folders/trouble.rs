//! Lanes that could not be worked on for an error of the disk: which file, why, and when it is tried again.
//!
//! One file that cannot be read costs its own lane and nobody else's. The lane is left alone for a while, twice as long
//! after each attempt; a file that stays unreadable goes to quarantine by its name, for which nobody has to read it.
//! What is the machine's own trouble (no descriptor left, no memory) says nothing about the file and never moves it.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::{ClaimError, Side, Trouble};

/// A file that could not be read so often is put aside. With the pauses between, that is 15 s at the default sweep.
const TRIES_MAX: u32 = 5;
/// The longest pause is so many sweeps.
const PAUSE_SWEEPS_MAX: u32 = 64;

#[derive(Debug, Default)]
pub(super) struct Troubles {
    by_lane: BTreeMap<(u8, String), Known>,
}

#[derive(Debug)]
struct Known {
    why: String,
    /// The file that cannot be read, if that is what failed.
    unread: Option<String>,
    /// Whether we took it up ourselves, so that nobody died of it.
    is_ours: bool,
    tries: u32,
    again: Instant,
}

impl Troubles {
    /// A lane could not be taken. It is left alone until it is tried again.
    pub(super) fn add(&mut self, side: Side, lane: &str, err: &ClaimError, sweep_every: Duration) {
        let why = whole(err);
        let known = self.by_lane.entry((side as u8, lane.to_owned())).or_insert_with(|| Known {
            why: String::new(),
            unread: None,
            is_ours: false,
            tries: 0,
            again: Instant::now(),
        });
        let is_news = known.why != why;
        known.tries = known.tries.saturating_add(1);
        let pause = 1_u32.checked_shl(known.tries - 1).unwrap_or(u32::MAX).min(PAUSE_SWEEPS_MAX);
        known.again = Instant::now() + sweep_every * pause;
        if is_news {
            tracing::error!(lane, "lane {lane} waits, and the others go on: {why}");
            known.why = why;
        }
    }

    /// A file could not be read. Returns whether it has been tried often enough to be put aside.
    pub(super) fn unread(
        &mut self,
        side: Side,
        lane: &str,
        name: &str,
        err: &io::Error,
        is_ours: bool,
    ) -> bool {
        let known = self.by_lane.entry((side as u8, lane.to_owned())).or_insert_with(|| Known {
            why: String::new(),
            unread: None,
            is_ours,
            tries: 0,
            again: Instant::now(),
        });
        if known.unread.as_deref() != Some(name) {
            known.unread = Some(name.to_owned());
            known.is_ours = is_ours;
            known.tries = 0;
        }
        is_of_the_file(err) && known.tries + 1 >= TRIES_MAX
    }

    /// Whether a file lies where it is worked on because we put it there and could not read it then.
    pub(super) fn is_ours(&self, side: Side, lane: &str, name: &str) -> bool {
        let known = self.by_lane.get(&(side as u8, lane.to_owned()));
        known.is_some_and(|it| it.is_ours && it.unread.as_deref() == Some(name))
    }

    /// The lane could be worked on.
    pub(super) fn end(&mut self, side: Side, lane: &str) {
        if !self.by_lane.is_empty() {
            self.by_lane.remove(&(side as u8, lane.to_owned()));
        }
    }

    /// Whether a lane is to be left alone for now.
    pub(super) fn holds(&self, side: Side, lane: &str) -> bool {
        !self.by_lane.is_empty()
            && self
                .by_lane
                .get(&(side as u8, lane.to_owned()))
                .is_some_and(|it| Instant::now() < it.again)
    }

    /// The file of a lane that cannot be read, if that is its trouble.
    pub(super) fn unread_name(&self, side: Side, lane: &str) -> Option<String> {
        self.by_lane.get(&(side as u8, lane.to_owned()))?.unread.clone()
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<Trouble> {
        let told = |((side, lane), known): (&(u8, String), &Known)| Trouble {
            side: if *side == Side::Run as u8 { Side::Run } else { Side::Send },
            lane: lane.clone(),
            why: known.why.clone(),
            tries: known.tries,
        };
        self.by_lane.iter().filter(|it| it.1.tries > 0).map(told).collect()
    }
}

/// An error with its causes on one line.
fn whole(err: &ClaimError) -> String {
    let mut text = err.to_string();
    let mut cause = std::error::Error::source(err);
    while let Some(it) = cause {
        text.push_str(&format!(": {it}"));
        cause = it.source();
    }
    text
}

/// Whether an error is of the file, and not of the process that wants to read it.
fn is_of_the_file(err: &io::Error) -> bool {
    let ours =
        [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EINTR, Errno::EAGAIN];
    !err.raw_os_error().is_some_and(|it| ours.contains(&Errno::from_raw(it)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn of(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[test]
    fn only_a_file_that_stays_unreadable_by_its_own_fault_is_put_aside() {
        let mut troubles = Troubles::default();
        for (errno, goes) in [(Errno::EIO, true), (Errno::EMFILE, false)] {
            let mut tries = 0;
            while tries < 20 && !troubles.unread(Side::Run, "7", "a.json", &of(errno), true) {
                let source = Fault::of(of(errno));
                let err = ClaimError::Read { name: "a.json".to_owned(), source };
                troubles.add(Side::Run, "7", &err, Duration::ZERO);
                tries += 1;
            }
            assert_eq!(tries, if goes { TRIES_MAX - 1 } else { 20 }, "{errno}");
            assert!(troubles.is_ours(Side::Run, "7", "a.json"));
            troubles.end(Side::Run, "7");
            assert_eq!(troubles.list(), []);
        }
    }

    #[test]
    fn a_lane_in_trouble_is_left_alone_longer_each_time_and_named() {
        let mut troubles = Troubles::default();
        for tries in 1..40 {
            let source = Fault::of(of(Errno::EIO));
            let err = ClaimError::Read { name: "a.json".to_owned(), source };
            troubles.add(Side::Send, "7", &err, Duration::from_secs(1));
            assert!(troubles.holds(Side::Send, "7") && !troubles.holds(Side::Run, "7"));
            let told = troubles.list();
            assert_eq!((told.len(), told[0].tries), (1, tries));
            assert_eq!(told[0].why, "cannot read message a.json: Input/output error (os error 5)");
        }
    }
}
