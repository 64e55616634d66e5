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
    fitted::FittedDense,
    texts::{everyday, texts_of},
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
    /// That, in the order of a linear classifier trained on all agents' vectors, where there are examples.
    Linear,
    /// The same, and what words and letters say besides: they know names and terms that meaning blurs.
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

#[async_trait]
impl Embedder for Dense {
    fn name(&self) -> &str {
        self.encoder.name()
    }

    async fn fit(&self, profiles: &[Profile]) -> Result<Arc<dyn Fitted>, JobError> {
        let own = texts_of(profiles, self.aggregate);
        let mut texts: Vec<String> = own.iter().flatten().cloned().collect();
        // Where nothing but descriptions is known, what is nobody's business says what is usual for them.
        if self.aggregate == Aggregate::Hybrid && profiles.iter().all(|profile| profile.examples.is_empty()) {
            texts.extend(everyday().map(str::to_owned));
        }
        texts.sort_unstable();
        texts.dedup();
        let vectors = self.vectors(texts).await?;
        let (encoder, aggregate, profiles) = (self.encoder.clone(), self.aggregate, profiles.to_vec());
        // A classifier takes seconds to learn: not on a thread that serves connections.
        let learn = move || FittedDense::learn(encoder, aggregate, &profiles, &own, &vectors);
        let done = tokio::task::spawn_blocking(learn).await;
        let failed = |e| JobError::new(ErrorCode::Internal, format!("learning the agents failed: {e}"));
        Ok(Arc::new(done.map_err(failed)??))
    }
}
