//! A graph over very many vectors (HNSW), by usearch: a query visits a few thousand of a million.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use usearch::{IndexOptions, MetricKind, ScalarKind};

use super::index::{Index, VectorIndex};

/// Edges of a vector.
const CONNECTIVITY: usize = 16;
/// Vectors looked at while one is put in: more make a better graph and take longer.
const EXPANSION_ADD: usize = 64;
/// Vectors kept in view while a query is answered.
const EXPANSION_SEARCH: usize = 128;
/// Queries and insertions at the same time, at least.
const LEAST_SEATS: usize = 64;
/// Vectors put in between two looks whether the graph is still wanted.
const BATCH: usize = 256;

/// How many threads can run at the same time.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The graph. It keeps vectors of its own in half the precision: who uses it compares what it finds again.
pub struct Graph(usearch::Index);

impl Graph {
    /// Builds it on `threads` threads, for as long as it is `wanted`.
    ///
    /// # Errors
    /// What usearch says, such as that there is no memory.
    pub fn build(
        vectors: &VectorIndex,
        threads: usize,
        wanted: impl Fn() -> bool + Sync,
    ) -> Result<Option<Self>, String> {
        let options = IndexOptions {
            dimensions: vectors.row(0).len(),
            // Of vectors of length 1 the inner product is the cosine.
            metric: MetricKind::IP,
            quantization: ScalarKind::BF16,
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
            expansion_search: EXPANSION_SEARCH,
            multi: false,
        };
        let index = usearch::Index::new(&options).map_err(|e| e.to_string())?;
        // Queries may come from any thread of the process; whoever finds no seat compares with all.
        let seats = (2 * processors()).max(threads).max(LEAST_SEATS);
        index.reserve_capacity_and_threads(vectors.len(), seats).map_err(|e| e.to_string())?;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<(), String> {
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= vectors.len() || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                for place in first..(first + BATCH).min(vectors.len()) {
                    index.add(place as u64, vectors.row(place)).map_err(|e| e.to_string())?;
                }
                if !wanted() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ends = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err("it panicked".into())));
            ends.collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>, String>>()
        })?;
        Ok((!stop.into_inner()).then_some(Self(index)))
    }
}

impl Index for Graph {
    fn nearest(&self, unit: &[f32], count: usize, among: Option<&[usize]>) -> Vec<usize> {
        let found = match among {
            None => self.0.search(unit, count),
            Some(among) => self.0.filtered_search(unit, count, |key| {
                usize::try_from(key).is_ok_and(|place| among.binary_search(&place).is_ok())
            }),
        };
        match found {
            Ok(found) => found.keys.into_iter().filter_map(|key| usize::try_from(key).ok()).collect(),
            Err(error) => {
                tracing::warn!(%error, "the graph over the agents found nothing");
                Vec::new()
            }
        }
    }
}
