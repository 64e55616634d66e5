//! Notes in Redis of jobs whose record is still owed to another database.
//!
//! A job is noted before it can end, and the note is removed after its record is written. Whoever dies in between,
//! and however long the other database is away, somebody will look.

use std::{sync::Arc, time::Duration};

use super::{RedisStore, StoreError};
use crate::job::JobId;

/// Sent as text: they run once or twice for a job.
const NOTE: &str = include_str!("lua/note.lua");
const DUE: &str = include_str!("lua/due.lua");
const SETTLED: &str = include_str!("lua/settled.lua");
const COUNT: &str = "return redis.call('ZCARD', KEYS[1])";

/// What the two keys have in common, so that they share a cluster slot.
const KEY: &str = "records";

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The job.
    pub job_id: JobId,
    /// Whose it is.
    pub owner: Option<String>,
    /// Grows from one note of a job to the next, on Redis' clock.
    pub mark: u64,
}

/// The notes of a fleet.
#[derive(Clone)]
pub struct Outbox {
    store: Arc<RedisStore>,
    look_again: Duration,
}

impl Outbox {
    /// Notes in `store`; one that nobody removes is looked at each `look_again`.
    #[must_use]
    pub fn new(store: Arc<RedisStore>, look_again: Duration) -> Self {
        Self { store, look_again }
    }

    /// Notes a job, in place of an earlier note of it.
    ///
    /// # Errors
    /// Redis failed; it may be noted.
    pub async fn note(&self, job_id: &JobId, owner: Option<&str>) -> Result<Noted, StoreError> {
        let mut call = self.store.on(NOTE, KEY, &["times", "notes"]);
        call.arg(job_id.as_str()).arg(owner.unwrap_or_default()).arg(self.millis());
        // Sent again it is a newer note of the same job.
        let mark: String = self.store.ask(call).await?;
        let mark = mark.parse().map_err(|_| StoreError::refused(format!("redis: {mark:?} is no mark")))?;
        Ok(Noted { job_id: job_id.clone(), owner: owner.filter(|owner| !owner.is_empty()).map(str::to_owned), mark })
    }

    /// Up to `most` notes that are to be looked at. Nobody else gets them for a while.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn due(&self, most: usize) -> Result<Vec<Noted>, StoreError> {
        let mut call = self.store.on(DUE, KEY, &["times", "notes"]);
        call.arg(most).arg(self.millis());
        let words: Vec<String> = self.store.ask(call).await?;
        let read = |pair: &[String]| {
            let (mark, owner) = pair[1].split_once(' ')?;
            let owner = Some(owner.to_owned()).filter(|owner| !owner.is_empty());
            Some(Noted { job_id: JobId::parse(&pair[0]).ok()?, owner, mark: mark.parse().ok()? })
        };
        Ok(words.chunks_exact(2).filter_map(read).collect())
    }

    /// Removes notes, but for those of jobs that were noted again.
    ///
    /// # Errors
    /// Redis failed; they will come again.
    pub async fn settled(&self, notes: &[Noted]) -> Result<(), StoreError> {
        if notes.is_empty() {
            return Ok(());
        }
        let mut call = self.store.on(SETTLED, KEY, &["times", "notes"]);
        for note in notes {
            call.arg(note.job_id.as_str()).arg(note.mark);
        }
        self.store.ask::<u64>(call).await.map(drop)
    }

    /// How many records are owed.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn owed(&self) -> Result<u64, StoreError> {
        self.store.ask(self.store.on(COUNT, KEY, &["times"])).await
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.look_again.as_millis()).unwrap_or(u64::MAX)
    }
}
