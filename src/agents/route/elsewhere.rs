//! Agents that are in no file here but in a collection: found by meaning, with their entry as they are found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;

use super::tags::TagIndex;
use crate::{
    agents::registry::{Agent, Registry},
    embed::Collection,
    job::JobError,
    llm::CallContext,
};

/// How long the collection's tags count as known.
const TAGS_FOR: Duration = Duration::from_secs(60);

/// A collection, and what is known of it.
pub(super) struct Elsewhere {
    collection: Arc<Collection>,
    known: Mutex<Option<Known>>,
}

/// The tags of the agents here and there.
struct Known {
    registry_hash: String,
    until: Instant,
    tags: Arc<TagIndex>,
}

/// An agent of the collection.
pub(super) struct Found {
    pub(super) agent: Agent,
    pub(super) entry: Value,
    pub(super) score: f64,
}

impl Elsewhere {
    pub(super) fn new(collection: Arc<Collection>) -> Self {
        Self { collection, known: Mutex::default() }
    }

    /// The tags of `registry` and the collection. Tags only narrow: a collection that cannot name them is no failure.
    pub(super) async fn tags(&self, registry: &Registry, context: &CallContext<'_>) -> Arc<TagIndex> {
        let current = |known: &&Known| known.registry_hash == registry.hash && Instant::now() < known.until;
        if let Some(known) = self.known.lock().as_ref().filter(current) {
            return known.tags.clone();
        }
        let there = self.collection.tags(context).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the tags of the agents' collection are not known");
            Vec::new()
        });
        let mut names = registry.tags();
        names.extend(there.iter().map(String::as_str).filter(|tag| !registry.tags().contains(tag)));
        let tags = Arc::new(TagIndex::new(&names));
        let until = Instant::now() + TAGS_FOR;
        *self.known.lock() = Some(Known { registry_hash: registry.hash.clone(), until, tags: tags.clone() });
        tags
    }

    /// The agents nearest to `unit`, best first; with `tags`, those that own any of them. One whose id an agent of
    /// `registry` has is not asked for; one that is none that could serve here is left out, with a word in the log.
    pub(super) async fn nearest(
        &self,
        registry: &Registry,
        embedder: &str,
        unit: &[f32],
        tags: &[String],
        context: &CallContext<'_>,
    ) -> Result<Vec<Found>, JobError> {
        let hits = self.collection.nearest(embedder, unit, tags, context).await?;
        let mut found: Vec<Found> = Vec::new();
        for hit in hits {
            match registry.prove(&hit.entry) {
                Ok(agent) if registry.agent(&agent.id).is_some() => {}
                Ok(agent) => found.push(Found { agent, entry: hit.entry, score: hit.score.clamp(-1.0, 1.0) }),
                Err(error) => tracing::warn!(%error, "an agent of the collection cannot be used and is left out"),
            }
        }
        Ok(found)
    }
}
