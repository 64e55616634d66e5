//! Pipelines that worked, by owner: what promoted tools are made of.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{SharedStore, StoreError, key_part};
use crate::job::RawJson;

/// Runs kept of one owner; the oldest go first.
const MAX_RUNS: usize = 100;
/// Switches kept of one owner.
const MAX_SWITCHES: usize = 500;
/// Owners that are listed.
const MAX_OWNERS: usize = 10_000;
/// Entries past a bound before the list is cut, so that it is not cut each time.
const SLACK: usize = 20;
/// The list of owners outlives what it lists.
const OWNERS_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One pipeline that a model planned and that worked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The job, so that one delivered twice counts once.
    pub job_id: String,
    /// What was asked.
    pub prompt: String,
    /// The steps in their normal form.
    pub steps: RawJson,
    /// Names and kinds of the columns it worked on.
    pub columns: String,
}

/// A tool switched off, or on again.
#[derive(Serialize, Deserialize)]
struct Switch {
    name: String,
    off: bool,
}

/// The runs in a store.
#[derive(Clone)]
pub struct Runs {
    store: SharedStore,
    ttl: Duration,
}

impl Runs {
    /// Runs in `store`; those of an owner are kept for `ttl` after the last one.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// The runs of an owner, oldest first, each job once.
    pub async fn of(&self, owner: &str) -> Result<Vec<Run>, StoreError> {
        let mut runs: Vec<Run> = Vec::new();
        for run in self.lines::<Run>(&key("runs", owner)).await? {
            runs.retain(|known| known.job_id != run.job_id);
            runs.push(run);
        }
        let old = runs.len().saturating_sub(MAX_RUNS);
        runs.drain(..old);
        Ok(runs)
    }

    /// Adds a run.
    pub async fn add(&self, owner: &str, run: &Run) -> Result<(), StoreError> {
        if !self.owners().await?.contains(owner) {
            self.push("runs-owners", &owner, OWNERS_TTL, MAX_OWNERS).await?;
        }
        self.push(&key("runs", owner), run, self.ttl, MAX_RUNS).await
    }

    /// The names of an owner's tools that are switched off.
    pub async fn disabled(&self, owner: &str) -> Result<BTreeSet<String>, StoreError> {
        let mut disabled = BTreeSet::new();
        for Switch { name, off } in self.lines(&key("runs-off", owner)).await? {
            if off {
                disabled.insert(name);
            } else {
                disabled.remove(&name);
            }
        }
        Ok(disabled)
    }

    /// Switches a tool of an owner off or on.
    pub async fn switch(&self, owner: &str, name: &str, off: bool) -> Result<(), StoreError> {
        // A tool that was switched off must not come back because this was forgotten first.
        let ttl = self.ttl.saturating_mul(2).max(OWNERS_TTL);
        self.push(&key("runs-off", owner), &Switch { name: name.to_owned(), off }, ttl, MAX_SWITCHES).await
    }

    /// Everybody who had a run.
    pub async fn owners(&self) -> Result<BTreeSet<String>, StoreError> {
        Ok(self.lines("runs-owners").await?.into_iter().collect())
    }

    /// Counts a use of a tool, and gives how often it was used; a `delta` of 0 only looks.
    pub async fn used(&self, owner: &str, name: &str, delta: i64) -> Result<i64, StoreError> {
        let sums = self.store.count(&key("runs-used", owner), &[(name, delta)], self.ttl).await?;
        Ok(sums.first().copied().unwrap_or_default())
    }

    async fn lines<T: DeserializeOwned>(&self, key: &str) -> Result<Vec<T>, StoreError> {
        let lines = self.store.list(key).await?;
        Ok(lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    async fn push<T: Serialize>(&self, key: &str, entry: &T, ttl: Duration, keep: usize) -> Result<(), StoreError> {
        self.store.append(key, RawJson::of(entry).bytes().clone(), ttl).await?;
        if self.store.list(key).await?.len() > keep + SLACK {
            self.store.trim(key, keep).await?;
        }
        Ok(())
    }
}

fn key(what: &str, owner: &str) -> String {
    format!("{what}:{}", key_part(owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn run(n: usize) -> Run {
        Run {
            job_id: format!("j{n}"),
            prompt: "p".into(),
            steps: RawJson::from_trusted("[]"),
            columns: "a:number".into(),
        }
    }

    #[tokio::test]
    async fn runs_are_their_owners_counted_once_and_bounded() {
        let runs = Runs::new(MemoryStore::new(1 << 20), Duration::from_secs(60));
        for n in [0, 1, 1] {
            runs.add("ann", &run(n)).await.unwrap();
        }
        assert_eq!(runs.of("ann").await.unwrap(), [run(0), run(1)]);
        assert!(runs.of("bob").await.unwrap().is_empty());
        for n in 0..150 {
            runs.add("bob", &run(n)).await.unwrap();
        }
        let kept = runs.of("bob").await.unwrap();
        assert_eq!((kept.len(), &kept[99]), (100, &run(149)));
        assert_eq!(runs.owners().await.unwrap().into_iter().collect::<Vec<_>>(), ["ann", "bob"]);
    }

    #[tokio::test]
    async fn the_last_switch_counts_and_uses_add_up() {
        let runs = Runs::new(MemoryStore::new(1 << 20), Duration::from_secs(60));
        for (name, off) in [("a", true), ("b", true), ("a", false)] {
            runs.switch("ann", name, off).await.unwrap();
        }
        assert_eq!(runs.disabled("ann").await.unwrap().into_iter().collect::<Vec<_>>(), ["b"]);
        assert!(runs.disabled("bob").await.unwrap().is_empty());
        runs.used("ann", "a", 1).await.unwrap();
        assert_eq!(runs.used("ann", "a", 1).await.unwrap(), 2);
        assert_eq!((runs.used("ann", "a", 0).await.unwrap(), runs.used("bob", "a", 0).await.unwrap()), (2, 0));
    }
}
