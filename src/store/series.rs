//! What happened minute by minute, added up over the whole fleet, for charts.

use std::time::Duration;

use super::{SharedStore, StoreError};

/// How long a minute is kept.
const KEPT: Duration = Duration::from_secs(25 * 3600);

/// Sums by name, each minute apart.
#[derive(Clone)]
pub struct Series {
    store: SharedStore,
}

/// One minute: its number since the Unix epoch and what was added up in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since the Unix epoch.
    pub number: u64,
    /// Name and sum.
    pub sums: Vec<(String, i64)>,
}

impl Minute {
    /// The sum of `name`; 0 where nothing was added.
    #[must_use]
    pub fn sum(&self, name: &str) -> i64 {
        self.sums.iter().find(|(known, _)| known == name).map_or(0, |(_, sum)| *sum)
    }
}

impl Series {
    /// Sums in `store`.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self { store }
    }

    /// Adds to the sums of a minute.
    ///
    /// # Errors
    /// The store failed; some of it may have been added.
    pub async fn add(&self, minute: u64, deltas: &[(&str, i64)]) -> Result<(), StoreError> {
        self.store.count(&key(minute), deltas, KEPT).await.map(drop)
    }

    /// The `count` minutes up to and with `last`, oldest first, empty ones included.
    ///
    /// # Errors
    /// The store failed.
    pub async fn minutes(&self, last: u64, count: u64) -> Result<Vec<Minute>, StoreError> {
        let numbers: Vec<u64> = (last.saturating_sub(count.saturating_sub(1))..=last).collect();
        let keys: Vec<String> = numbers.iter().map(|number| key(*number)).collect();
        let sums = self.store.sums(&keys).await?;
        Ok(numbers.into_iter().zip(sums).map(|(number, sums)| Minute { number, sums }).collect())
    }
}

fn key(minute: u64) -> String {
    format!("series:{minute}")
}
