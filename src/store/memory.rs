//! A store in this process, for single runs and trying things out.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{Draw, Held, Hold, Store, StoreError, Visit, Write, bucket::Levels, holds::Book, loans::Loans};

/// Bounded by bytes: when it is full the oldest keys go first, like a cache.
#[derive(Debug)]
pub struct MemoryStore {
    max_bytes: usize,
    state: Mutex<State>,
    sums: Mutex<FxHashMap<String, Sums>>,
    limits: Mutex<FxHashMap<String, Levels>>,
    loans: Mutex<FxHashMap<String, Loans>>,
    books: Mutex<FxHashMap<String, Book>>,
}

/// Counters of one key, and when they end.
#[derive(Debug)]
struct Sums {
    fields: FxHashMap<String, i64>,
    expires: Instant,
}

/// Limits and counters beyond which those that have ended are thrown away.
const SWEEP_ABOVE: usize = 1000;

#[derive(Debug, Default)]
struct State {
    entries: FxHashMap<String, Entry>,
    /// Keys by age, with the serial of the entry they stood for; stale pairs are skipped.
    ages: VecDeque<(u64, String)>,
    next_serial: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    parts: Vec<Bytes>,
    expires: Instant,
    serial: u64,
}

impl MemoryStore {
    /// An empty store that holds at most `max_bytes` of values.
    #[must_use]
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            state: Mutex::default(),
            sums: Mutex::default(),
            limits: Mutex::default(),
            loans: Mutex::default(),
            books: Mutex::default(),
        })
    }

    fn write(&self, key: &str, value: Bytes, ttl: Duration, keep: bool) -> Result<(), StoreError> {
        if value.len() > self.max_bytes {
            return Err(StoreError::refused(format!(
                "{} bytes do not fit into {} (store.memory_max_bytes)",
                value.len(),
                self.max_bytes
            )));
        }
        let mut state = self.state.lock();
        let mut parts = match state.take(key) {
            Some(entry) if keep && entry.expires > Instant::now() => entry.parts,
            _ => Vec::new(),
        };
        parts.push(value);
        state.put(key, parts, Instant::now() + ttl);
        state.shrink_to(self.max_bytes);
        Ok(())
    }

    fn read(&self, key: &str) -> Vec<Bytes> {
        let mut state = self.state.lock();
        match state.entries.get(key) {
            Some(entry) if entry.expires > Instant::now() => entry.parts.clone(),
            Some(_) => {
                state.take(key);
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

impl State {
    fn take(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= size(&entry.parts);
        Some(entry)
    }

    fn put(&mut self, key: &str, parts: Vec<Bytes>, expires: Instant) {
        self.next_serial += 1;
        let serial = self.next_serial;
        self.bytes += size(&parts);
        self.ages.push_back((serial, key.to_owned()));
        self.entries.insert(key.to_owned(), Entry { parts, expires, serial });
    }

    fn shrink_to(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes {
            let Some((serial, key)) = self.ages.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|entry| entry.serial == serial) {
                self.take(&key);
            }
        }
        // Rewritten keys leave stale pairs behind; they must not pile up.
        if self.ages.len() > 2 * self.entries.len() + 64 {
            self.ages.retain(|(serial, key)| self.entries.get(key).is_some_and(|entry| entry.serial == *serial));
        }
    }
}

fn size(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.write(key, value, ttl, false)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(key).pop())
    }

    async fn append(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.write(key, value, ttl, true)
    }

    async fn list(&self, key: &str) -> Result<Vec<Bytes>, StoreError> {
        Ok(self.read(key))
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.state.lock().take(key);
        Ok(())
    }

    async fn trim(&self, key: &str, keep: usize) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if let Some(mut entry) = state.take(key) {
            let old = entry.parts.len().saturating_sub(keep);
            entry.parts.drain(..old);
            state.put(key, entry.parts, entry.expires);
        }
        Ok(())
    }

    async fn count(&self, key: &str, deltas: &[(&str, i64)], ttl: Duration) -> Result<Vec<i64>, StoreError> {
        let now = Instant::now();
        let mut sums = self.sums.lock();
        if sums.len() > SWEEP_ABOVE {
            sums.retain(|_, sums| sums.expires > now);
        }
        let fresh = || Sums { fields: FxHashMap::default(), expires: now + ttl };
        let kept = sums.entry(key.to_owned()).or_insert_with(fresh);
        if kept.expires <= now {
            kept.fields.clear();
        }
        kept.expires = now + ttl;
        let add = |(field, delta): &(&str, i64)| {
            let sum = kept.fields.entry((*field).to_owned()).or_default();
            *sum = sum.saturating_add(*delta);
            *sum
        };
        Ok(deltas.iter().map(add).collect())
    }

    async fn sums(&self, keys: &[String]) -> Result<Vec<Vec<(String, i64)>>, StoreError> {
        let now = Instant::now();
        let kept = self.sums.lock();
        let of = |key: &String| {
            let sums = kept.get(key).filter(|sums| sums.expires > now);
            sums.map(|sums| sums.fields.iter().map(|(name, sum)| (name.clone(), *sum)).collect()).unwrap_or_default()
        };
        Ok(keys.iter().map(of).collect())
    }

    async fn draw(&self, key: &str, draws: &[Draw], visit: Visit<'_>) -> Result<Duration, StoreError> {
        let now = Instant::now();
        let mut limits = self.limits.lock();
        if limits.len() > SWEEP_ABOVE {
            limits.retain(|_, levels| !levels.is_full(now));
        }
        Ok(limits.entry(key.to_owned()).or_insert_with(|| Levels::full(draws, now)).visit(draws, visit, now))
    }

    async fn hold(&self, hold: &Hold<'_>, limits: [u64; 2], ttl: Duration) -> Result<Held, StoreError> {
        let mut books = self.books.lock();
        if books.len() > SWEEP_ABOVE {
            books.retain(|_, book| book.is_of(hold.period));
        }
        Ok(books.entry(hold.owner.to_owned()).or_default().hold(hold, limits, ttl, Instant::now()))
    }

    async fn settle(&self, hold: &Hold<'_>, _ttl: Duration) -> Result<(), StoreError> {
        self.books.lock().entry(hold.owner.to_owned()).or_default().settle(hold);
        Ok(())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        for write in writes {
            match write {
                Write::Replace { key, entries, ttl } => {
                    state.take(&key);
                    state.put(&key, entries, Instant::now() + ttl);
                }
                Write::Push { key, entry, keep, ttl } => {
                    let old = state.take(&key).filter(|old| old.expires > Instant::now());
                    let mut parts = old.map(|old| old.parts).unwrap_or_default();
                    parts.push(entry);
                    let surplus = parts.len().saturating_sub(keep);
                    parts.drain(..surplus);
                    state.put(&key, parts, Instant::now() + ttl);
                }
            }
        }
        state.shrink_to(self.max_bytes);
        Ok(())
    }

    async fn borrow(&self, key: &str, among: &[&str], holder: &str, ttl: Duration) -> Result<usize, StoreError> {
        Ok(self.loans.lock().entry(key.to_owned()).or_default().borrow(among, holder, ttl, Instant::now()))
    }

    async fn give_back(&self, key: &str, holder: &str) -> Result<(), StoreError> {
        if let Some(loans) = self.loans.lock().get_mut(key) {
            loans.give_back(holder);
        }
        Ok(())
    }

    async fn foreign(&self, _key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}
