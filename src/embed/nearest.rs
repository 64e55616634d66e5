//! The agents whose means are nearest: a scan of all of them, or a graph once there is one.

use std::sync::Arc;
#[cfg(feature = "hnsw")]
use std::sync::OnceLock;

#[cfg(feature = "hnsw")]
use super::graph::{Graph, processors};
use super::index::{Index, VectorIndex};

/// Vectors up to which every one is compared with each prompt.
pub(super) const MAX_EXACT: usize = 50_000;
/// Agents that are compared in full where there are more.
pub(super) const SHORTLIST: usize = 100;

/// One vector per agent, and the way to the nearest.
pub(super) struct Nearest {
    pub(super) centroids: Arc<VectorIndex>,
    #[cfg(feature = "hnsw")]
    graph: Arc<OnceLock<Graph>>,
}

impl Nearest {
    /// Over `centroids`. With very many, a graph is built beside: until it is there, the scan answers.
    pub(super) fn over(centroids: VectorIndex) -> Self {
        let centroids = Arc::new(centroids);
        #[cfg(feature = "hnsw")]
        {
            let graph = Arc::new(OnceLock::new());
            if centroids.len() > MAX_EXACT {
                build_beside(centroids.clone(), &graph);
            }
            Self { centroids, graph }
        }
        #[cfg(not(feature = "hnsw"))]
        {
            if centroids.len() > MAX_EXACT {
                let agents = centroids.len();
                tracing::warn!(
                    agents,
                    "every prompt is compared with all agents: a program built with the feature hnsw has a faster way"
                );
            }
            Self { centroids }
        }
    }

    /// Places of at most `count` agents, nearest first.
    pub(super) fn places(&self, unit: &[f32], count: usize, among: Option<&[usize]>) -> Vec<usize> {
        let few = among.is_some_and(|among| among.len() <= MAX_EXACT);
        let found = self.graph().filter(|_| !few).map(|graph| graph.nearest(unit, count, among)).unwrap_or_default();
        if found.is_empty() { self.centroids.nearest(unit, count, among) } else { found }
    }

    #[cfg(feature = "hnsw")]
    fn graph(&self) -> Option<&dyn Index> {
        self.graph.get().map(|graph| graph as &dyn Index)
    }

    #[cfg(not(feature = "hnsw"))]
    #[expect(clippy::unused_self, reason = "with the feature hnsw it looks")]
    fn graph(&self) -> Option<&dyn Index> {
        None
    }
}

/// Builds the graph on a thread of its own; half an hour and more for a million. It gives up when nobody waits for it any more.
#[cfg(feature = "hnsw")]
fn build_beside(centroids: Arc<VectorIndex>, graph: &Arc<OnceLock<Graph>>) {
    let slot = Arc::downgrade(graph);
    let work = move || {
        let (agents, started) = (centroids.len(), std::time::Instant::now());
        // Half of the processors: jobs go on meanwhile.
        match Graph::build(&centroids, processors().div_ceil(2), || slot.strong_count() > 0) {
            Ok(Some(graph)) => {
                let slot = slot.upgrade();
                if slot.is_some_and(|slot| slot.set(graph).is_ok()) {
                    tracing::info!(agents, seconds = started.elapsed().as_secs(), "the graph over the agents is ready");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(agents, error, "no graph over the agents: every prompt is compared with all"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("agents-graph".into()).spawn(work) {
        tracing::warn!(%error, "no thread for a graph over the agents: every prompt is compared with all");
    }
}
