//! The small learned term: one weight for each hash of a few letters or a word, summed and divided by the root of
//! their number. It is one line of the decision, can be switched off, and holds no text: hashes lead nowhere back.

use crate::fold::is_unspaced;
use crate::zones::{Kind, Zone};

/// Buckets of the table.
pub const BUCKETS: usize = 1 << 16;
/// How many bytes of the instruction are read.
const BYTES_MAX: usize = 1_000;

/// The fitted table: four bytes of scale (a little-endian `f32`), then one signed byte for each bucket.
pub(crate) const BUILT_IN: &[u8] = include_bytes!("../learned.bin");

/// A table, ready to use.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) scale: f64,
    weights: &'static [u8],
}

impl Table {
    /// A fitted table; one of another length says nothing.
    pub(crate) fn new(packed: &'static [u8]) -> Table {
        match packed.split_first_chunk::<4>() {
            Some((scale, weights)) if weights.len() == BUCKETS => {
                Table { scale: f64::from(f32::from_le_bytes(*scale)), weights }
            }
            _ => Table { scale: 0.0, weights: &[0; BUCKETS] },
        }
    }

    pub(crate) fn at(&self, bucket: usize) -> i64 {
        i64::from(self.weights[bucket] as i8)
    }

    /// What the table says about a text.
    pub(crate) fn score(&self, text: &str, zones: &[Zone]) -> f64 {
        let mut sum = 0i64;
        let mut count = 0u32;
        each_bucket(text, zones, |bucket| {
            sum += self.at(bucket);
            count += 1;
        });
        sum as f64 * self.scale / f64::from(count.max(1)).sqrt()
    }
}

/// Calls `each` with the bucket of every word, pair of words and run of three to five characters inside a word of the
/// instruction (one to three in scripts without spaces).
pub(crate) fn each_bucket(text: &str, zones: &[Zone], mut each: impl FnMut(usize)) {
    let mut left = BYTES_MAX;
    for zone in zones.iter().filter(|it| it.kind == Kind::Instruction) {
        let end = text.floor_char_boundary(zone.end.min(zone.start + left));
        if end <= zone.start {
            break;
        }
        left -= end - zone.start;
        let mut before = 0u32;
        for word in text[zone.start..end].split([' ', '\n']) {
            before = word_buckets(word, before, &mut each);
        }
    }
}

fn word_buckets(word: &str, before: u32, each: &mut impl FnMut(usize)) -> u32 {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
    if word.is_empty() {
        return before;
    }
    let whole = word.bytes().fold(seed(1), |hash, byte| step(hash, u32::from(byte)));
    each(bucket(whole));
    if before != 0 {
        each(bucket(step(step(seed(2), before), whole)));
    }
    let mut letters = [0u32; 64];
    let mut count = 1;
    letters[0] = u32::from(' ');
    let mut unspaced = false;
    for c in word.chars().take(62) {
        letters[count] = u32::from(c);
        unspaced |= is_unspaced(c);
        count += 1;
    }
    letters[count] = u32::from(' ');
    count += 1;
    let (short, long) = if unspaced { (1, 3) } else { (3, 5) };
    for start in 0..count {
        let mut hash = seed(3);
        for (length, letter) in letters[start..count.min(start + long)].iter().enumerate() {
            hash = step(hash, *letter);
            if length + 1 >= short {
                each(bucket(hash));
            }
        }
    }
    whole | 1
}

fn seed(kind: u32) -> u32 {
    0x811c_9dc5 ^ kind.wrapping_mul(0x9e37_79b9)
}

fn step(hash: u32, value: u32) -> u32 {
    (hash.rotate_left(5) ^ value).wrapping_mul(0x0100_0193 ^ 0x2545_f490)
}

fn bucket(hash: u32) -> usize {
    ((hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d) >> 16) as usize
}

/// The bytes of `learned.bin` for these weights.
pub fn pack(weights: &[f64]) -> Vec<u8> {
    let largest = weights.iter().fold(0.0f64, |most, it| most.max(it.abs()));
    let scale = if largest > 0.0 { (largest / 127.0) as f32 } else { 1.0 };
    let mut bytes = scale.to_le_bytes().to_vec();
    bytes.extend(weights.iter().map(|it| (it / f64::from(scale)).round() as i8 as u8));
    bytes
}
