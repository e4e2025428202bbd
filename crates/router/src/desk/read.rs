//! One reading of a message at a desk, as numbers for every part. No weights here: the same reading serves the
//! decision and the fit.

use tinyclaw_domain::{DeskKind, Direction, Hit, Model};

use super::politeness::Politeness;
use crate::config::DIMENSIONS;
use crate::fold::{Folded, Folder};
use crate::lexicon::{Head, Lexicon, TAKES_BACK};
use crate::lists::Lists;
use crate::parts::{COUNTED, Counted, Counts};
use crate::reading::{self, ReadingPart};
use crate::router::Input;
use crate::trie::Found;
use crate::zones::{self, Kind, Zone};

/// A message longer than this says itself what it wants; a shorter one takes weight from what it answers.
const FOLLOW_UP_COLUMNS: f32 = 60.0;
/// So much of an answer is read: what it proposes stands near its end.
const ANSWER_BYTES: usize = 600;
/// A last paragraph up to this length belongs to the order, when something was pasted between.
const LAST_PARAGRAPH_BYTES: usize = 160;
/// A list that counts at the start may begin this far into the order.
const START_BYTES: u32 = 14;
/// What such a list counts elsewhere.
const ELSEWHERE: f32 = 0.3;
/// How many bytes behind a negation a phrase is taken back.
const NEGATION_BYTES: u32 = 14;
/// More different phrases than this say nothing new.
const PHRASES_MAX: usize = 128;
/// How a question ends.
const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];
/// How a sentence ends.
const SENTENCE_ENDS: [char; 7] = ['.', '!', '?', '。', '！', '？', '\n'];
/// Hits shown for a dimension.
const HITS_MAX: usize = 3;
/// Words that turn down what an answer proposed, or put it off.
const REFUSALS: [&str; 26] = [
    "no",
    "nope",
    "nah",
    "not",
    "don't",
    "leave it",
    "cancel",
    "stop",
    "wait",
    "later",
    "skip",
    "nein",
    "nicht",
    "non",
    "nee",
    "nej",
    "nie",
    "não",
    "нет",
    "не",
    "ні",
    "hayır",
    "không",
    "jangan",
    "いいえ",
    "不",
];
/// The list of what can hurt.
const RISKY: &str = "risky";

/// What a message at a desk has besides lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    /// Far above the length of an order.
    VeryLong,
    /// How short it is, in a repository.
    ShortAtRepo,
    /// How short it is, among files.
    ShortAtFiles,
    /// A question about an answer.
    AskedInReply,
    /// Something came with it.
    Attached,
    /// It follows an answer, and is short.
    Follows,
    /// The answer ends in a question.
    AnswerAsks,
    /// The answer is long.
    LongAnswer,
    /// The strongest model wrote the answer.
    AfterOpus,
    /// The middle model wrote the answer.
    AfterSonnet,
    /// More than one answer came before.
    Rounds,
}

const AROUND: [(&str, &str, Around); 11] = [
    ("tokenCount", "veryLong", Around::VeryLong),
    ("tokenCount", "shortAtRepo", Around::ShortAtRepo),
    ("tokenCount", "shortAtFiles", Around::ShortAtFiles),
    ("questionComplexity", "askedInReply", Around::AskedInReply),
    ("referenceComplexity", "attached", Around::Attached),
    ("referenceComplexity", "follows", Around::Follows),
    ("referenceComplexity", "answerAsks", Around::AnswerAsks),
    ("referenceComplexity", "longAnswer", Around::LongAnswer),
    ("referenceComplexity", "afterOpus", Around::AfterOpus),
    ("referenceComplexity", "afterSonnet", Around::AfterSonnet),
    ("referenceComplexity", "rounds", Around::Rounds),
];

/// What the parts are called that see what a follow-up sets off, before the name of a list.
const PARTS_OF_FOLLOWED: &str = "followed_";
/// The dimension that they are of.
const REFERENCE: &str = "referenceComplexity";

/// Names of the parts of a dimension: counted ones, what is around a message, its lists, and what a follow-up sets off.
pub(crate) fn part_names(lists: &Lists, dimension: usize) -> Vec<String> {
    let name = DIMENSIONS[dimension];
    let counted = COUNTED.iter().filter(|it| it.0 == name).map(|it| it.1.to_owned());
    let around = AROUND.iter().filter(|it| it.0 == name).map(|it| it.1.to_owned());
    let mut names: Vec<String> = counted.chain(around).chain(lists.names(dimension)).collect();
    if name == REFERENCE {
        let all = (0..DIMENSIONS.len()).flat_map(|it| lists.names(it));
        names.extend(all.map(|it| format!("{PARTS_OF_FOLLOWED}{it}")));
    }
    names
}

/// What reads at a desk.
#[derive(Debug, Clone)]
pub(crate) struct DeskReader {
    folder: Folder,
    politeness: Politeness,
    lexicon: Lexicon,
    /// How each list counts.
    rules: Vec<Rules>,
    /// How many lists there are, without the one that only takes back.
    lists: usize,
    pub(crate) parts: Vec<ReadingPart>,
    /// Where the parts of lists begin in `parts`; those of answers follow, in the same order.
    first_list: usize,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    dimension: u8,
    at_start: bool,
    negatable: bool,
    negator: bool,
    risky: bool,
}

/// What was read at a desk.
#[derive(Debug, Clone, Default)]
pub struct DeskReading {
    /// A value for every part, in the order of [`crate::Router::desk_parts`].
    pub values: Vec<f32>,
    /// Every phrase found in the order, once: its number, the part it feeds and how much it counts there.
    pub phrases: Vec<(u32, u16, f32)>,
    /// Phrases of the answer that a follow-up sets off.
    pub sets_off: Vec<String>,
    /// Whether it gives leave for something that can hurt, about which the answer asked last.
    pub(crate) risks: bool,
    pub(crate) hits: [Vec<Found>; 14],
    pub(crate) folded: Folded,
    pub(crate) zones: Vec<Zone>,
    pub(crate) letters: u32,
    /// Estimated tokens of the whole text.
    pub tokens: u64,
    pub(crate) truncated: bool,
}

impl DeskReader {
    pub(crate) fn new(lexicon: Lexicon) -> DeskReader {
        let index = |name: &str| DIMENSIONS.iter().position(|it| *it == name).unwrap_or_default();
        let part =
            |dimension, name: &str| ReadingPart { dimension, name: name.to_owned(), counted: None };
        let counted = COUNTED.iter().map(|(dimension, name, _)| part(index(dimension), name));
        let around = AROUND.iter().map(|(dimension, name, _)| part(index(dimension), name));
        let mut parts: Vec<ReadingPart> = counted.chain(around).collect();
        let first_list = parts.len();
        let lists = || lexicon.heads().iter().filter(|it| it.dimension != TAKES_BACK);
        parts.extend(lists().map(|it| part(usize::from(it.dimension), &it.name)));
        let reference = index(REFERENCE);
        let followed = lists().map(|it| format!("{PARTS_OF_FOLLOWED}{}", it.name));
        parts.extend(followed.map(|it| part(reference, &it)));
        let rules = |head: &Head| Rules {
            dimension: head.dimension,
            at_start: head.at_start,
            negatable: head.negatable,
            negator: head.dimension == TAKES_BACK,
            risky: head.name == RISKY,
        };
        let folder = Folder::new();
        DeskReader {
            politeness: Politeness::new(&folder),
            folder,
            rules: lexicon.heads().iter().map(rules).collect(),
            lists: lists().count(),
            lexicon,
            parts,
            first_list,
        }
    }

    /// Reads a message with what is around it.
    pub(crate) fn read(&self, input: &Input<'_>, desk: DeskKind) -> DeskReading {
        let (folded, tokens, truncated) = reading::fold_windows(&self.folder, input.text);
        let zones = order(&folded.text, zones::split(&folded.text));
        let zones = self.politeness.peel(&folded.text, zones);
        let mut reading = DeskReading {
            values: vec![0.0; self.parts.len()],
            tokens,
            truncated,
            folded,
            zones,
            ..DeskReading::default()
        };
        let mut counts = Counts::of(&reading.folded.text, &reading.zones);
        self.find(&mut reading, &mut counts);
        for value in &mut reading.values[self.first_list..self.first_list + self.lists] {
            if *value > 0.0 {
                *value = 1.0 - (-*value).exp();
            }
        }
        for (value, (_, _, counted)) in reading.values.iter_mut().zip(COUNTED) {
            *value = counts.part(counted);
        }
        reading.letters = counts.letters;
        self.around(&mut reading, input, desk, &counts);
        reading
    }

    fn around(
        &self,
        reading: &mut DeskReading,
        input: &Input<'_>,
        desk: DeskKind,
        counts: &Counts,
    ) {
        let columns = counts.columns() as f32;
        let short = (1.0 - columns / 32.0).max(0.0);
        let asked = counts.part(Counted::Marks);
        let answer = input.history.iter().rev().find(|it| it.direction == Direction::Out);
        let follows = match answer {
            Some(_) if columns < FOLLOW_UP_COLUMNS => (1.0 - columns / FOLLOW_UP_COLUMNS).max(0.3),
            _ => 0.0,
        };
        let said = answer.map_or("", |it| it.text);
        let when = |yes: bool, value: f32| if yes { value } else { 0.0 };
        let by = |families: &[Model]| {
            let model = answer.and_then(|it| it.model).and_then(|it| Model::of_name(it.as_str()));
            model.is_some_and(|it| families.contains(&it))
        };
        let rounds = input.history.iter().filter(|it| it.direction == Direction::Out).count();
        let repo = desk == DeskKind::Repo;
        let files = desk == DeskKind::Files;
        for (index, (_, _, around)) in AROUND.iter().enumerate() {
            reading.values[COUNTED.len() + index] = match around {
                Around::VeryLong => ((columns - 160.0) / 300.0).clamp(0.0, 1.0),
                Around::ShortAtRepo => when(repo, short),
                Around::ShortAtFiles => when(files, short),
                Around::AskedInReply => when(answer.is_some(), asked),
                Around::Attached => when(!input.attachments.is_empty(), 1.0),
                Around::Follows => follows * short,
                Around::AnswerAsks => when(said.trim_end().ends_with(QUESTION_MARKS), follows),
                Around::LongAnswer => follows * (said.len() as f32 / 200.0).min(1.0),
                Around::AfterOpus => when(by(&[Model::OPUS, Model::FABLE]), follows),
                Around::AfterSonnet => when(by(&[Model::SONNET]), follows),
                Around::Rounds => when(rounds > 1, follows),
            };
        }
        let sets_off = !self.is_thanks(reading, said) && !is_refusal(&reading.folded.text);
        if follows > 0.0 && sets_off {
            self.followed(reading, said, follows);
            reading.risks = asked == 0.0 && !self.refuses(reading) && self.asks_of_risk(said);
        }
    }

    /// Whether a short message says no. It may say more: "no, the other one".
    fn refuses(&self, reading: &DeskReading) -> bool {
        let said = &reading.folded.text;
        let mut words = said.split(|it: char| !it.is_alphanumeric() && it != '\'');
        words.any(|it| REFUSALS.contains(&it))
            || REFUSALS.iter().any(|it| {
                let is_phrase = it.contains(' ') || !it.is_ascii() && it.chars().count() < 4;
                is_phrase && said.contains(it)
            })
    }

    /// Whether an answer ends in a question about something that can hurt.
    fn asks_of_risk(&self, answer: &str) -> bool {
        let answer = answer.trim_end();
        let Some(asked) = answer.strip_suffix(QUESTION_MARKS) else { return false };
        let from = asked.rfind(SENTENCE_ENDS).map_or(0, |it| asked.ceil_char_boundary(it + 1));
        let from = from.max(asked.ceil_char_boundary(asked.len().saturating_sub(ANSWER_BYTES)));
        let mut folded = Folded::default();
        self.folder.append(&mut folded, asked, from, asked.len());
        let mut risks = false;
        self.lexicon.find(&folded.text, 0..folded.text.len(), |found| {
            risks |= self.rules[self.lexicon.list_of(found.phrase)].risky;
        });
        risks
    }

    /// Thanks and chatter alone set nothing off, however hard the work was that they thank for. Where the answer asks
    /// something, "great" may well be a yes.
    fn is_thanks(&self, reading: &DeskReading, answer: &str) -> bool {
        let chatter = |it: &(u32, u16, f32)| self.parts[usize::from(it.1)].name == "chatter";
        !reading.phrases.is_empty()
            && reading.phrases.iter().all(chatter)
            && !answer.trim_end().ends_with(QUESTION_MARKS)
    }

    /// What the answer speaks of counts for a follow-up, the more the shorter the follow-up is.
    fn followed(&self, reading: &mut DeskReading, answer: &str, follows: f32) {
        let from = answer.ceil_char_boundary(answer.len().saturating_sub(ANSWER_BYTES));
        let mut folded = Folded::default();
        self.folder.append(&mut folded, answer, from, answer.len());
        let lists = self.lists;
        let mut sums = [0.0f32; 64];
        let mut seen: Vec<u32> = Vec::with_capacity(16);
        self.lexicon.find(&folded.text, 0..folded.text.len(), |found| {
            let list = self.lexicon.list_of(found.phrase);
            if list < lists && seen.len() < PHRASES_MAX && !seen.contains(&found.phrase) {
                seen.push(found.phrase);
                sums[list.min(63)] += 1.0;
                if reading.sets_off.len() < HITS_MAX {
                    reading.sets_off.push(self.lexicon.written(found.phrase));
                }
            }
        });
        let first = self.first_list + lists;
        for (value, sum) in reading.values[first..first + lists].iter_mut().zip(sums) {
            *value = follows * (1.0 - (-sum).exp());
        }
    }

    fn find(&self, reading: &mut DeskReading, counts: &mut Counts) {
        let DeskReading { values, phrases, hits, folded, zones, .. } = reading;
        phrases.reserve(16);
        let mut negated_until = 0;
        let mut first = None;
        for zone in zones.iter().filter(|it| it.kind == Kind::Instruction) {
            let begin = *first.get_or_insert(zone.start) as u32;
            self.lexicon.find(&folded.text, zone.start..zone.end, |found| {
                let list = self.lexicon.list_of(found.phrase);
                let rules = self.rules[list];
                if rules.negator {
                    negated_until = found.end + NEGATION_BYTES;
                    return;
                }
                if rules.negatable && found.start < negated_until {
                    counts.negated += 1;
                    return;
                }
                if phrases.len() < PHRASES_MAX && phrases.iter().all(|it| it.0 != found.phrase) {
                    let early = found.start <= begin + START_BYTES;
                    let weight = if rules.at_start && !early { ELSEWHERE } else { 1.0 };
                    let part = self.first_list + list;
                    phrases.push((found.phrase, part as u16, weight));
                    values[part] += weight;
                    let hits = &mut hits[usize::from(rules.dimension)];
                    if hits.len() < HITS_MAX {
                        hits.push(found);
                    }
                }
            });
        }
    }

    /// A hit as it is shown: the phrase of the list, and where it stands in the message.
    pub(crate) fn hit(&self, reading: &DeskReading, text: &str, found: Found) -> Hit {
        let (start, end) = reading.folded.span(text, found.start as usize, found.end as usize);
        Hit { phrase: self.lexicon.written(found.phrase), start, end }
    }
}

/// Whether a message says no and nothing else: what was proposed is then not done.
fn is_refusal(said: &str) -> bool {
    REFUSALS.contains(&said.trim_matches(|it: char| !it.is_alphanumeric()))
}

/// The order is the first paragraph, and a short last one; what stands between was pasted.
fn order(text: &str, zones: Vec<Zone>) -> Vec<Zone> {
    let Some(first) = zones
        .iter()
        .find(|it| it.kind == Kind::Instruction && !text[it.start..it.end].trim().is_empty())
        .map(|it| it.start)
    else {
        return zones;
    };
    let Some(cut) = text[first..].find("\n\n").map(|it| first + it) else { return zones };
    let last = text.trim_end().rfind("\n\n").map_or(cut, |it| it + 2);
    let last_is_order = last > cut + 2 && text.len() - last <= LAST_PARAGRAPH_BYTES;
    let mut out = Vec::with_capacity(zones.len() + 2);
    for zone in zones {
        if zone.kind != Kind::Instruction || zone.end <= cut {
            out.push(zone);
            continue;
        }
        let mut at = zone.start;
        let mut take = |until: usize, kind: Kind| {
            let until = until.min(zone.end);
            if at < until {
                out.push(Zone { kind, start: at, end: until });
                at = until;
            }
        };
        take(cut, Kind::Instruction);
        take(if last_is_order { last } else { zone.end }, Kind::Paste);
        take(zone.end, Kind::Instruction);
    }
    out
}
