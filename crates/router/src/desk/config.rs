//! The desk's half of the configuration: `[desk]` of `router.toml`, with the same rules as the rest of the file.

use std::collections::BTreeMap;

use super::read::part_names;
use crate::config::{ConfigError, Field, Reader, Value};
use crate::lexicon::Kind;
use crate::lists::Lists;

/// Dimension → part → number.
pub(crate) type Parts = BTreeMap<usize, BTreeMap<String, f64>>;

/// Lists, weights and the band of MEDIUM, for messages at a desk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeskConfig {
    /// What a message starts from, by what the desk holds: a repository, files, nothing.
    pub(crate) place: [f64; 3],
    /// The same for the band.
    pub(crate) place_bands: [f64; 3],
    pub(crate) temperature: f64,
    pub(crate) weights: [f64; 14],
    pub(crate) parts: Parts,
    pub(crate) bands: Parts,
    pub(crate) lists: Lists,
}

impl Default for DeskConfig {
    fn default() -> DeskConfig {
        DeskConfig {
            place: [0.0; 3],
            place_bands: [0.0; 3],
            temperature: 1.0,
            weights: [0.0; 14],
            parts: Parts::new(),
            bands: Parts::new(),
            lists: Lists::empty(Kind::Desk),
        }
    }
}

impl DeskConfig {
    /// Names of the parts of a dimension at a desk.
    pub(crate) fn part_names(&self, dimension: usize) -> Vec<String> {
        part_names(&self.lists, dimension)
    }

    pub(crate) fn apply(
        &mut self,
        reader: &Reader<'_>,
        value: &Value<'_>,
        full: bool,
    ) -> Result<(), ConfigError> {
        for (key, value) in reader.table(value)? {
            match &**key.get_ref() {
                "score" => {
                    let ([repo, files, none], [band_repo, band_files, band_none]) =
                        (&mut self.place, &mut self.place_bands);
                    reader.fields(
                        value,
                        "desk.score",
                        &mut [
                            ("repo", Field::Number(repo)),
                            ("files", Field::Number(files)),
                            ("none", Field::Number(none)),
                            ("bandRepo", Field::Number(band_repo)),
                            ("bandFiles", Field::Number(band_files)),
                            ("bandNone", Field::Number(band_none)),
                            ("temperature", Field::Positive(&mut self.temperature)),
                        ],
                    )?;
                }
                "weights" => reader.weights(value, &mut self.weights)?,
                "parts" => reader.parts(value, &mut self.parts)?,
                "bands" => reader.parts(value, &mut self.bands)?,
                "lists" => {
                    let lists = self.lists.own();
                    for (key, value) in reader.table(value)? {
                        let dimension = reader.dimension(key)?;
                        reader.lists(value, dimension, full, lists)?;
                    }
                }
                other => {
                    let known = "score, weights, parts, bands, lists";
                    return Err(reader.unknown(key.span().start, other, known));
                }
            }
        }
        Ok(())
    }
}
