//! Vectors of a model: of each agent's texts once, of each prompt when it comes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::{
    Embedder, Fitted, Profile, VectorCache,
    index::VectorIndex,
    linear::{Row, Weights},
};
use crate::{
    job::{ErrorCode, JobError, Meter},
    llm::CallContext,
    settings::Aggregation,
};

/// Longest time for embedding a whole registry.
const FIT_TIMEOUT: Duration = Duration::from_secs(600);
/// Share of the classifier where there is one.
const CLASSIFIER_SHARE: f32 = 0.5;

/// Turns texts into vectors.
#[async_trait]
pub trait Encoder: Send + Sync {
    /// Its name in results, with the model: vectors of one name can be compared with each other.
    fn name(&self) -> &str;

    /// The score from which on an agent fits, found by measuring this encoder.
    fn default_threshold(&self) -> f64;

    /// What [`Aggregation::Auto`] stands for.
    fn default_aggregation(&self) -> Aggregation;

    /// One vector per text, in their order; a text that cannot be embedded has its own error.
    ///
    /// # Errors
    /// `llm_*` where nothing can be embedded at all.
    async fn encode(
        &self,
        texts: &[String],
        context: &CallContext<'_>,
    ) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError>;
}

/// How an agent's vectors become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The cosine with their mean.
    Centroid,
    /// The mean of that and the best single cosine.
    MaxCentroid,
    /// That, mixed with a linear classifier trained on all agents' vectors.
    Linear,
}

impl Aggregate {
    fn of(setting: Aggregation, encoder: &dyn Encoder) -> Self {
        match setting {
            Aggregation::Auto if encoder.default_aggregation() != Aggregation::Auto => {
                Self::of(encoder.default_aggregation(), encoder)
            }
            Aggregation::Auto | Aggregation::MaxCentroid => Self::MaxCentroid,
            Aggregation::Centroid => Self::Centroid,
            Aggregation::Linear => Self::Linear,
        }
    }
}

/// The embedder over an [`Encoder`].
pub struct Dense {
    encoder: Arc<dyn Encoder>,
    aggregate: Aggregate,
    cache: Option<VectorCache>,
}

impl Dense {
    /// An embedder that keeps vectors in `cache`, where there is one.
    #[must_use]
    pub fn new(encoder: Arc<dyn Encoder>, aggregation: Aggregation, cache: Option<VectorCache>) -> Self {
        let aggregate = Aggregate::of(aggregation, &*encoder);
        Self { encoder, aggregate, cache }
    }

    /// The vectors of `texts`, each text once; what was kept is not computed again.
    async fn vectors(&self, texts: Vec<String>) -> Result<FxHashMap<String, Vec<f32>>, JobError> {
        let name = self.encoder.name();
        let kept = match &self.cache {
            Some(cache) => cache.get(name, &texts).await,
            None => vec![None; texts.len()],
        };
        let (mut vectors, mut missing) = (FxHashMap::default(), Vec::new());
        for (text, kept) in texts.into_iter().zip(kept) {
            match kept {
                Some(vector) => {
                    vectors.insert(text, vector);
                }
                None => missing.push(text),
            }
        }
        if missing.is_empty() {
            return Ok(vectors);
        }
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let deadline = Instant::now() + FIT_TIMEOUT;
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        let encoded = self.encoder.encode(&missing, &context).await?;
        let mut fresh: Vec<(&String, &Vec<f32>)> = Vec::new();
        for (text, encoded) in missing.iter().zip(&encoded) {
            match encoded {
                Ok(vector) => fresh.push((text, vector)),
                Err(error) => tracing::warn!(%error, "a text of an agent cannot be embedded and is left out"),
            }
        }
        if let Some(cache) = &self.cache {
            cache.put(name, &fresh).await;
        }
        vectors.extend(missing.into_iter().zip(encoded).filter_map(|(text, encoded)| Some((text, encoded.ok()?))));
        Ok(vectors)
    }
}

/// The texts of a profile that are embedded.
fn texts_of(profile: &Profile) -> Vec<&String> {
    let description = (!profile.description.is_empty()).then_some(&profile.description);
    let mut texts: Vec<&String> = description.into_iter().chain(&profile.examples).chain(&profile.tools).collect();
    if texts.is_empty() {
        texts.push(&profile.name);
    }
    texts
}

#[async_trait]
impl Embedder for Dense {
    fn name(&self) -> &str {
        self.encoder.name()
    }

    async fn fit(&self, profiles: &[Profile]) -> Result<Arc<dyn Fitted>, JobError> {
        let mut texts: Vec<String> = profiles.iter().flat_map(texts_of).cloned().collect();
        texts.sort_unstable();
        texts.dedup();
        let vectors = self.vectors(texts).await?;
        let (mut rows, mut owners, mut centroids) = (VectorIndex::new(), Vec::new(), VectorIndex::new());
        for (owner, profile) in profiles.iter().enumerate() {
            let first = rows.len();
            for vector in texts_of(profile).into_iter().filter_map(|text| vectors.get(text)) {
                rows.push(vector)?;
                owners.push(owner);
            }
            if rows.len() == first {
                let message = format!("no text of the agent {:?} could be embedded", profile.name);
                return Err(JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false));
            }
            centroids.push(&mean(&rows, first))?;
        }
        let learns = self.aggregate == Aggregate::Linear && profiles.iter().any(|profile| !profile.examples.is_empty());
        let classifier = learns.then(|| {
            let sparse: Vec<Row> = (0..rows.len()).map(|row| row_of(rows.row(row))).collect();
            Weights::train(rows.row(0).len(), profiles.len(), &sparse, &owners)
        });
        let encoder = self.encoder.clone();
        Ok(Arc::new(FittedDense { encoder, aggregate: self.aggregate, rows, owners, centroids, classifier }))
    }
}

/// The mean of the rows from `first` on.
fn mean(rows: &VectorIndex, first: usize) -> Vec<f32> {
    let mut sum = rows.row(first).to_vec();
    for row in first + 1..rows.len() {
        for (sum, value) in sum.iter_mut().zip(rows.row(row)) {
            *sum += value;
        }
    }
    // Opposite texts may cancel out: the first one then has to stand for all.
    if sum.iter().all(|value| value.abs() < 1e-6) { rows.row(first).to_vec() } else { sum }
}

fn row_of(vector: &[f32]) -> Row {
    (0..).zip(vector.iter().copied()).collect()
}

/// The agents' vectors.
struct FittedDense {
    encoder: Arc<dyn Encoder>,
    aggregate: Aggregate,
    rows: VectorIndex,
    /// By row: the place of its agent.
    owners: Vec<usize>,
    centroids: VectorIndex,
    classifier: Option<Weights>,
}

impl FittedDense {
    fn compare(&self, unit: &[f32]) -> Vec<f32> {
        let mut scores: Vec<f32> = self.centroids.cosines(unit).collect();
        if self.aggregate == Aggregate::Centroid {
            return scores;
        }
        let mut best = vec![-1.0_f32; scores.len()];
        for (cosine, owner) in self.rows.cosines(unit).zip(&self.owners) {
            best[*owner] = best[*owner].max(cosine);
        }
        for (score, best) in scores.iter_mut().zip(&best) {
            *score = (*score + best) / 2.0;
        }
        if let Some(classifier) = &self.classifier {
            let mut learned = Vec::new();
            classifier.apply(&row_of(unit), &mut learned);
            for (score, learned) in scores.iter_mut().zip(&learned) {
                *score = (1.0 - CLASSIFIER_SHARE) * *score + CLASSIFIER_SHARE * learned;
            }
        }
        scores
    }
}

#[async_trait]
impl Fitted for FittedDense {
    fn default_threshold(&self) -> f64 {
        self.encoder.default_threshold()
    }

    async fn scores(&self, text: &str, context: &CallContext<'_>) -> Result<Vec<f64>, JobError> {
        // Servers refuse an empty text; it has no meaning to compare either way.
        let text = if text.trim().is_empty() { "(nothing)" } else { text };
        let encoded = self.encoder.encode(std::slice::from_ref(&text.to_owned()), context).await?;
        let vector = encoded
            .into_iter()
            .next()
            .ok_or_else(|| JobError::new(ErrorCode::LlmBadOutput, "the embedder gave no vector for the prompt"))??;
        let unit = self.rows.unit(&vector)?;
        Ok(self.compare(&unit).into_iter().map(|score| f64::from(score.clamp(-1.0, 1.0))).collect())
    }
}
