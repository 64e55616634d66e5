//! How agents are found: where vectors come from, what scores become, and which other agents there are.

#![expect(missing_docs, reason = "config.yaml documents every key")]

use serde::{Deserialize, Serialize};

use super::{secret::Secret, sections::section};

/// Who compares texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingsProvider {
    /// `openai` when a key or base URL is set for embeddings or the model, else `lexical`.
    Auto,
    /// Words and letters; needs nothing.
    Lexical,
    /// Any server that speaks Embeddings.
    Openai,
    /// A sentence encoder from a directory.
    Local,
}

/// What an agent's vectors become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// `hybrid` for `local`, `max_centroid` for `openai`.
    Auto,
    /// Cosine with their mean.
    Centroid,
    /// The mean of that and the best single cosine.
    MaxCentroid,
    /// `max_centroid` mixed with a linear classifier trained on them.
    Linear,
    /// `max_centroid` mixed with the scores of `lexical`.
    Hybrid,
}

section! {
    /// How texts become vectors.
    Embeddings {
        provider: EmbeddingsProvider = EmbeddingsProvider::Auto,
        model: String = "text-embedding-3-small".into(),
        /// Taken from `llm.base_url` when left out.
        base_url: Option<String> = None,
        /// Taken from `llm.api_key` only where the address is `llm.base_url`: a key never goes to another server.
        api_key: Option<Secret> = None,
        /// Of the local encoder: safetensors, tokenizer.json and config.json.
        directory: Option<String> = None,
        /// Texts in one request.
        batch: usize = 256,
        aggregate: Aggregation = Aggregation::Auto,
    }
}

section! {
    /// How an agent is chosen.
    Routing {
        threshold: Option<f64> = None,
        show_top_n: usize = 5,
        /// The model chooses among the five best.
        llm_pick: bool = false,
        /// Agents that live in a collection.
        qdrant: Qdrant = Qdrant::default(),
    }
}

section! {
    /// A collection of agents on a Qdrant server.
    Qdrant {
        url: Option<String> = None,
        api_key: Option<Secret> = None,
        collection: String = "agents".into(),
        /// Agents of the collection that a prompt is compared with.
        limit: usize = 50,
    }
}
