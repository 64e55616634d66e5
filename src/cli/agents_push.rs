//! `agent-runner agents push`: puts the agents of a file into a collection.

use std::path::Path;

use super::{Failure, assemble, output};
use crate::{
    agents::{self, Registry},
    embed::Point,
    settings::{Settings, environment},
};

/// Agents in one request.
const BATCH: usize = 100;

/// Embeds the agents of `path` and puts them in; with `prune`, takes out all others.
pub(super) async fn push(settings: &Settings, path: &Path, prune: bool) -> Result<(), Failure> {
    let (embedder, collection) = assemble::collection(settings)?;
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Failure::Usage(format!("{shown}: {e}")))?;
    let usage = |error: agents::RegistryError| Failure::Usage(format!("{shown}: {error}"));
    let registry = Registry::parse(&text, &environment()).map_err(usage)?;
    let entries = Registry::entries(&text).map_err(usage)?;
    let failed = |error: crate::job::JobError| Failure::Failed(error.to_string());
    let fitted = embedder.fit(&agents::profiles(&registry)).await.map_err(failed)?;
    let agents = registry.agents.iter().zip(&entries).enumerate();
    let points: Vec<Point<'_>> = agents
        .filter_map(|(i, (agent, entry))| Some(Point { id: &agent.id, vector: fitted.vector(i)?, entry }))
        .collect();
    if let Some(first) = points.first() {
        collection.create(first.vector.len()).await.map_err(failed)?;
    }
    let bar = output::progress(points.len(), "agents sent");
    for batch in points.chunks(BATCH) {
        collection.put(embedder.name(), batch).await.map_err(failed)?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    if prune {
        let ids: Vec<&str> = points.iter().map(|point| point.id).collect();
        collection.keep_only(&ids).await.map_err(failed)?;
    }
    eprintln!("{} agents are in the collection {}", points.len(), settings.routing.qdrant.collection);
    Ok(())
}
