#![doc = include_str!("../README.md")]

mod config;
mod correction;
mod desk;
mod fields;
mod fold;
mod hint;
mod learn;
mod learned;
mod lexicon;
mod lists;
mod money;
mod parts;
mod policy;
mod reading;
mod replay;
mod router;
mod trie;
mod warmth;
mod zones;

pub use config::{BUILT_IN, Config, ConfigError, DIMENSIONS};
pub use correction::{Spoken, correction};
pub use desk::DeskReading;
pub use fold::columns_of as columns;
pub use hint::{Hints, strip_hints};
pub use learn::{
    CORRECTIONS_MIN, Change, LESSONS_MAX, Lesson, NothingLearned, Proposal, Score, corrected, learn,
};
pub use learned::{BUCKETS, pack};
pub use money::{PRICES, Prices, Tokens};
pub use reading::{Reading, ReadingPart};
pub use replay::{Costs, DAY_MS, DAYS_MAX, Day, Decided, Lost, Replay, Report};
pub use router::{Input, Router, Turn, VERSION};
pub use warmth::Caches;
