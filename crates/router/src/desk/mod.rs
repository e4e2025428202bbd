//! What people type at a desk: short orders, questions about files, "yes, do it". A message is read with what is around
//! it: what the desk holds, what was attached, and, when it follows an answer, what that answer proposed. The same 14
//! dimensions speak, with lists and weights of their own. It scores nothing of what was pasted behind the order, and
//! looks no further back than one answer.

mod config;
mod politeness;
mod read;

pub(crate) use config::DeskConfig;
pub(crate) use read::DeskReader;
pub use read::DeskReading;

use tinyclaw_domain::{Band, DeskKind, Dimension, Probabilities};

use crate::config::DIMENSIONS;
use crate::learned::{Table, each_bucket};

/// The fitted tables of the desk: one for the score, one for the band.
pub(crate) const BUILT_IN: &[u8] = include_bytes!("../../desk.bin");

/// A reading, weighed.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) dims: Vec<Dimension>,
    pub(crate) bias: f64,
    pub(crate) learned: Option<f64>,
    pub(crate) raw_score: f64,
    /// Half the width of MEDIUM's band.
    pub(crate) half: f64,
    pub(crate) band: Band,
    pub(crate) probabilities: Probabilities,
}

/// The weights of the desk, ready to use.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    shares: Vec<f64>,
    bands: Vec<f64>,
    score_table: Table,
    band_table: Table,
}

impl Scale {
    pub(crate) fn new(config: &DeskConfig, reader: &DeskReader) -> Scale {
        let of = |from: &config::Parts| {
            let value =
                |it: &crate::reading::ReadingPart| from.get(&it.dimension)?.get(&it.name).copied();
            reader.parts.iter().map(|it| value(it).unwrap_or(0.0)).collect()
        };
        let (score, band) = BUILT_IN.split_at(BUILT_IN.len() / 2);
        Scale {
            shares: of(&config.parts),
            bands: of(&config.bands),
            score_table: Table::new(score),
            band_table: Table::new(band),
        }
    }

    /// Adds everything up. SIMPLE and COMPLEX pull the score down and up; ordinary work widens the band between them.
    pub(crate) fn weigh(
        &self,
        config: &DeskConfig,
        reader: &DeskReader,
        reading: &DeskReading,
        text: &str,
        desk: DeskKind,
        learned_weight: Option<f64>,
    ) -> Weighed {
        let mut scores = [0.0f64; 14];
        let mut bands = [0.0f64; 14];
        for (index, part) in reader.parts.iter().enumerate() {
            let value = f64::from(reading.values[index]);
            if value != 0.0 {
                scores[part.dimension] += self.shares[index] * value;
                bands[part.dimension] += self.bands[index] * value;
            }
        }
        let dims: Vec<Dimension> = DIMENSIONS
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let score = scores[index].clamp(-1.0, 1.0);
                let weight = config.weights[index];
                Dimension {
                    name: (*name).to_owned(),
                    score,
                    weight,
                    contribution: score * weight,
                    band: Some(bands[index]),
                    hits: reading.hits[index]
                        .iter()
                        .map(|it| reader.hit(reading, text, *it))
                        .collect(),
                }
            })
            .collect();
        let learned = learned_weight.map(|weight| {
            let (score, band) = self.learned(reading);
            (score * weight, band * weight)
        });
        let bias = config.place[desk as usize];
        let band =
            Band { bias: config.place_bands[desk as usize], learned: learned.map(|it| it.1) };
        let raw_score = dims.iter().map(|it| it.contribution).sum::<f64>()
            + learned.map_or(0.0, |it| it.0)
            + bias;
        let ordinary = bands.iter().sum::<f64>() + band.learned.unwrap_or(0.0) + band.bias;
        Weighed {
            probabilities: probabilities(raw_score, ordinary, config.temperature),
            half: (2.0 * ordinary).max(0.0),
            dims,
            bias,
            learned: learned.map(|it| it.0),
            raw_score,
            band,
        }
    }

    fn learned(&self, reading: &DeskReading) -> (f64, f64) {
        let mut sums = (0i64, 0i64);
        let mut count = 0u32;
        each_desk_bucket(reading, |bucket| {
            sums.0 += self.score_table.at(bucket);
            sums.1 += self.band_table.at(bucket);
            count += 1;
        });
        let root = f64::from(count.max(1)).sqrt();
        (
            sums.0 as f64 * self.score_table.scale / root,
            sums.1 as f64 * self.band_table.scale / root,
        )
    }
}

/// Calls `each` with the bucket of every word and run of letters of the order.
pub(crate) fn each_desk_bucket(reading: &DeskReading, each: impl FnMut(usize)) {
    each_bucket(&reading.folded.text, &reading.zones, each);
}

/// Three classes whose scores are `-raw/2`, `ordinary` and `raw/2`.
fn probabilities(raw: f64, ordinary: f64, temperature: f64) -> Probabilities {
    let [simple, medium, complex] = [-raw / 2.0, ordinary, raw / 2.0].map(|it| it / temperature);
    let most = simple.max(medium).max(complex);
    let [simple, medium, complex] = [simple, medium, complex].map(|it| (it - most).exp());
    let sum = simple + medium + complex;
    Probabilities { simple: simple / sum, medium: medium / sum, complex: complex / sum }
}
