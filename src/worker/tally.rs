//! What this process finished, added up for the charts of the dashboard and written to the store now and then.
//!
//! The metrics endpoint has the same numbers for a monitoring system; the charts are for whoever has none.

use std::{mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    job::{JobResult, Status},
    queue::SharedQueue,
    store::Series,
};

/// How often sums are written. A process that dies loses so much of its part of a chart.
const PERIOD: Duration = Duration::from_secs(5);

/// Names of the sums that count jobs by how long they took, with the upper bound of each in milliseconds.
pub const DURATION_BUCKETS: [(&str, u64); 12] = [
    ("ms_1", 1),
    ("ms_5", 5),
    ("ms_20", 20),
    ("ms_100", 100),
    ("ms_250", 250),
    ("ms_500", 500),
    ("ms_1000", 1_000),
    ("ms_2500", 2_500),
    ("ms_10000", 10_000),
    ("ms_30000", 30_000),
    ("ms_120000", 120_000),
    ("ms_more", u64::MAX),
];

#[derive(Debug, Default)]
struct Sums {
    completed: i64,
    failed: i64,
    cancelled: i64,
    llm_calls: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cached_tokens: i64,
    micro_usd: i64,
    durations: [i64; DURATION_BUCKETS.len()],
}

/// Sums since they were last taken.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Sums>);

impl Tally {
    /// Counts an ended job.
    #[expect(clippy::cast_possible_truncation, reason = "millionths of a dollar of one job fit many times over")]
    pub fn note(&self, document: &JobResult) {
        let metadata = &document.metadata;
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let place = DURATION_BUCKETS.partition_point(|(_, bound)| *bound < metadata.execution_time_ms);
        let mut sums = self.0.lock();
        match document.status {
            Status::Completed => sums.completed += 1,
            Status::Failed => sums.failed += 1,
            Status::Cancelled => sums.cancelled += 1,
        }
        sums.llm_calls += i64::from(metadata.llm_calls);
        sums.prompt_tokens += whole(metadata.tokens.prompt);
        sums.completion_tokens += whole(metadata.tokens.completion);
        sums.cached_tokens += whole(metadata.tokens.cached);
        sums.micro_usd += (metadata.cost_usd * 1e6).round() as i64;
        sums.durations[place.min(DURATION_BUCKETS.len() - 1)] += 1;
    }

    /// The sums that are not zero, by name; counting starts again.
    fn take(&self) -> Vec<(&'static str, i64)> {
        let sums = mem::take(&mut *self.0.lock());
        let named = [
            ("completed", sums.completed),
            ("failed", sums.failed),
            ("cancelled", sums.cancelled),
            ("llm_calls", sums.llm_calls),
            ("prompt_tokens", sums.prompt_tokens),
            ("completion_tokens", sums.completion_tokens),
            ("cached_tokens", sums.cached_tokens),
            ("micro_usd", sums.micro_usd),
        ];
        let durations = DURATION_BUCKETS.iter().zip(sums.durations).map(|((name, _), sum)| (*name, sum));
        named.into_iter().chain(durations).filter(|(_, sum)| *sum != 0).collect()
    }
}

/// Writes the tally and the length of the queue to `series` until `closing` fires, and once more then.
pub async fn record(runner: Arc<super::Runner>, queue: SharedQueue, closing: CancellationToken) {
    let series = Series::new(runner.store.clone());
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(PERIOD) => false,
            () = closing.cancelled() => true,
        };
        let mut sums = runner.tally.take();
        if let (false, Ok(stats)) = (last, queue.stats().await) {
            // Every process looks now and then: the chart shows what they saw on average.
            let waiting = stats.pending + stats.ready;
            sums.push(("waiting", i64::try_from(waiting).unwrap_or(i64::MAX)));
            sums.push(("in_flight", i64::try_from(stats.in_flight).unwrap_or(i64::MAX)));
            sums.push(("looks", 1));
        }
        let minute = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default() / 60;
        if let (false, Err(error)) = (sums.is_empty(), series.add(minute, &sums).await) {
            tracing::debug!(%error, "sums for the charts could not be written");
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_its_bucket() {
        for (ms, name) in [(0, "ms_1"), (1, "ms_1"), (2, "ms_5"), (120_000, "ms_120000"), (u64::MAX, "ms_more")] {
            let tally = Tally::default();
            let place = DURATION_BUCKETS.partition_point(|(_, bound)| *bound < ms);
            tally.0.lock().durations[place] += 1;
            assert_eq!(tally.take(), [(name, 1)]);
            assert_eq!(tally.take(), []);
        }
    }
}
