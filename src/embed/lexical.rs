//! Words and letters: needs no model, no key and no network.
//!
//! A text becomes a sparse vector: counted features ([`super::features`]), damped, weighed by how rare they are
//! among the profiles' texts (TF-IDF), each kind brought to the same length, the whole to length 1. A score is a
//! product of that vector with one column of weights: of a profile with a description only, the description's
//! own vector (so the score is their cosine); where there are examples, a mixture of the mean of its texts and a
//! ridge classifier that learned what tells the profiles apart.

use std::sync::Arc;

use async_trait::async_trait;
use rustc_hash::FxHashMap;

use super::{
    Embedder, Fitted, Profile, Question,
    features::{Feature, KINDS, Kind, features},
    linear::{Row, Weights},
};
use crate::{
    job::{ErrorCode, JobError},
    llm::CallContext,
};

/// Bytes of weights at most; with more profiles, features share buckets.
const MAX_WEIGHT_BYTES: usize = 128 << 20;
/// Buckets of features: enough for a few thousand sentences, and what it may shrink to.
const MOST_BUCKETS: usize = 1 << 17;
const LEAST_BUCKETS: usize = 1 << 14;
/// Profiles up to which weights lie dense and a classifier is trained; beyond, only what occurs is kept.
const MAX_DENSE_PROFILES: usize = 2000;

/// Weight of each kind of feature: words, pairs of words, runs of letters; groups come apart.
const KIND_WEIGHTS: [f32; KINDS] = [1.0, 0.5, 1.0, 0.0];
/// What a word without content counts at least. The more texts there are, the better their own rarity tells it.
const LEAST_LIGHT_WEIGHT: f32 = 0.3;
/// Texts from which on rarity alone decides.
const ENOUGH_TEXTS: f32 = 100.0;
/// Share of the classifier in the mixture.
const CLASSIFIER_SHARE: f32 = 0.6;

/// Thresholds found by `eval routing` on everyday questions: with descriptions alone, and with examples.
const THRESHOLD_DESCRIPTIONS: f64 = 0.07;
const THRESHOLD_EXAMPLES: f64 = 0.2;

/// The embedder that needs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lexical;

#[async_trait]
impl Embedder for Lexical {
    fn name(&self) -> &'static str {
        "lexical"
    }

    async fn fit(&self, profiles: &[Profile]) -> Result<Arc<dyn Fitted>, JobError> {
        // Half a second for a hundred agents with examples: not on a thread that serves connections.
        let profiles = profiles.to_vec();
        let done = tokio::task::spawn_blocking(move || FittedLexical::new(&profiles)).await;
        Ok(Arc::new(done.map_err(|e| JobError::new(ErrorCode::Internal, format!("learning the agents failed: {e}")))?))
    }
}

/// How rare features are, and how texts become vectors because of it.
struct Vocabulary {
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
    fn new(texts: &[Vec<Feature>], buckets: usize) -> Self {
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
    fn len(&self) -> usize {
        self.rarity.len()
    }

    /// The vector of a text, of length 1 with the features that nobody has seen, which are left out of it.
    fn row(&self, text: &[Feature]) -> Row {
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

/// Weights of every profile.
enum Columns {
    Dense(Weights),
    /// By feature, the profiles that have it.
    Sparse(FxHashMap<u32, Vec<(u32, f32)>>),
}

/// What was learned of the profiles.
pub(super) struct FittedLexical {
    vocabulary: Vocabulary,
    columns: Columns,
    profiles: usize,
    learned: bool,
}

impl FittedLexical {
    pub(super) fn new(profiles: &[Profile]) -> Self {
        let count = profiles.len();
        let mut texts = Vec::new();
        let mut labels = Vec::new();
        for (label, profile) in profiles.iter().enumerate() {
            let own = texts_of(profile);
            labels.extend(std::iter::repeat_n(label, own.len()));
            texts.extend(own.iter().map(|text| features(text)));
        }
        let dense = count <= MAX_DENSE_PROFILES;
        let buckets = if dense { buckets_for(count) } else { MOST_BUCKETS };
        let vocabulary = Vocabulary::new(&texts, buckets);
        let rows: Vec<Row> = texts.iter().map(|text| vocabulary.row(text)).collect();
        let means = means(&rows, &labels, count);
        let learned = dense && profiles.iter().any(|profile| !profile.examples.is_empty());
        let columns = if dense {
            let mut weights = Weights::zero(vocabulary.len(), count);
            for (class, mean) in means.iter().enumerate() {
                weights.add(class, mean, 1.0);
            }
            if learned {
                let classifier = Weights::train(vocabulary.len(), count, &rows, &labels);
                weights.mix(&classifier, 1.0 - CLASSIFIER_SHARE);
            }
            Columns::Dense(weights)
        } else {
            let mut columns: FxHashMap<u32, Vec<(u32, f32)>> = FxHashMap::default();
            for (class, mean) in (0_u32..).zip(&means) {
                for (feature, value) in mean {
                    columns.entry(*feature).or_default().push((class, *value));
                }
            }
            Columns::Sparse(columns)
        };
        Self { vocabulary, columns, profiles: count, learned }
    }

    /// One score per profile.
    pub(super) fn score(&self, text: &str) -> Vec<f64> {
        let row = self.vocabulary.row(&features(text));
        let mut sums = Vec::new();
        match &self.columns {
            Columns::Dense(weights) => weights.apply(&row, &mut sums),
            Columns::Sparse(columns) => {
                sums.resize(self.profiles, 0.0);
                for (feature, value) in &row {
                    for (class, weight) in columns.get(feature).into_iter().flatten() {
                        sums[*class as usize] += value * weight;
                    }
                }
            }
        }
        sums.into_iter().map(|sum| f64::from(sum.clamp(-1.0, 1.0))).collect()
    }
}

#[async_trait]
impl Fitted for FittedLexical {
    fn default_threshold(&self) -> f64 {
        if self.learned { THRESHOLD_EXAMPLES } else { THRESHOLD_DESCRIPTIONS }
    }

    async fn question(&self, text: &str, _: &CallContext<'_>) -> Result<Question, JobError> {
        Ok(Question::of_words(text))
    }

    fn scores(&self, question: &Question, among: Option<&[usize]>) -> Vec<(usize, f64)> {
        let all = self.score(&question.text);
        match among {
            None => all.into_iter().enumerate().collect(),
            Some(among) => among.iter().map(|place| (*place, all[*place])).collect(),
        }
    }
}

/// The texts of a profile: what it is, and each example.
fn texts_of(profile: &Profile) -> Vec<String> {
    let about = [profile.name.as_str(), &profile.description, &profile.tools.join(". ")];
    let about: Vec<&str> = about.into_iter().filter(|part| !part.is_empty()).collect();
    let mut texts = profile.examples.clone();
    if !profile.description.is_empty() || texts.is_empty() {
        texts.push(about.join(". "));
    }
    texts
}

/// The largest power of two that keeps the weights within bounds.
fn buckets_for(profiles: usize) -> usize {
    let fit = MAX_WEIGHT_BYTES / (profiles.max(1) * size_of::<f32>());
    let fit = 1 << fit.max(1).ilog2();
    fit.clamp(LEAST_BUCKETS, MOST_BUCKETS)
}

/// The mean of each class' rows, brought to length 1.
fn means(rows: &[Row], labels: &[usize], classes: usize) -> Vec<Row> {
    let mut sums: Vec<FxHashMap<u32, f32>> = vec![FxHashMap::default(); classes];
    for (row, label) in rows.iter().zip(labels) {
        for (feature, value) in row {
            *sums[*label].entry(*feature).or_default() += value;
        }
    }
    let unit = |sum: FxHashMap<u32, f32>| {
        let length = sum.values().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        let mut row: Row = sum.into_iter().map(|(feature, value)| (feature, value / length)).collect();
        row.sort_unstable_by_key(|(feature, _)| *feature);
        row
    };
    sums.into_iter().map(unit).collect()
}

/// The cosine of every pair of `texts`, given to `each` with their numbers, the lower one first.
pub fn likeness(texts: &[&str], mut each: impl FnMut(usize, usize, f64)) {
    let found: Vec<Vec<Feature>> = texts.iter().map(|text| features(text)).collect();
    let vocabulary = Vocabulary::new(&found, MOST_BUCKETS);
    let mut rows: Vec<Row> = found.iter().map(|text| vocabulary.row(text)).collect();
    rows.iter_mut().for_each(|row| row.sort_unstable_by_key(|(feature, _)| *feature));
    for (i, row) in rows.iter().enumerate() {
        for (j, other) in rows.iter().enumerate().skip(i + 1) {
            each(i, j, f64::from(product(row, other)));
        }
    }
}

/// The product of two rows in order of their features.
fn product(a: &Row, b: &Row) -> f32 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while let (Some((fa, va)), Some((fb, vb))) = (a.get(i), b.get(j)) {
        if fa == fb {
            sum += va * vb;
        }
        i += usize::from(fa <= fb);
        j += usize::from(fb <= fa);
    }
    sum
}
