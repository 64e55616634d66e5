//! What a journal consists of, and what its lines say together.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::Elapsed;
use crate::job::{JobError, Meter, RawJson, Spend};

/// What is put on record.
#[derive(Serialize, Deserialize)]
pub(super) enum Line {
    /// A step that was done.
    Step {
        step: String,
        value: RawJson,
        spend: Spend,
        /// How long it took, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took_ms: Option<u64>,
    },
    /// A step that failed: it is done again, but a replay fails with it.
    Failed {
        step: String,
        error: JobError,
        spend: Spend,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took_ms: Option<u64>,
    },
    /// A model is about to be asked for a step. Without a later line that says what was spent, its worker died over it.
    Asked { step: String },
    /// The job was put back: all its waits for limits together, and all of its time that is used, in milliseconds.
    Waited {
        ms: u64,
        #[serde(default)]
        used_ms: u64,
        spend: Spend,
    },
    /// The result stands: what comes after this belongs to a job that was started afresh.
    End,
}

/// A line as it lies in the store. It may lie there twice: when no answer comes it is written again.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// No other line of this journal has it.
    once: u64,
    line: Line,
}

/// A line as it is written, under a number of its own.
pub(super) fn written(line: Line) -> Bytes {
    // As many digits as any JSON reader keeps.
    let once = rand::random::<u64>() >> 11;
    RawJson::of(&Entry { once, line }).bytes().clone()
}

/// The lines that were written, each once.
pub(super) fn read(entries: &[Bytes]) -> Vec<Line> {
    let mut seen = FxHashSet::default();
    let line = |entry: &Bytes| match serde_json::from_slice::<Entry>(entry) {
        Ok(entry) => seen.insert(entry.once).then_some(entry.line),
        // Of a version that wrote bare lines.
        Err(_) => serde_json::from_slice(entry).ok(),
    };
    entries.iter().filter_map(line).collect()
}

/// What a job finds on record.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) steps: FxHashMap<String, VecDeque<RawJson>>,
    pub(super) failures: FxHashMap<String, JobError>,
    pub(super) elapsed: Elapsed,
}

impl Recorded {
    /// What `lines` say, with `meter` set to what had been spent.
    pub(super) fn read(lines: &[Line], meter: &Meter) -> Self {
        let mut recorded = Self::default();
        let (mut spent, mut cut_off): (Option<&Spend>, u32) = (None, 0);
        for line in lines {
            let spend = match line {
                Line::Step { step, value, spend, .. } => {
                    recorded.steps.entry(step.clone()).or_default().push_back(value.clone());
                    spend
                }
                Line::Failed { step, error, spend, .. } => {
                    recorded.failures.insert(step.clone(), error.clone());
                    spend
                }
                Line::Waited { ms, used_ms, spend } => {
                    let [waited, used] = [*ms, (*used_ms).max(*ms)].map(Duration::from_millis);
                    recorded.elapsed = Elapsed { used, waited };
                    spend
                }
                Line::Asked { .. } => {
                    cut_off += 1;
                    continue;
                }
                Line::End => continue,
            };
            // It counts every request that was sent before.
            cut_off = 0;
            // Works side by side may have been written down in another order than they spent.
            let more =
                |known: &&Spend| (spend.llm_calls, spend.tokens.total()) >= (known.llm_calls, known.tokens.total());
            if spent.as_ref().is_none_or(more) {
                spent = Some(spend);
            }
        }
        if spent.is_some() || cut_off > 0 {
            let mut spend = spent.cloned().unwrap_or_default();
            spend.llm_calls += cut_off;
            meter.restore(spend);
        }
        recorded
    }
}
