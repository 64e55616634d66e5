//! Vectors that were computed before, by the hash of their text and their encoder: a text is embedded once, also
//! over restarts.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::store::SharedStore;

/// How long a vector is kept after it was written: as good as for ever, and yet gone one day when nobody needs it.
const TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// Reads and writes under way at once.
const AT_ONCE: usize = 64;

/// Vectors in a store. A store that fails costs time and no result: it is as if nothing were kept.
#[derive(Clone)]
pub struct VectorCache {
    store: SharedStore,
}

impl VectorCache {
    /// Vectors in `store`.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self { store }
    }

    /// What is kept of `texts`, in their order.
    pub(super) async fn get(&self, encoder: &str, texts: &[String]) -> Vec<Option<Vec<f32>>> {
        let keys: Vec<String> = texts.iter().map(|text| key(encoder, text)).collect();
        stream::iter(keys.into_iter().map(|key| self.read(key))).buffered(AT_ONCE).collect().await
    }

    /// Keeps vectors.
    pub(super) async fn put(&self, encoder: &str, entries: &[(&String, &Vec<f32>)]) {
        let entries: Vec<(String, Bytes)> =
            entries.iter().map(|(text, vector)| (key(encoder, text), encode(vector))).collect();
        let writes = entries.into_iter().map(|(key, bytes)| self.write(key, bytes));
        stream::iter(writes).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn read(&self, key: String) -> Option<Vec<f32>> {
        match self.store.get(&key).await {
            Ok(bytes) => bytes.as_deref().and_then(decode),
            Err(error) => {
                tracing::warn!(%error, "a kept vector could not be read; it is computed again");
                None
            }
        }
    }

    async fn write(&self, key: String, bytes: Bytes) {
        if let Err(error) = self.store.put(&key, bytes, TTL).await {
            tracing::warn!(%error, "a vector could not be kept");
        }
    }
}

fn key(encoder: &str, text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(encoder.as_bytes());
    hash.update([0]);
    hash.update(text.as_bytes());
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("vectors:{hex}")
}

fn encode(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn decode(bytes: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    (rest.is_empty() && !values.is_empty()).then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
