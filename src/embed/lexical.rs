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
    features::features,
    linear::{Row, Weights},
    vocabulary::Vocabulary,
};
use crate::{
    job::{ErrorCode, JobError},
    llm::CallContext,
};

/// Bytes of weights at most; with more profiles, features share buckets.
const MAX_WEIGHT_BYTES: usize = 128 << 20;
/// Buckets of features: enough for a few thousand sentences, and what it may shrink to.
pub(super) const MOST_BUCKETS: usize = 1 << 17;
const LEAST_BUCKETS: usize = 1 << 14;
/// Profiles up to which weights lie dense and a classifier is trained; beyond, only what occurs is kept.
const MAX_DENSE_PROFILES: usize = 2000;

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
