//! Results and blobs behind a reference.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Blobs, SharedStore, StoreBlobs, StoreError};
use crate::job::Owner;

/// Bytes from which on hashing is left to a thread that may be blocked.
const HASH_ASIDE: usize = 1 << 20;
/// One of the 256 parts of all blobs is looked through for old ones in each of these.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// The SHA-256 of some bytes: their address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHash(String);

impl ContentHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The hash in `cas://sha256:<hex>`, `sha256:<hex>` or a name under which it was kept.
    #[must_use]
    pub fn parse(reference: &str) -> Option<Self> {
        let bare = reference.strip_prefix("cas://").unwrap_or(reference);
        let hex = bare.strip_prefix("sha256:")?;
        let fits = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        fits.then(|| Self(hex.to_owned()))
    }

    /// 64 lower-case digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// Which of the 256 parts it belongs to.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.0[..2]
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cas://sha256:{}", self.0)
    }
}

/// References `cas://sha256:<hex>` and `artifact://<id>`, readable from any worker of the fleet.
#[derive(Clone)]
pub struct Artifacts {
    store: SharedStore,
    blobs: Arc<dyn Blobs>,
    ttl: Duration,
    max_bytes: usize,
}

impl Artifacts {
    /// Artifacts in `store`, each kept for `ttl` after it was last written.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        let blobs = Arc::new(StoreBlobs::new(store.clone(), ttl));
        Self { store, blobs, ttl, max_bytes: usize::MAX }
    }

    /// The same with the bytes elsewhere. What is in the store is still found.
    #[must_use]
    pub fn kept_in(self, blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, ..self }
    }

    /// The same with a bound on what is taken in.
    #[must_use]
    pub fn at_most(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// How large an artifact may be.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Whether artifacts can be kept.
    ///
    /// # Errors
    /// The backend is away, or refuses us.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.blobs.probe().await
    }

    /// Keeps `bytes` and gives the reference to them, which is the same for the same bytes.
    ///
    /// # Errors
    /// They are too large, or the backend failed; nothing can then be seen of them.
    pub async fn put(&self, bytes: Bytes) -> Result<String, StoreError> {
        if bytes.len() > self.max_bytes {
            return Err(StoreError::refused(format!(
                "{} bytes are more than store.artifact_max_bytes ({})",
                bytes.len(),
                self.max_bytes
            )));
        }
        let hash = hash(&bytes).await?;
        self.blobs.put(&hash, bytes).await?;
        Ok(hash.to_string())
    }

    /// The same for a job of `owner`: also kept is that they are the owner's. The same bytes may be several owners'.
    ///
    /// # Errors
    /// As [`Artifacts::put`].
    pub async fn put_for(&self, owner: Option<&Owner>, bytes: Bytes) -> Result<String, StoreError> {
        let reference = self.put(bytes).await?;
        if let Some(owner) = owner {
            self.store.put(&owner_key(bare(&reference), owner), Bytes::from_static(b"1"), self.ttl).await?;
        }
        Ok(reference)
    }

    /// Whether `owner` has kept what is at `reference` (or the bare id).
    ///
    /// # Errors
    /// The store failed.
    pub async fn is_of(store: &SharedStore, reference: &str, owner: &Owner) -> Result<bool, StoreError> {
        Ok(store.get(&owner_key(bare(reference), owner)).await?.is_some())
    }

    /// The store they are in.
    #[must_use]
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// What `reference` (or the bare id) stands for.
    ///
    /// # Errors
    /// The backend failed, or what it keeps there is not what was put there.
    pub async fn get(&self, reference: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(hash) = ContentHash::parse(reference)
            && let Some(bytes) = self.checked(&hash).await?
        {
            return Ok(Some(bytes));
        }
        if let Some(bytes) = self.store.get(&key(bare(reference))).await? {
            return Ok(Some(bytes));
        }
        self.foreign(reference).await
    }

    /// What an orchestrator keeps under `reference` itself: its own blobs. What it hashes is its own affair.
    ///
    /// # Errors
    /// The store failed.
    pub async fn foreign(&self, reference: &str) -> Result<Option<Bytes>, StoreError> {
        for foreign in [format!("cas:{reference}"), format!("cas:{}", bare(reference))] {
            if let Some(bytes) = self.store.foreign(&foreign).await? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    async fn checked(&self, hash: &ContentHash) -> Result<Option<Bytes>, StoreError> {
        let Some(bytes) = self.blobs.get(hash).await? else { return Ok(None) };
        if self::hash(&bytes).await? == *hash {
            return Ok(Some(bytes));
        }
        Err(StoreError::refused(format!(
            "what is kept at {hash} is damaged: its {} bytes have another hash; run the job again",
            bytes.len()
        )))
    }

    /// Deletes what is older than its time, one part after the other, until `closing` fires. Nothing to do where the
    /// backend forgets by itself.
    pub async fn sweep(self, closing: CancellationToken) {
        let mut part: u8 = rand::random();
        while self.blobs.needs_sweeping() {
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            match self.blobs.sweep(&format!("{part:02x}"), self.ttl).await {
                Ok(0) => {}
                Ok(gone) => tracing::debug!(gone, "old artifacts were deleted"),
                Err(error) => tracing::warn!(%error, "old artifacts could not be deleted"),
            }
            part = part.wrapping_add(1);
        }
    }
}

/// The hash of `bytes`, without holding up other tasks.
async fn hash(bytes: &Bytes) -> Result<ContentHash, StoreError> {
    if bytes.len() < HASH_ASIDE {
        return Ok(ContentHash::of(bytes));
    }
    let bytes = bytes.clone();
    let hashed = tokio::task::spawn_blocking(move || ContentHash::of(&bytes)).await;
    hashed.map_err(|e| StoreError::refused(format!("an artifact could not be hashed: {e}")))
}

/// The name of a blob, or of an artifact under an id of its own, in a store of keys.
pub(super) fn key(id: &str) -> String {
    format!("artifacts:{id}")
}

fn owner_key(id: &str, owner: &Owner) -> String {
    format!("artifact-owners:{id}:{}", owner.as_str())
}

/// A reference without its scheme.
fn bare(reference: &str) -> &str {
    reference.strip_prefix("artifact://").or_else(|| reference.strip_prefix("cas://")).unwrap_or(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_hash_and_nothing_else() {
        let hash = ContentHash::of(b"[1.10]");
        assert_eq!(hash.hex().len(), 64);
        let full = hash.to_string();
        assert_eq!(ContentHash::parse(&full).as_ref(), Some(&hash));
        assert_eq!(ContentHash::parse(full.strip_prefix("cas://").unwrap()), Some(hash.clone()));
        let (upper, short) = (full.to_uppercase(), &full[..full.len() - 1]);
        let climbing = format!("sha256:{:0>64}", "../../etc/passwd");
        for bad in [hash.hex(), &upper, short, &climbing, "cas://sha256:", "artifact://sha256:1", ""] {
            assert_eq!(ContentHash::parse(bad), None, "{bad}");
        }
    }
}
