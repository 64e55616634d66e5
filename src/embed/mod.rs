//! How near a text is to each of a set of profiles: by words and letters, or by vectors of a model.
//!
//! An [`Embedder`] learns the profiles once ([`Embedder::fit`]); what it learned answers any number of texts.

mod alike;
mod dense;
mod fallback;
mod features;
mod fitted;
#[cfg(feature = "hnsw")]
mod graph;
mod index;
mod lexical;
mod linear;
#[cfg(feature = "local-embeddings")]
mod local;
mod nearest;
mod openai;
mod qdrant;
mod related;
mod softmax;
#[cfg(test)]
mod tests;
mod texts;
mod vectors;
mod vocabulary;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

pub use alike::{alike, likeness};
pub use dense::{Aggregate, Dense, Encoder};
use fallback::Fallback;
pub(crate) use features::stems;
#[cfg(feature = "hnsw")]
pub use graph::{Graph, processors};
pub use index::{Index, VectorIndex};
pub use lexical::Lexical;
#[cfg(feature = "local-embeddings")]
pub use local::LocalEncoder;
pub use openai::OpenAiEncoder;
pub use qdrant::{Collection, Hit, Point};
pub use vectors::VectorCache;

use crate::{
    job::JobError,
    llm::CallContext,
    settings::{Aggregation, EmbeddingsProvider, Settings},
    store::SharedStore,
};

/// What is known of one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// What it is called; only words are compared with it.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Sentences that belong to it.
    pub examples: Vec<String>,
    /// What its tools do, one text each.
    pub tools: Vec<String>,
}

/// Compares texts with profiles.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Its name in results, with the model where there is one: `lexical`, `openai/text-embedding-3-small`.
    fn name(&self) -> &str;

    /// Learns `profiles`.
    ///
    /// # Errors
    /// `llm_*` where vectors come from a server.
    async fn fit(&self, profiles: &[Profile]) -> Result<Arc<dyn Fitted>, JobError>;

    /// What whoever gets a result by it should know.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// A text, ready to be compared with profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its words.
    pub text: String,
    /// Its vector, of length 1, for those that compare vectors.
    pub unit: Option<Vec<f32>>,
}

impl Question {
    /// A question of words only.
    #[must_use]
    pub fn of_words(text: &str) -> Self {
        Self { text: text.to_owned(), unit: None }
    }
}

/// An embedder that has learned its profiles.
#[async_trait]
pub trait Fitted: Send + Sync {
    /// The score from which on a profile fits, where nobody set another: found by measuring this embedder.
    fn default_threshold(&self) -> f64;

    /// What `text` asks: the one step that may need a server.
    ///
    /// # Errors
    /// `llm_*` where vectors come from a server; a vector that is empty, zero or of another dimension than the
    /// profiles' is an error and never a score.
    async fn question(&self, text: &str, context: &CallContext<'_>) -> Result<Question, JobError>;

    /// Places of profiles with their scores, from -1 to 1, in ascending order of the places: of those `among` (in
    /// ascending order), or of all. Where there are very many, only of those that may be nearest.
    fn scores(&self, question: &Question, among: Option<&[usize]>) -> Vec<(usize, f64)>;

    /// The one vector that stands for a profile, where there are vectors: the mean of its texts'.
    fn vector(&self, _place: usize) -> Option<&[f32]> {
        None
    }
}

/// The embedder that the configuration asks for. `client` carries requests to a server; vectors are kept in `store`,
/// where there is one.
///
/// # Errors
/// What is wrong with the local encoder's directory, or that this program was built without one.
pub fn from_settings(
    settings: &Settings,
    client: &reqwest::Client,
    store: Option<SharedStore>,
) -> Result<Arc<dyn Embedder>, String> {
    let encoder: Arc<dyn Encoder> = match settings.embeddings_provider() {
        EmbeddingsProvider::Auto | EmbeddingsProvider::Lexical => return Ok(Arc::new(Lexical)),
        EmbeddingsProvider::Openai => Arc::new(OpenAiEncoder::new(client.clone(), settings)),
        EmbeddingsProvider::Local => local(settings.embeddings.directory.as_deref().unwrap_or_default().as_ref())?,
    };
    // What is in a collection has one vector: whoever is compared beside it is compared in the same way.
    let needs_vectors = settings.routing.qdrant.url.is_some();
    let aggregate = match settings.embeddings.aggregate {
        Aggregation::Auto if needs_vectors => Aggregation::Centroid,
        aggregate => aggregate,
    };
    let dense = Arc::new(Dense::new(encoder, aggregate, store.map(VectorCache::new)));
    // Who did not ask for a server's vectors is not told that there are none, but served without.
    // A collection of vectors cannot be searched without.
    Ok(match settings.embeddings.provider {
        EmbeddingsProvider::Auto if !needs_vectors => Arc::new(Fallback::new(dense)),
        _ => dense,
    })
}

#[cfg(feature = "local-embeddings")]
fn local(directory: &Path) -> Result<Arc<dyn Encoder>, String> {
    LocalEncoder::load(directory).map(|encoder| Arc::new(encoder) as Arc<dyn Encoder>)
}

#[cfg(not(feature = "local-embeddings"))]
fn local(_: &Path) -> Result<Arc<dyn Encoder>, String> {
    Err("embeddings.provider: this program was built without the feature local-embeddings".into())
}
