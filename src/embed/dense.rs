//! Vectors of a model: of each agent's texts once, of each prompt when it comes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::{
    Embedder, Fitted, Profile, Question, VectorCache,
    index::VectorIndex,
    lexical::FittedLexical,
    linear::{Row, Weights},
    nearest::{MAX_EXACT, Nearest, SHORTLIST},
};
use crate::{
    job::{ErrorCode, JobError, Meter},
    llm::CallContext,
    settings::Aggregation,
};

/// Agents' texts that are embedded before they are kept: whoever is interrupted goes on from there.
const KEEP_EVERY: usize = 1024;
/// Longest time for embedding so many.
const FIT_TIMEOUT: Duration = Duration::from_secs(600);
/// Texts times agents up to which a classifier is trained: half a minute of one processor.
const MAX_LESSONS: usize = 3_000_000;
/// Share of the classifier where there is one.
const CLASSIFIER_SHARE: f32 = 0.5;
/// Share of words and letters where they are mixed in: the best of several with examples and without.
const WORDS_SHARE: f64 = 0.41;

/// Turns texts into vectors.
#[async_trait]
pub trait Encoder: Send + Sync {
    /// Its name in results, with the model: vectors of one name can be compared with each other.
    fn name(&self) -> &str;

    /// The score from which on an agent fits, found by measuring this encoder: with examples of agents, or without.
    fn default_threshold(&self, examples: bool) -> f64;

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
    /// The mean and the best, mixed with what words and letters say: they know names and terms that meaning blurs.
    Hybrid,
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
            Aggregation::Hybrid => Self::Hybrid,
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
        for texts in missing.chunks(KEEP_EVERY) {
            let encoded = self.encoded(texts).await?;
            vectors
                .extend(texts.iter().cloned().zip(encoded).filter_map(|(text, encoded)| Some((text, encoded.ok()?))));
        }
        Ok(vectors)
    }

    /// The vectors of texts that are not kept yet, and keeps them.
    async fn encoded(&self, texts: &[String]) -> Result<Vec<Result<Vec<f32>, JobError>>, JobError> {
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        let deadline = Instant::now() + FIT_TIMEOUT;
        let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
        let encoded = self.encoder.encode(texts, &context).await?;
        let mut fresh: Vec<(&String, &Vec<f32>)> = Vec::new();
        for (text, encoded) in texts.iter().zip(&encoded) {
            match encoded {
                Ok(vector) => fresh.push((text, vector)),
                Err(error) => tracing::warn!(%error, "a text of an agent cannot be embedded and is left out"),
            }
        }
        if let Some(cache) = &self.cache {
            cache.put(self.encoder.name(), &fresh).await;
        }
        Ok(encoded)
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
        let (encoder, aggregate, profiles) = (self.encoder.clone(), self.aggregate, profiles.to_vec());
        // A classifier takes seconds to learn: not on a thread that serves connections.
        let learn = move || FittedDense::learn(encoder, aggregate, &profiles, &vectors);
        let done = tokio::task::spawn_blocking(learn).await;
        let failed = |e| JobError::new(ErrorCode::Internal, format!("learning the agents failed: {e}"));
        Ok(Arc::new(done.map_err(failed)??))
    }
}

/// Meaning and words in one score.
fn mixed(meaning: f64, words: f64) -> f64 {
    (1.0 - WORDS_SHARE) * meaning + WORDS_SHARE * words
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
    /// By agent: its first row; the end of the last agent's beside them.
    firsts: Vec<usize>,
    nearest: Nearest,
    classifier: Option<Weights>,
    words: Option<FittedLexical>,
    has_examples: bool,
}

impl FittedDense {
    fn learn(
        encoder: Arc<dyn Encoder>,
        aggregate: Aggregate,
        profiles: &[Profile],
        vectors: &FxHashMap<String, Vec<f32>>,
    ) -> Result<Self, JobError> {
        let (mut rows, mut firsts, mut centroids) = (VectorIndex::new(), vec![0], VectorIndex::new());
        for profile in profiles {
            let first = rows.len();
            for vector in texts_of(profile).into_iter().filter_map(|text| vectors.get(text)) {
                rows.push(vector)?;
            }
            if rows.len() == first {
                let message = format!("no text of the agent {:?} could be embedded", profile.name);
                return Err(JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false));
            }
            centroids.push(&mean(&rows, first))?;
            firsts.push(rows.len());
        }
        let has_examples = profiles.iter().any(|profile| !profile.examples.is_empty());
        let learns = aggregate == Aggregate::Linear && has_examples && rows.len() * profiles.len() <= MAX_LESSONS;
        let classifier = learns.then(|| {
            let sparse: Vec<Row> = (0..rows.len()).map(|row| row_of(rows.row(row))).collect();
            let owners: Vec<usize> = (0..profiles.len())
                .flat_map(|agent| std::iter::repeat_n(agent, firsts[agent + 1] - firsts[agent]))
                .collect();
            Weights::train(rows.row(0).len(), profiles.len(), &sparse, &owners)
        });
        // Where only the nearest are compared, words do not find anybody.
        let mixes = aggregate == Aggregate::Hybrid && rows.len() <= MAX_EXACT && !profiles.is_empty();
        let words = mixes.then(|| FittedLexical::new(profiles));
        let nearest = Nearest::over(centroids);
        Ok(Self { encoder, aggregate, rows, firsts, nearest, classifier, words, has_examples })
    }

    /// How many vectors the agents `among` have.
    fn vectors_of(&self, among: &[usize]) -> usize {
        among.iter().map(|agent| self.firsts[agent + 1] - self.firsts[*agent]).sum()
    }

    /// The agents that are compared in full: all that may be, or, where that is too much, those with the nearest means.
    fn compared(&self, unit: &[f32], among: Option<&[usize]>) -> Vec<usize> {
        let vectors = among.map_or(self.rows.len(), |among| self.vectors_of(among));
        if vectors <= MAX_EXACT {
            return among.map_or_else(|| (0..self.firsts.len() - 1).collect(), <[usize]>::to_vec);
        }
        let mut nearest = self.nearest.places(unit, SHORTLIST, among);
        nearest.sort_unstable();
        nearest
    }

    fn score(&self, agent: usize, unit: &[f32], learned: Option<&[f32]>) -> f32 {
        let centroid = self.nearest.centroids.cosine(agent, unit);
        if self.aggregate == Aggregate::Centroid {
            return centroid;
        }
        let rows = self.firsts[agent]..self.firsts[agent + 1];
        let best = rows.map(|row| self.rows.cosine(row, unit)).fold(-1.0, f32::max);
        let near = (centroid + best) / 2.0;
        learned.map_or(near, |learned| (1.0 - CLASSIFIER_SHARE) * near + CLASSIFIER_SHARE * learned[agent])
    }
}

#[async_trait]
impl Fitted for FittedDense {
    fn default_threshold(&self) -> f64 {
        let meaning = self.encoder.default_threshold(self.has_examples);
        self.words.as_ref().map_or(meaning, |words| mixed(meaning, words.default_threshold()))
    }

    async fn question(&self, text: &str, context: &CallContext<'_>) -> Result<Question, JobError> {
        // Servers refuse an empty text; it has no meaning to compare either way.
        let asked = if text.trim().is_empty() { "(nothing)" } else { text };
        let encoded = self.encoder.encode(std::slice::from_ref(&asked.to_owned()), context).await?;
        let vector = encoded
            .into_iter()
            .next()
            .ok_or_else(|| JobError::new(ErrorCode::LlmBadOutput, "the embedder gave no vector for the prompt"))??;
        Ok(Question { text: text.to_owned(), unit: Some(self.rows.unit(&vector)?) })
    }

    fn scores(&self, question: &Question, among: Option<&[usize]>) -> Vec<(usize, f64)> {
        // Words alone are no question of this embedder's: they fit nobody.
        let Some(unit) = &question.unit else { return Vec::new() };
        let learned = self.classifier.as_ref().map(|classifier| {
            let mut learned = Vec::new();
            classifier.apply(&row_of(unit), &mut learned);
            learned
        });
        let words = self.words.as_ref().map(|words| words.score(&question.text));
        let score = |agent: usize| {
            let meaning = f64::from(self.score(agent, unit, learned.as_deref()));
            words.as_ref().map_or(meaning, |words| mixed(meaning, words[agent])).clamp(-1.0, 1.0)
        };
        self.compared(unit, among).into_iter().map(|agent| (agent, score(agent))).collect()
    }

    fn vector(&self, place: usize) -> Option<&[f32]> {
        Some(self.nearest.centroids.row(place))
    }
}
