//! What a follower tells, whatever happens to the log between two looks.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests play the foreign hand that cuts and moves files"
)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::{Appender, Rotation};

const BIG: Rotation = Rotation { bytes_max: 1 << 40, segments_max: None, age_max: None };

/// A log in a folder of its own, and somebody who follows it.
struct Bench {
    dir: tempfile::TempDir,
    path: PathBuf,
    follower: Follower,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let follower = Follower::from_start(&path).unwrap();
        Bench { dir, path, follower }
    }

    fn add(&self, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    /// What a poll tells, one word an event: the line, `rotated:N` or `gap:cause`.
    fn news(&mut self) -> String {
        told(&mut self.follower)
    }
}

fn told(follower: &mut Follower) -> String {
    let mut words = Vec::new();
    while follower.poll(1 << 20, |it| words.push(word(it))).unwrap() == Polled::More {}
    words.join(" ")
}

fn word(it: Followed<'_>) -> String {
    match it {
        Followed::Line(line) => {
            assert_eq!(line.end.offset, line.start + line.length + 1);
            String::from_utf8_lossy(line.bytes).into_owned()
        }
        Followed::Rotated { segment } => format!("rotated:{segment}"),
        Followed::Gap { cause, .. } => format!("gap:{}", cause.as_str()),
    }
}

#[test]
fn only_whole_lines_are_told_and_each_once() {
    let mut desk = Bench::new();
    assert_eq!(desk.news(), "", "a log that is not there yet is an empty one");
    desk.add("a\nb");
    assert_eq!(desk.news(), "a");
    desk.add("b\r\n\nc");
    assert_eq!(desk.news(), "bb\r ");
    desk.add(b"\xff\0\n");
    assert_eq!(desk.news(), "c\u{fffd}\0");
    assert_eq!(desk.news(), "");
}

#[test]
fn a_letter_cut_in_two_by_a_poll_is_whole_in_the_end() {
    let mut desk = Bench::new();
    desk.add(b"\xc3");
    assert_eq!(desk.news(), "");
    desk.add(b"\xa4\n");
    assert_eq!(desk.news(), "ä");
}

#[test]
fn a_torn_write_that_was_taken_back_leaves_no_trace() {
    let mut desk = Bench::new();
    desk.add("a\n{\"half");
    assert_eq!(desk.news(), "a");
    File::options().write(true).open(&desk.path).unwrap().set_len(2).unwrap();
    desk.add("whole\n");
    assert_eq!(desk.news(), "whole");
}

#[test]
fn rotation_is_followed_even_when_it_happens_often_between_two_looks() {
    let mut desk = Bench::new();
    let mut log = Appender::new(&desk.path, Rotation { bytes_max: 8, ..BIG });
    for line in ["1234567", "a"] {
        log.append(line.as_bytes()).unwrap();
    }
    assert_eq!(desk.news(), "1234567 rotated:2 a");
    for line in ["bbbbbbb", "ccccccc", "ddddddd", "e"] {
        log.append(line.as_bytes()).unwrap();
    }
    assert_eq!(desk.news(), "rotated:3 bbbbbbb rotated:4 ccccccc rotated:5 ddddddd rotated:6 e");
    assert_eq!(
        told(&mut Follower::from_start(&desk.path).unwrap()),
        "1234567 rotated:2 a rotated:3 bbbbbbb rotated:4 ccccccc rotated:5 ddddddd rotated:6 e"
    );
}

#[test]
fn a_copy_that_became_a_segment_before_the_file_was_cut_loses_nothing() {
    let mut desk = Bench::new();
    desk.add("a\nb\n");
    assert_eq!(desk.news(), "a b");
    desk.add("c\n");
    std::fs::copy(&desk.path, segment_path(&desk.path, 1)).unwrap();
    File::options().write(true).open(&desk.path).unwrap().set_len(0).unwrap();
    desk.add("d\ne\nf\ng\nh\n");
    assert_eq!(desk.news(), "c rotated:2 d e f g h");
}

#[test]
fn a_cut_file_is_a_gap_however_long_it_is_by_then() {
    let mut desk = Bench::new();
    desk.add("aaa\nbbb\n");
    desk.news();
    File::create(&desk.path).unwrap();
    desk.add("c\n");
    assert_eq!(desk.news(), "gap:truncated c");
    File::create(&desk.path).unwrap();
    desk.add("ddddddd\neeeeeee\n");
    assert_eq!(desk.news(), "gap:overwritten ddddddd eeeeeee");
}

#[test]
fn a_file_that_was_moved_away_is_read_to_its_end_first() {
    let mut desk = Bench::new();
    desk.add("a\n");
    desk.news();
    desk.add("b\n");
    std::fs::rename(&desk.path, desk.dir.path().join("elsewhere")).unwrap();
    assert_eq!(desk.news(), "b");
    desk.add("c\n");
    assert_eq!(desk.news(), "gap:moved c");
}

#[test]
fn what_was_rotated_soon_after_a_cut_or_a_move_is_not_passed_over() {
    let mut desk = Bench::new();
    desk.add("aaa\nbbb\n");
    desk.news();
    File::create(&desk.path).unwrap();
    desk.add("c\n");
    std::fs::rename(&desk.path, segment_path(&desk.path, 1)).unwrap();
    desk.add("d\n");
    assert_eq!(desk.news(), "gap:truncated c rotated:2 d");
    std::fs::rename(&desk.path, desk.dir.path().join("elsewhere")).unwrap();
    desk.add("e\n");
    std::fs::rename(&desk.path, segment_path(&desk.path, 2)).unwrap();
    desk.add("f\n");
    assert_eq!(desk.news(), "gap:moved e rotated:3 f");
}

#[test]
fn a_file_that_was_deleted_comes_back() {
    let mut desk = Bench::new();
    desk.add("a\n");
    desk.news();
    std::fs::remove_file(&desk.path).unwrap();
    assert_eq!(desk.news(), "");
    desk.add("b\nc\n");
    assert_eq!(desk.news(), "gap:moved b c");
}

#[test]
fn a_position_resumes_exactly_there_across_rotations() {
    let desk = Bench::new();
    let mut log = Appender::new(&desk.path, Rotation { bytes_max: 200, ..BIG });
    let lines: Vec<String> = (0..60).map(|it| format!("line {it} {}", "x".repeat(it))).collect();
    for line in &lines {
        log.append(line.as_bytes()).unwrap();
    }
    let mut places = Vec::new();
    let mut all = Follower::from_start(&desk.path).unwrap();
    let mut keep = |it: Followed<'_>| {
        if let Followed::Line(line) = it {
            places.push(line.end);
        }
    };
    while all.poll(1 << 20, &mut keep).unwrap() == Polled::More {}
    assert_eq!(places.len(), lines.len());
    for (at, place) in places.iter().enumerate() {
        let place: Position = place.to_string().parse().unwrap();
        let mut rest = Vec::new();
        let mut follower = Follower::resume(&desk.path, place);
        let mut keep = |it: Followed<'_>| match it {
            Followed::Line(line) => rest.push(String::from_utf8(line.bytes.to_vec()).unwrap()),
            Followed::Rotated { .. } => {}
            Followed::Gap { .. } => panic!("nothing is missing after line {at}"),
        };
        while follower.poll(1 << 20, &mut keep).unwrap() == Polled::More {}
        assert_eq!(rest, lines[at + 1..], "after line {at}");
    }
}

#[test]
fn a_position_in_a_file_that_is_another_one_now_begins_with_a_gap() {
    let mut desk = Bench::new();
    desk.add("a\nb\n");
    desk.news();
    let place = desk.follower.place();
    std::fs::write(&desk.path, "x\ny\nz\n").unwrap();
    assert_eq!(told(&mut Follower::resume(&desk.path, place)), "gap:overwritten x y z");
    std::fs::remove_file(&desk.path).unwrap();
    std::fs::write(segment_path(&desk.path, 7), "seven\n").unwrap();
    assert_eq!(told(&mut Follower::resume(&desk.path, place)), "gap:retired seven rotated:8");
}

#[test]
fn the_end_is_after_the_last_whole_line() {
    let desk = Bench::new();
    desk.add("a\nb\nhal");
    let mut follower = Follower::from_end(&desk.path).unwrap();
    assert_eq!(told(&mut follower), "");
    desk.add("f\n");
    assert_eq!(told(&mut follower), "half");
}

#[test]
fn a_line_of_fifty_megabytes_is_told_cut_and_the_next_one_whole() {
    let mut desk = Bench::new();
    desk.add("a\n");
    let chunk = vec![b'x'; 10 << 20];
    for _ in 0..5 {
        desk.add(&chunk);
        assert!(["", "a"].contains(&desk.news().as_str()));
    }
    desk.add("\nb\n");
    let mut lines = Vec::new();
    let mut keep = |it: Followed<'_>| {
        if let Followed::Line(line) = it {
            lines.push((line.bytes.len(), line.length));
        }
    };
    while desk.follower.poll(1 << 20, &mut keep).unwrap() == Polled::More {}
    assert_eq!(lines, [(LINE_BYTES_MAX, 50 << 20), (1, 1)]);
}

#[test]
fn a_position_reads_back_as_it_was_written() {
    let place = Position { segment: 3, offset: 5120, check: 0x0012_abcd };
    assert_eq!(place.to_string(), "3-0012abcd:5120");
    assert_eq!(place.to_string().parse(), Ok(place));
    for bad in ["", "3", "3-x:1", "3-0012abcd:-1", "../3-00:1"] {
        assert!(bad.parse::<Position>().is_err(), "{bad}");
    }
}

/// A writer and a hand that rotates, copies, cuts and moves, in small steps, with looks between any two of them. What
/// is destroyed unread is not expected; everything else is told once and in order.
#[test]
fn whatever_happens_between_two_looks_no_line_is_lost_or_told_twice() {
    for seed in 1..16 {
        let mut campaign = Campaign::new(seed);
        for _ in 0..120 {
            campaign.step();
        }
        campaign.look();
        assert!(campaign.told == campaign.expected, "seed {seed}: {:?}", campaign.steps);
    }
}

struct Campaign {
    desk: Bench,
    chance: u64,
    number: u32,
    expected: Vec<String>,
    told: Vec<String>,
    steps: Vec<String>,
}

impl Campaign {
    fn new(seed: u64) -> Campaign {
        let chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (expected, told, steps) = (Vec::new(), Vec::new(), Vec::new());
        Campaign { desk: Bench::new(), chance, number: 0, expected, told, steps }
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    fn look(&mut self) {
        let told = &mut self.told;
        let mut keep = |it: Followed<'_>| {
            if let Followed::Line(line) = it {
                told.push(String::from_utf8_lossy(line.bytes).into_owned());
            }
        };
        // Small budgets stop in the middle.
        while self.desk.follower.poll(20, &mut keep).unwrap() == Polled::More {}
    }

    fn maybe_look(&mut self) {
        if self.chance(3) == 0 {
            self.steps.push("look".into());
            self.look();
        }
    }

    fn cut(&self, length: u64) {
        File::options().write(true).open(&self.desk.path).unwrap().set_len(length).unwrap();
    }

    fn step(&mut self) {
        let path = self.desk.path.clone();
        let next = segment_path(&path, live_number(&path).unwrap());
        let is_there = path.exists();
        let what = self.chance(12);
        self.steps.push(format!("{what}{}", if is_there { "" } else { "-" }));
        match what {
            0 if is_there => std::fs::rename(&path, next).unwrap(),
            1 if is_there => {
                std::fs::copy(&path, self.desk.dir.path().join("copy")).unwrap();
                std::fs::rename(self.desk.dir.path().join("copy"), next).unwrap();
                // Whoever began to read between these two would find every line twice: nobody can tell. So no look.
                self.cut(0);
            }
            2 if is_there => {
                self.look();
                self.cut(0);
            }
            3 if is_there => {
                self.look();
                std::fs::rename(&path, self.desk.dir.path().join("elsewhere")).unwrap();
            }
            4 => self.desk.add(""),
            5 if is_there => {
                let length = std::fs::metadata(&path).unwrap().len();
                self.desk.add("half a li");
                self.maybe_look();
                self.cut(length);
            }
            _ => {
                self.number += 1;
                let line =
                    format!("line {} {}", self.number, "x".repeat(self.number as usize % 90));
                let (half, rest) = line.split_at(line.len() / 2);
                self.desk.add(half);
                self.maybe_look();
                self.desk.add(rest);
                self.desk.add("\n");
                self.expected.push(line);
            }
        }
        self.maybe_look();
    }
}
