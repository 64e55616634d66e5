//! How rare the features of texts are, and how texts become sparse vectors because of it.

use super::{
    features::{Feature, KINDS, Kind},
    linear::Row,
};

/// Weight of each kind of feature: words, pairs of words, runs of letters; groups come apart.
const KIND_WEIGHTS: [f32; KINDS] = [1.0, 0.5, 1.0, 0.0];
/// What a word without content counts at least. The more texts there are, the better their own rarity tells it.
const LEAST_LIGHT_WEIGHT: f32 = 0.3;
/// Texts from which on rarity alone decides.
const ENOUGH_TEXTS: f32 = 100.0;

/// How rare features are, and how texts become vectors because of it.
pub(super) struct Vocabulary {
    mask: u32,
    kind_weights: [f32; KINDS],
    light_weight: f32,
    /// By bucket: the number of its feature, or [`UNSEEN`].
    numbers: Vec<u32>,
    /// By number.
    rarity: Vec<f32>,
    unseen_rarity: f32,
}

/// A bucket in which nothing was seen: its weights are zero, and not kept.
const UNSEEN: u32 = u32::MAX;

impl Vocabulary {
    pub(super) fn new(texts: &[Vec<Feature>], buckets: usize) -> Self {
        let mask = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
        let mut numbers = vec![UNSEEN; buckets];
        // By number: in how many texts, and in which last.
        let mut seen: Vec<(u32, u32)> = Vec::new();
        for (text, features) in (0_u32..).zip(texts) {
            for feature in features {
                let number = &mut numbers[bucket(feature, mask) as usize];
                if *number == UNSEEN {
                    *number = u32::try_from(seen.len()).unwrap_or(UNSEEN);
                    seen.push((0, u32::MAX));
                }
                let (count, last) = &mut seen[*number as usize];
                if *last != text {
                    *last = text;
                    *count += 1;
                }
            }
        }
        let texts = texts.len() as f32;
        let rarity = |count: u32| ((1.0 + texts) / (1.0 + count as f32)).ln() + 1.0;
        let mut kind_weights = KIND_WEIGHTS;
        // With few texts, groups say most; with many, the texts' own words say more.
        kind_weights[Kind::Group as usize] = (14.0 / texts.sqrt()).clamp(0.4, 1.0);
        let light_weight = (texts / ENOUGH_TEXTS).clamp(LEAST_LIGHT_WEIGHT, 1.0);
        let unseen_rarity = rarity(0);
        Self {
            light_weight,
            mask,
            kind_weights,
            numbers,
            rarity: seen.iter().map(|(count, _)| rarity(*count)).collect(),
            unseen_rarity,
        }
    }

    /// How many features there are.
    pub(super) fn len(&self) -> usize {
        self.rarity.len()
    }

    /// The vector of a text, of length 1 with the features that nobody has seen, which are left out of it.
    pub(super) fn row(&self, text: &[Feature]) -> Row {
        let mut sorted: Vec<(u32, Feature)> =
            text.iter().map(|feature| (bucket(feature, self.mask), *feature)).collect();
        sorted.sort_unstable_by_key(|(bucket, _)| *bucket);
        let mut row: Vec<(u32, f32, Kind)> = Vec::with_capacity(sorted.len());
        let mut squares = [0.0_f32; KINDS];
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            let (bucket, feature) = same[0];
            let number = self.numbers[bucket as usize];
            let rarity = self.rarity.get(number as usize).copied().unwrap_or(self.unseen_rarity);
            let light = if feature.light { self.light_weight } else { 1.0 };
            let value = (1.0 + (same.len() as f32).ln()) * rarity * light;
            squares[feature.kind as usize] += value * value;
            if number != UNSEEN {
                row.push((number, value, feature.kind));
            }
        }
        let mut length = 0.0;
        let mut scale = [0.0_f32; KINDS];
        for kind in 0..KINDS {
            if squares[kind] > 0.0 {
                scale[kind] = self.kind_weights[kind] / squares[kind].sqrt();
                length += self.kind_weights[kind] * self.kind_weights[kind];
            }
        }
        let length = length.sqrt().max(f32::MIN_POSITIVE);
        row.into_iter().map(|(number, value, kind)| (number, value * scale[kind as usize] / length)).collect()
    }
}

fn bucket(feature: &Feature, mask: u32) -> u32 {
    (feature.hash as u32) & mask
}
