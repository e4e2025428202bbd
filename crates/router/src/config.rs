//! The lists, weights and boundaries: one documented file (`router.toml` of this crate), built in, and whatever part of
//! it an operator overrides. It refuses what it does not know, with the line: a typo must not become a silent default.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::DeTable;

use crate::desk::DeskConfig;
pub(crate) use crate::fields::{Field, Reader, Value};
use crate::lexicon::{Kind, Lexicon};
use crate::lists::Lists;
use crate::parts::COUNTED;

/// The 14 dimensions, in the order of every decision.
pub const DIMENSIONS: [&str; 14] = [
    "tokenCount",
    "codePresence",
    "reasoningMarkers",
    "technicalTerms",
    "creativeMarkers",
    "simpleIndicators",
    "multiStepPatterns",
    "questionComplexity",
    "imperativeVerbs",
    "constraintCount",
    "outputFormat",
    "referenceComplexity",
    "negationComplexity",
    "domainSpecificity",
];

/// The file that is built in.
pub const BUILT_IN: &str =
    concat!(include_str!("../router.toml"), "\n", include_str!("../desk.toml"));

/// The line that the fitted half of a built-in file begins with.
const FITTED: &str = "\n# ---- fitted";

/// The lists without a dimension, which the policy uses.
pub(crate) const POLICY_LISTS: [&str; 3] = ["followUp", "acknowledge", "negator"];

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("router configuration, line {line}: {why}")]
pub struct ConfigError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub why: String,
}

/// Lists, weights and boundaries, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub(crate) bias: f64,
    pub(crate) medium: f64,
    pub(crate) complex: f64,
    pub(crate) calibration: Calibration,
    pub(crate) learned: bool,
    pub(crate) learned_weight: f64,
    pub(crate) min_confidence: f64,
    pub(crate) weights: [f64; 14],
    /// Dimension → part → share.
    pub(crate) parts: BTreeMap<usize, BTreeMap<String, f64>>,
    /// Policy lists have dimension 14.
    pub(crate) lists: Lists,
    /// The same for messages at a desk.
    pub(crate) desk: DeskConfig,
}

/// How raw scores become probabilities: two logistic curves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Calibration {
    pub(crate) medium_centre: f64,
    pub(crate) medium_slope: f64,
    pub(crate) complex_centre: f64,
    pub(crate) complex_slope: f64,
}

impl Default for Config {
    /// What is built in.
    fn default() -> Config {
        static READ: OnceLock<Config> = OnceLock::new();
        READ.get_or_init(|| {
            let mut config = Config::empty();
            config.lists = Lists::built_in(Kind::Chat);
            config.desk.lists = Lists::built_in(Kind::Desk);
            let numbers: String = Kind::ALL.map(|it| numbers(it.text())).concat();
            // A test reads the built-in files, so this cannot fail in a build that passed.
            config.apply(&numbers, true).unwrap_or_else(|err| panic!("built-in {err}"));
            config
        })
        .clone()
    }
}

impl Config {
    /// The built-in configuration with an operator's `router.toml` on top.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::default().with(text)
    }

    /// This configuration with a file on top. Keys that are given replace, keys that are not stay; of a list, each language
    /// is replaced as a whole, and `extend` adds to all of them. A file that names its `base` is for those lists alone.
    pub fn with(mut self, text: &str) -> Result<Config, ConfigError> {
        self.apply(text, false)?;
        Ok(self)
    }

    /// Another full file in place of the built-in one: what the fit tool works on.
    pub fn parse_full(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::empty();
        config.apply(text, true)?;
        Ok(config)
    }

    /// The same configuration with the learned term switched on or off.
    pub fn with_learned(mut self, on: bool) -> Config {
        self.learned = on;
        self
    }

    /// Fingerprint of everything that can change a decision.
    pub fn fingerprint(&self) -> String {
        self.fingerprint_with(&self.lists.lexicon(), &self.desk.lists.lexicon())
    }

    /// The same, where the lists are packed already.
    pub(crate) fn fingerprint_with(&self, chat: &Lexicon, desk: &Lexicon) -> String {
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION"));
        let it = &self.calibration;
        let curves = [it.medium_centre, it.medium_slope, it.complex_centre, it.complex_slope];
        let learned = if self.learned { self.learned_weight } else { f64::NAN };
        let cuts = [self.bias, self.medium, self.complex, learned, self.min_confidence];
        for number in curves.iter().chain(&cuts).chain(&self.weights) {
            hash.update(number.to_le_bytes());
        }
        hash.update(crate::money::PRICES);
        let mut word = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for (dimension, parts) in &self.parts {
            parts.iter().for_each(|(name, share)| word(&format!("{dimension} {name} {share}")));
        }
        for (dimension, parts) in self.desk.parts.iter().chain(&self.desk.bands) {
            parts.iter().for_each(|(name, share)| word(&format!("{dimension} {name} {share}")));
        }
        let it = &self.desk;
        let numbers = it.place.iter().chain(&it.place_bands).chain(&it.weights);
        numbers.chain([&it.temperature]).for_each(|it| word(&it.to_string()));
        hash.update(chat.hash());
        hash.update(desk.hash());
        if self.learned {
            hash.update(crate::learned::BUILT_IN);
            hash.update(crate::desk::BUILT_IN);
        }
        hash.finalize().iter().take(8).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    fn empty() -> Config {
        Config {
            bias: 0.0,
            medium: -0.5,
            complex: 0.5,
            calibration: Calibration::default(),
            learned: true,
            learned_weight: 1.0,
            min_confidence: 0.0,
            weights: [0.0; 14],
            parts: BTreeMap::new(),
            lists: Lists::empty(Kind::Chat),
            desk: DeskConfig::default(),
        }
    }

    fn apply(&mut self, text: &str, full: bool) -> Result<(), ConfigError> {
        let reader = Reader { text };
        let root = DeTable::parse(text).map_err(|err| {
            let at = err.span().map_or(0, |it| it.start);
            reader.refuse(at, err.message().lines().collect::<Vec<_>>().join("; "))
        })?;
        for (key, value) in root.get_ref() {
            match &**key.get_ref() {
                "schema" => {
                    if reader.number(value)? != 1.0 {
                        return Err(
                            reader.refuse(value.span().start, "schema must be 1".to_owned())
                        );
                    }
                }
                "base" => {
                    let base = value.get_ref().as_str();
                    let base = base.ok_or_else(|| reader.wrong(value, "a fingerprint"))?;
                    if base != Config::default().fingerprint() {
                        let why = format!(
                            "this was learned with the lists {base} of another version, and counts for these no more: \
                             `tinyclaw route --learn --apply` learns anew, `tinyclaw route --forget` lets it go"
                        );
                        return Err(reader.refuse(value.span().start, why));
                    }
                }
                "score" => reader.fields(
                    value,
                    "score",
                    &mut [
                        ("bias", Field::Number(&mut self.bias)),
                        ("medium", Field::Number(&mut self.medium)),
                        ("complex", Field::Number(&mut self.complex)),
                    ],
                )?,
                "calibration" => {
                    let it = &mut self.calibration;
                    reader.fields(
                        value,
                        "calibration",
                        &mut [
                            ("mediumCentre", Field::Number(&mut it.medium_centre)),
                            ("mediumSlope", Field::Number(&mut it.medium_slope)),
                            ("complexCentre", Field::Number(&mut it.complex_centre)),
                            ("complexSlope", Field::Number(&mut it.complex_slope)),
                        ],
                    )?;
                }
                "learned" => reader.fields(
                    value,
                    "learned",
                    &mut [
                        ("enabled", Field::Switch(&mut self.learned)),
                        ("weight", Field::Number(&mut self.learned_weight)),
                    ],
                )?,
                "policy" => reader.fields(
                    value,
                    "policy",
                    &mut [("minConfidence", Field::Share(&mut self.min_confidence))],
                )?,
                "weights" => reader.weights(value, &mut self.weights)?,
                "parts" => reader.parts(value, &mut self.parts)?,
                "lists" => {
                    let lists = self.lists.own();
                    for (key, value) in reader.table(value)? {
                        let policy = &**key.get_ref() == "policy";
                        let dimension = if policy { 14 } else { reader.dimension(key)? };
                        reader.lists(value, dimension, full, lists)?;
                    }
                }
                "desk" => self.desk.apply(&reader, value, full)?,
                other => {
                    let known = "schema, base, score, calibration, learned, policy, weights, parts, lists, desk";
                    return Err(reader.unknown(key.span().start, other, known));
                }
            }
        }
        if self.medium > self.complex {
            let line = text.find("[score]").unwrap_or(0);
            let why = "score.medium must not be above score.complex".to_owned();
            return Err(reader.refuse(line, why));
        }
        self.refuse_unknown_parts(&reader, &root)?;
        self.lists.refuse_duplicates(&reader)?;
        self.desk.lists.refuse_duplicates(&reader)
    }

    /// The parts that exist are the counted ones and the lists; at a desk also what is around a message.
    fn refuse_unknown_parts(
        &self,
        reader: &Reader<'_>,
        root: &Spanned<DeTable<'_>>,
    ) -> Result<(), ConfigError> {
        let desk = root.get_ref().get("desk").and_then(|it| it.get_ref().as_table());
        for (is_desk, parts) in [
            (false, root.get_ref().get("parts")),
            (true, desk.and_then(|it| it.get("parts"))),
            (true, desk.and_then(|it| it.get("bands"))),
        ] {
            let Some(parts) = parts else { continue };
            for (dimension, value) in reader.table(parts)? {
                let dimension = reader.dimension(dimension)?;
                let known = match is_desk {
                    true => self.desk.part_names(dimension),
                    false => self.part_names(dimension),
                };
                for (name, _) in reader.table(value)? {
                    if !known.iter().any(|it| *it == **name.get_ref()) {
                        let known = known.join(", ");
                        return Err(reader.unknown(name.span().start, name.get_ref(), &known));
                    }
                }
            }
        }
        Ok(())
    }

    /// Names of the parts of a dimension: counted ones first, then its lists.
    fn part_names(&self, dimension: usize) -> Vec<String> {
        let counted = COUNTED.iter().filter(|it| it.0 == DIMENSIONS[dimension]).map(|it| it.1);
        counted.map(str::to_owned).chain(self.lists.names(dimension)).collect()
    }
}

/// What stands in a built-in file besides its lists: above the first of them, and below the line "fitted".
fn numbers(text: &str) -> String {
    let lists = ["\n[lists.", "\n[desk.lists."].iter().filter_map(|it| text.find(it)).min();
    let fitted = text.find(FITTED).unwrap_or(text.len());
    let above = &text[..lists.unwrap_or(text.len()).min(fitted)];
    format!("{above}\n{}\n", &text[fitted..])
}
