//! Vectors of a model server where it has them, else words and letters.
//!
//! A server of chat completions need not have embeddings. That it has none is found out once, at the first text, and
//! remembered while the process runs; an outage is none of that: the job's retry owns it.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use super::{Embedder, Fitted, Lexical, Profile, Question};
use crate::{
    job::{ErrorCode, JobError},
    llm::CallContext,
};

/// What the server said when it turned out to have no embeddings.
type Missing = Arc<OnceLock<String>>;

/// An embedder over a server that may have no embeddings.
pub(super) struct Fallback {
    dense: Arc<dyn Embedder>,
    missing: Missing,
}

impl Fallback {
    /// Asks `dense`, as long as it can answer.
    pub(super) fn new(dense: Arc<dyn Embedder>) -> Self {
        Self { dense, missing: Missing::default() }
    }
}

/// Whether the server has no such path or no such model.
fn is_missing(error: &JobError) -> bool {
    error.code == ErrorCode::LlmUnavailable && !error.retryable
}

/// Whether a server that fails so for all the agents' texts has no embeddings. One prompt that it refuses says nothing.
fn refuses_all(error: &JobError) -> bool {
    is_missing(error) || matches!(error.code, ErrorCode::LlmRefused | ErrorCode::LlmBadOutput)
}

/// Remembers that there are no embeddings, and says so once.
fn give_up(missing: &Missing, error: &JobError) {
    if missing.set(error.message.clone()).is_ok() {
        tracing::warn!(%error, "no embeddings: agents are found by words and letters; set embeddings.provider to choose");
    }
}

#[async_trait]
impl Embedder for Fallback {
    fn name(&self) -> &str {
        if self.missing.get().is_some() { Lexical.name() } else { self.dense.name() }
    }

    async fn fit(&self, profiles: &[Profile]) -> Result<Arc<dyn Fitted>, JobError> {
        let lexical = Lexical.fit(profiles).await?;
        if self.missing.get().is_some() {
            return Ok(lexical);
        }
        match self.dense.fit(profiles).await {
            Ok(dense) => Ok(Arc::new(Either { dense, lexical, missing: self.missing.clone() })),
            Err(error) if refuses_all(&error) => {
                give_up(&self.missing, &error);
                Ok(lexical)
            }
            Err(error) => Err(error),
        }
    }

    fn warning(&self) -> Option<String> {
        let why = self.missing.get()?;
        Some(format!("the agent was found by words and letters, since the model server has no embeddings: {why}"))
    }
}

/// Vectors kept from before let a registry be learned without the server: the first prompt may be what asks it.
struct Either {
    dense: Arc<dyn Fitted>,
    lexical: Arc<dyn Fitted>,
    missing: Missing,
}

#[async_trait]
impl Fitted for Either {
    fn default_threshold(&self) -> f64 {
        let fitted = if self.missing.get().is_some() { &self.lexical } else { &self.dense };
        fitted.default_threshold()
    }

    async fn question(&self, text: &str, context: &CallContext<'_>) -> Result<Question, JobError> {
        if self.missing.get().is_none() {
            match self.dense.question(text, context).await {
                Err(error) if is_missing(&error) => give_up(&self.missing, &error),
                question => return question,
            }
        }
        self.lexical.question(text, context).await
    }

    fn scores(&self, question: &Question, among: Option<&[usize]>) -> Vec<(usize, f64)> {
        let fitted = if question.unit.is_some() { &self.dense } else { &self.lexical };
        fitted.scores(question, among)
    }

    fn vector(&self, place: usize) -> Option<&[f32]> {
        self.dense.vector(place)
    }
}
