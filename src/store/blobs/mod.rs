//! Bytes by the hash of their content: written whole or not at all, the same bytes once.

mod files;
#[cfg(feature = "object-store")]
mod s3;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{SharedStore, StoreError, artifacts, artifacts::ContentHash};

pub use files::FileBlobs;
#[cfg(feature = "object-store")]
pub use s3::S3Blobs;

/// A place for blobs. Hashes are made and proved by [`super::Artifacts`].
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Whether the place is there and may be used.
    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keeps `bytes`, anew where they are there already. Until it is done nothing can be seen of them.
    async fn put(&self, hash: &ContentHash, bytes: Bytes) -> Result<(), StoreError>;

    /// What was put there.
    async fn get(&self, hash: &ContentHash) -> Result<Option<Bytes>, StoreError>;

    /// Whether old blobs stay until somebody deletes them.
    fn needs_sweeping(&self) -> bool {
        true
    }

    /// Deletes the blobs of a part (the first two digits of their hashes) that were put there longer than `ttl` ago,
    /// and says how many.
    async fn sweep(&self, part: &str, ttl: Duration) -> Result<u64, StoreError>;
}

/// Blobs in the store of keys, which ends them by itself.
pub struct StoreBlobs {
    store: SharedStore,
    ttl: Duration,
}

impl StoreBlobs {
    /// Blobs in `store`, each kept for `ttl`.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }
}

fn key(hash: &ContentHash) -> String {
    artifacts::key(&format!("sha256:{}", hash.hex()))
}

#[async_trait]
impl Blobs for StoreBlobs {
    async fn put(&self, hash: &ContentHash, bytes: Bytes) -> Result<(), StoreError> {
        self.store.put_large(&key(hash), bytes, self.ttl).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<Bytes>, StoreError> {
        self.store.get(&key(hash)).await
    }

    fn needs_sweeping(&self) -> bool {
        false
    }

    async fn sweep(&self, _part: &str, _ttl: Duration) -> Result<u64, StoreError> {
        Ok(0)
    }
}
