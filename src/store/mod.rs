//! What outlives a job: artifacts, journals, sessions, pipelines that worked, records of ended jobs.
//!
//! A driver offers a handful of operations on keys; everything typed is written once, on top of them.

mod artifacts;
mod blobs;
mod bucket;
mod epoch;
mod holds;
mod journal;
mod loans;
mod memory;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
mod recorder;
mod records;
mod redis;
mod runs;
mod series;
mod sessions;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::job::{ErrorCode, JobError};

pub use artifacts::{Artifacts, ContentHash};
#[cfg(feature = "object-store")]
pub use blobs::S3Blobs;
pub use blobs::{Blobs, FileBlobs, StoreBlobs};
pub use bucket::{Draw, Place, Visit};
pub use holds::{Held, Hold};
pub use journal::{Before, Elapsed, Journal};
pub use memory::MemoryStore;
pub use outbox::{Noted, Outbox};
#[cfg(feature = "postgres")]
pub use postgres::PostgresRecords;
pub use recorder::{Keeping, Recorder, Scribe};
pub use records::{Query, Record, RecordPlace, Recorded, Records};
pub use redis::RedisStore;
pub use runs::{Run, Runs};
pub use series::{Minute, Series};
pub use sessions::{Session, SessionTurn, Sessions};

/// A store as the program holds it.
pub type SharedStore = Arc<dyn Store>;

/// One write of several that go out together.
#[derive(Debug, Clone)]
pub enum Write {
    /// The list at `key` becomes these entries: written twice, it is the same list.
    Replace {
        /// Where.
        key: String,
        /// Oldest first.
        entries: Vec<Bytes>,
        /// How long it is kept.
        ttl: Duration,
    },
    /// One more entry at the end of a list that keeps its newest `keep`.
    Push {
        /// Where.
        key: String,
        /// What.
        entry: Bytes,
        /// How many stay.
        keep: usize,
        /// How long it is kept.
        ttl: Duration,
    },
}

/// The backend could not be reached, or refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store failed: {message}")]
pub struct StoreError {
    message: String,
    away: bool,
}

impl StoreError {
    /// The backend refused, or answered what cannot be.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), away: false }
    }

    /// The backend cannot be reached now. Nothing is known of what was asked.
    #[must_use]
    pub fn away(message: impl Into<String>) -> Self {
        Self { message: message.into(), away: true }
    }

    /// Whether asking again later may help.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away
    }

    /// The error of a job that needed it; `what` says for what. While the backend is away no job has failed: it is put
    /// back, and that is no attempt.
    #[must_use]
    pub fn for_job(self, what: &str) -> JobError {
        outage(self.away, format!("{what}: {self}"))
    }
}

/// The error of a job that could not go on because a backend of the service's own failed.
#[must_use]
pub fn outage(away: bool, message: impl fmt::Display) -> JobError {
    let error = JobError::new(ErrorCode::Internal, message.to_string());
    JobError { deferred: away, retry_after: away.then_some(RETURN), ..error }
}

/// When a job looks again whether a backend that was away is back.
const RETURN: Duration = Duration::from_secs(1);

/// Keys with values and keys with lists; every key ends by itself after its time to live.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes a value, in place of an earlier one.
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError>;

    /// Writes a large value, in place of an earlier one. It may go in pieces, so that no second copy of it is made
    /// on the way; no reader sees a part of it.
    async fn put_large(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.put(key, value, ttl).await
    }

    /// Reads a value.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Adds an entry at the end of a list.
    async fn append(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError>;

    /// Reads a list, oldest entry first; empty when there is none.
    async fn list(&self, key: &str) -> Result<Vec<Bytes>, StoreError>;

    /// Forgets a value or a list.
    async fn remove(&self, key: &str) -> Result<(), StoreError>;

    /// Keeps only the newest `keep` entries of a list.
    async fn trim(&self, key: &str, keep: usize) -> Result<(), StoreError>;

    /// Adds to the counters at `key` and gives their sums, in the order of `deltas`.
    async fn count(&self, key: &str, deltas: &[(&str, i64)], ttl: Duration) -> Result<Vec<i64>, StoreError>;

    /// The counters at each of `keys` with their names; none for a key that is not there.
    async fn sums(&self, keys: &[String]) -> Result<Vec<Vec<(String, i64)>>, StoreError>;

    /// One visit at the buckets of the limit `key`. Zero when it was taken, else the time after which to come back.
    async fn draw(&self, key: &str, draws: &[Draw], visit: Visit<'_>) -> Result<Duration, StoreError>;

    /// Holds a part of an allowance of `limits` (0: none) for one request, until that is settled or `ttl` has passed.
    async fn hold(&self, hold: &Hold<'_>, limits: [u64; 2], ttl: Duration) -> Result<Held, StoreError>;

    /// Adds what a request has used to the sums of its period, which are kept for `ttl`, and ends its hold.
    async fn settle(&self, hold: &Hold<'_>, ttl: Duration) -> Result<(), StoreError>;

    /// Makes all of `writes` in one round trip.
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Lends one of `among` to `holder` until `ttl` has passed: the one with the fewest loans, the first of equals.
    /// A holder that has one of them already keeps it, and its time begins anew. Gives its place in `among`.
    async fn borrow(&self, key: &str, among: &[&str], holder: &str, ttl: Duration) -> Result<usize, StoreError>;

    /// Ends the loan of `holder`, where it has one.
    async fn give_back(&self, key: &str, holder: &str) -> Result<(), StoreError>;

    /// Whether what was written not long ago may be gone: the backend was started anew, or another has taken its
    /// place. A backend that acknowledges before a disk has it loses its last second with its process.
    async fn may_have_forgotten(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Reads a value that another program keeps under a key of its own choosing.
    async fn foreign(&self, key: &str) -> Result<Option<Bytes>, StoreError>;
}

/// `text` as one part of a key: as it is where it is short and plain, else its fingerprint.
#[must_use]
pub fn key_part(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
        return text.to_owned();
    }
    let hex: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // No plain text begins like this.
    format!("#{hex}")
}

#[cfg(test)]
mod tests;
