//! One reading of one message: zones, counts and phrases, as numbers for every part of every dimension. No weights
//! here: the same reading serves the decision and the fit.

use tinyclaw_domain::Hit;

use crate::config::{DIMENSIONS, POLICY_LISTS};
use crate::fold::{Folded, Folder};
use crate::lexicon::{Head, Lexicon};
use crate::parts::{COUNTED, Counted, Counts};
use crate::trie::Found;
use crate::zones::{self, Kind, Zone};

/// Up to this many bytes a message is read whole.
const WHOLE_BYTES_MAX: usize = 128 * 1024;
/// Of a longer one, this much of the beginning,
const HEAD_BYTES: usize = 64 * 1024;
/// and this much of the end; of the middle only the length is known.
const TAIL_BYTES: usize = 32 * 1024;
/// How many bytes behind a negation a phrase is taken back.
const NEGATION_BYTES: u32 = 16;
/// A list that counts at the start may begin this far into the instruction ("please …", "hi, …").
const START_BYTES: u32 = 14;
/// What such a list counts elsewhere.
const ELSEWHERE: f32 = 0.3;
/// More different phrases than this say nothing new, and looking through them takes time.
const PHRASES_MAX: usize = 256;
/// Hits shown for a dimension.
const HITS_MAX: usize = 3;

/// A part of a dimension: counted, or a list of phrases.
#[derive(Debug, Clone)]
pub struct ReadingPart {
    /// Which dimension, from 0.
    pub dimension: usize,
    /// Its name within the dimension.
    pub name: String,
    pub(crate) counted: Option<Counted>,
}

/// What reads: the lists, and the parts they feed.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    folder: Folder,
    lexicon: Lexicon,
    /// What each list is for.
    roles: Vec<Role>,
    pub(crate) parts: Vec<ReadingPart>,
}

/// The part that a list feeds, or the policy list it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Part { part: u16, dimension: u8, at_start: bool, negatable: bool },
    FollowUp,
    Acknowledge,
    Negator,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// A value from -1 to 1 for every part, in the order of [`crate::Router::parts`].
    pub values: Vec<f32>,
    /// Every phrase found, once: its number, the part it feeds and how much it counts there.
    pub phrases: Vec<(u32, u16, f32)>,
    pub(crate) hits: [Vec<Found>; 14],
    pub(crate) folded: Folded,
    pub(crate) zones: Vec<Zone>,
    pub(crate) letters: u32,
    pub(crate) columns: u32,
    pub(crate) follow_up: bool,
    pub(crate) acknowledge: bool,
    /// Estimated tokens of the whole text.
    pub tokens: u64,
    /// Whether the middle of the text was left out.
    pub truncated: bool,
}

impl Reader {
    pub(crate) fn new(lexicon: Lexicon) -> Reader {
        let mut parts = Vec::new();
        for (dimension, name) in DIMENSIONS.iter().enumerate() {
            for (_, part, counted) in COUNTED.iter().filter(|it| it.0 == *name) {
                parts.push(ReadingPart {
                    dimension,
                    name: (*part).to_owned(),
                    counted: Some(*counted),
                });
            }
            let lists = lexicon.heads().iter().filter(|it| usize::from(it.dimension) == dimension);
            parts.extend(lists.map(|it| ReadingPart {
                dimension,
                name: it.name.clone(),
                counted: None,
            }));
        }
        let role = |head: &Head| {
            let dimension = usize::from(head.dimension);
            let policy = POLICY_LISTS.iter().position(|it| dimension == 14 && *it == head.name);
            match policy {
                Some(0) => Role::FollowUp,
                Some(1) => Role::Acknowledge,
                Some(_) => Role::Negator,
                None => {
                    let part = parts.iter().position(|it| {
                        it.dimension == dimension && it.name == head.name && it.counted.is_none()
                    });
                    Role::Part {
                        part: part.unwrap_or_default() as u16,
                        dimension: head.dimension,
                        at_start: head.at_start,
                        negatable: head.negatable,
                    }
                }
            }
        };
        let roles = lexicon.heads().iter().map(role).collect();
        Reader { folder: Folder::new(), lexicon, roles, parts }
    }

    /// Reads a text. Never fails and never takes longer than for [`WHOLE_BYTES_MAX`].
    pub(crate) fn read(&self, text: &str) -> Reading {
        let mut reading = Reading { values: vec![0.0; self.parts.len()], ..Reading::default() };
        (reading.folded, reading.tokens, reading.truncated) = fold_windows(&self.folder, text);
        reading.zones = zones::split(&reading.folded.text);
        let mut counts = Counts::of(&reading.folded.text, &reading.zones);
        self.find(&mut reading, &mut counts);
        for (value, part) in reading.values.iter_mut().zip(&self.parts) {
            match part.counted {
                Some(counted) => *value = counts.part(counted),
                None if *value > 0.0 => *value = 1.0 - (-*value).exp(),
                None => {}
            }
        }
        reading.letters = counts.letters;
        reading.columns = counts.columns();
        reading
    }

    /// Looks all phrases up in the instruction, each phrase counted once.
    fn find(&self, reading: &mut Reading, counts: &mut Counts) {
        let Reading { values, phrases, hits, folded, zones, follow_up, acknowledge, .. } = reading;
        phrases.reserve(24);
        let mut negated_until = 0;
        let mut first = None;
        for zone in zones.iter().filter(|it| it.kind == Kind::Instruction) {
            let begin = *first.get_or_insert(zone.start) as u32;
            self.lexicon.find(&folded.text, zone.start..zone.end, |found| {
                let early = found.start <= begin + START_BYTES;
                match self.roles[self.lexicon.list_of(found.phrase)] {
                    Role::Negator => negated_until = found.end + NEGATION_BYTES,
                    Role::FollowUp => *follow_up |= early,
                    Role::Acknowledge => *acknowledge |= early,
                    Role::Part { part, dimension, at_start, negatable } => {
                        if negatable && found.start < negated_until {
                            counts.negated += 1;
                            return;
                        }
                        let fresh = phrases.iter().all(|it| it.0 != found.phrase);
                        if fresh && phrases.len() < PHRASES_MAX {
                            let counts = if at_start && !early { ELSEWHERE } else { 1.0 };
                            phrases.push((found.phrase, part, counts));
                            values[part as usize] += counts;
                            let hits = &mut hits[dimension as usize];
                            if hits.len() < HITS_MAX {
                                hits.push(found);
                            }
                        }
                    }
                }
            });
        }
    }

    /// A hit as it is shown: the phrase of the list, and where it stands in the message.
    pub(crate) fn hit(&self, reading: &Reading, text: &str, found: Found) -> Hit {
        let (start, end) = reading.folded.span(text, found.start as usize, found.end as usize);
        Hit { phrase: self.lexicon.written(found.phrase), start, end }
    }
}

/// Folds a text, of a very long one the beginning and the end: the folded text, its estimated tokens, and whether the
/// middle was left out.
pub(crate) fn fold_windows(folder: &Folder, text: &str) -> (Folded, u64, bool) {
    let mut folded = Folded::default();
    folded.text.reserve(text.len().min(WHOLE_BYTES_MAX) + 8);
    if text.len() <= WHOLE_BYTES_MAX {
        folder.append(&mut folded, text, 0, text.len());
        let tokens = folded.centitokens.div_ceil(100);
        return (folded, tokens, false);
    }
    let head = text.floor_char_boundary(HEAD_BYTES);
    let tail = text.ceil_char_boundary(text.len() - TAIL_BYTES);
    folder.append(&mut folded, text, 0, head);
    folder.append(&mut folded, text, tail, text.len());
    let read = (head + text.len() - tail) as u64;
    let tokens = (folded.centitokens * (text.len() as u64) / read).div_ceil(100);
    (folded, tokens, true)
}
