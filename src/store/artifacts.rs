//! Results and blobs behind a reference.

use std::time::Duration;

use bytes::Bytes;

use super::{SharedStore, StoreError};
use crate::job::Owner;

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

    /// The same for a job of `owner`: also kept is whose they are.
    pub async fn put_for(&self, owner: Option<&Owner>, bytes: Bytes) -> Result<String, StoreError> {
        let reference = self.put(bytes).await?;
        if let Some(owner) = owner {
            let mark = Bytes::copy_from_slice(owner.as_str().as_bytes());
            self.store.put_new(&owner_key(bare(&reference)), mark, self.ttl).await?;
        }
        Ok(reference)
    }

    /// Whose the artifact at `reference` (or of the bare id) is; nothing where it is nobody's or not there.
    pub async fn owner_of(store: &SharedStore, reference: &str) -> Result<Option<Owner>, StoreError> {
        let mark = store.get(&owner_key(bare(reference))).await?;
        Ok(mark.and_then(|mark| Owner::stored(std::str::from_utf8(&mark).ok()?)))
    }

    /// The store they are in.
    #[must_use]
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// What `reference` (or the bare id) stands for.
    pub async fn get(&self, reference: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.store.get(&key(bare(reference))).await? {
            return Ok(Some(bytes));
        }
        self.foreign(reference).await
    }

    /// What an orchestrator keeps under `reference` itself: its own blobs.
    pub async fn foreign(&self, reference: &str) -> Result<Option<Bytes>, StoreError> {
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

fn owner_key(id: &str) -> String {
    format!("artifact-owners:{id}")
}

/// A reference without its scheme.
fn bare(reference: &str) -> &str {
    reference.strip_prefix("artifact://").or_else(|| reference.strip_prefix("cas://")).unwrap_or(reference)
}
