//! Results and blobs behind a reference.

use std::time::Duration;

use bytes::Bytes;

use super::{SharedStore, StoreError};

/// References `artifact://<id>` and `cas://sha256:<hex>`, readable from any worker of the fleet.
#[derive(Clone)]
pub struct Artifacts {
    store: SharedStore,
    ttl: Duration,
}

impl Artifacts {
    /// Artifacts in `store`, each kept for `ttl` after it was written.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// Keeps `bytes` and gives the reference to them.
    pub async fn put(&self, bytes: Bytes) -> Result<String, StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        self.store.put_new(&key(&id), bytes, self.ttl).await?;
        Ok(format!("artifact://{id}"))
    }

    /// What `reference` (or the bare id) stands for.
    pub async fn get(&self, reference: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.store.get(&key(bare(reference))).await? {
            return Ok(Some(bytes));
        }
        // An orchestrator keeps its own blobs under the reference itself.
        for foreign in [format!("cas:{reference}"), format!("cas:{}", bare(reference))] {
            if let Some(bytes) = self.store.foreign(&foreign).await? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

fn key(id: &str) -> String {
    format!("artifacts:{id}")
}

/// A reference without its scheme.
fn bare(reference: &str) -> &str {
    reference.strip_prefix("artifact://").or_else(|| reference.strip_prefix("cas://")).unwrap_or(reference)
}
