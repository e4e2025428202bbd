//! Large and restless histories, for measuring.
#![allow(
    clippy::disallowed_methods,
    reason = "it plays the writer, and the hand that cuts and moves files"
)]
#![allow(dead_code, reason = "each user of this file needs another part of it")]

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tinyclaw_disk::{segment_path, segments};

/// The thread that is paged through.
pub(crate) const THREAD: u32 = 3;

/// Fills the history of `state` with `bytes` of messages; returns how many rows there are, and how many of [`THREAD`].
pub(crate) fn fill(state: &Path, bytes: u64, now_ms: u64) -> (u64, u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(history(state)).unwrap());
    let mut chance = StdRng::seed_from_u64(1);
    let (mut written, mut rows, mut of_thread) = (0, 0, 0);
    let words =
        "the lane lock was taken before the sweep had ended and a message waited ".repeat(12);
    while written < bytes {
        let thread = if chance.random_bool(0.025) { THREAD } else { chance.random_range(4..60) };
        let text = &words[..chance.random_range(40..words.len())];
        let at = now_ms - (bytes - written) / 40;
        let line = line(rows, thread, at, text);
        out.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
        rows += 1;
        of_thread += u64::from(thread == THREAD);
    }
    out.flush().unwrap();
    (rows, of_thread)
}

/// One line of the history, with its newline.
pub(crate) fn line(number: u64, thread: u32, at: u64, text: &str) -> String {
    let rest = match number % 2 {
        0 => r#""direction":"in","sender":"Ada""#,
        _ => {
            r#""direction":"out","sender":"TinyClaw","model":"sonnet","tier":"MEDIUM","durationMs":5200,"costUsd":0.0123"#
        }
    };
    format!(
        "{{\"timestamp\":{at},\"key\":\"tg-{number}\",\"attempt\":1,\"messageId\":\"{at}_tg{number}\",\"threadId\":{thread},\"channel\":\"telegram\",{rest},\"message\":\"{text}\",\"source\":\"user\"}}\n"
    )
}

/// Where the history is.
pub(crate) fn history(state: &Path) -> PathBuf {
    state.join("message-history.jsonl")
}

/// Appends to the history.
pub(crate) fn add(state: &Path, bytes: &[u8]) {
    add_to(&history(state), bytes);
}

/// Appends to any log.
pub(crate) fn add_to(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// What may happen to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It becomes the next numbered segment.
    Rotate,
    /// A copy becomes the next numbered segment, whole, and the file is cut.
    CopyAndCut,
    /// It is cut to nothing.
    Cut,
    /// It is moved away and made anew.
    Move,
    /// A line is written in two halves.
    Tear,
    /// Half a line is written, taken back, and written whole.
    TakeBack,
    /// A reader goes away and comes back.
    Reconnect,
}

impl Mishap {
    /// Any of them.
    pub(crate) fn any(chance: &mut StdRng) -> Mishap {
        use Mishap::*;
        let all = [Rotate, CopyAndCut, Cut, Move, Tear, TakeBack, Reconnect, Reconnect];
        all[chance.random_range(0..all.len())]
    }

    /// Whether lines that nobody has read yet would be gone: then the test lets everybody read first.
    pub(crate) fn destroys(self) -> bool {
        matches!(self, Mishap::Cut | Mishap::Move)
    }

    /// Lets it happen; `line` is written in the course of it by those that tear.
    pub(crate) fn happen(self, state: &Path, line: &str) {
        let path = history(state);
        let next = segment_path(
            &path,
            segments(&path).unwrap().last().map_or(1, |(number, _)| number + 1),
        );
        let cut =
            |length| OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let length = || std::fs::metadata(&path).map_or(0, |it| it.len());
        let (half, rest) = line.split_at(line.len() / 2);
        match self {
            Mishap::Rotate => std::fs::rename(&path, next).unwrap(),
            Mishap::CopyAndCut => {
                std::fs::copy(&path, state.join("copy")).unwrap();
                std::fs::rename(state.join("copy"), next).unwrap();
                cut(0);
            }
            Mishap::Cut => cut(0),
            Mishap::Move => std::fs::rename(&path, state.join("elsewhere")).unwrap(),
            Mishap::Tear => {
                add(state, half.as_bytes());
                std::thread::sleep(std::time::Duration::from_millis(3));
                add(state, rest.as_bytes());
            }
            Mishap::TakeBack => {
                let before = length();
                add(state, half.as_bytes());
                std::thread::sleep(std::time::Duration::from_millis(3));
                cut(before);
                add(state, line.as_bytes());
            }
            Mishap::Reconnect => {}
        }
    }

    /// Whether `happen` writes the line.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Mishap::Tear | Mishap::TakeBack)
    }
}
