//! What goes into a run and what comes out of it.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use indexmap::IndexSet;
use serde::Serialize;

use super::{Format, columns::keys_of, read::Scanner, run::Left};
use crate::job::{Preview, RawJson};

/// Bytes of data and how to read them.
#[derive(Debug, Clone)]
pub struct Body {
    /// The bytes as they came.
    pub bytes: Bytes,
    /// What they are.
    pub format: Format,
}

impl From<RawJson> for Body {
    fn from(raw: RawJson) -> Self {
        Self { bytes: raw.bytes().clone(), format: Format::Json }
    }
}

/// What was fetched for a plan's needs, and what that took.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// By the ids of the needs. Several bodies are pages of one table.
    bodies: HashMap<usize, Vec<Body>>,
    /// How long it took, by the numbers of the steps that it was for.
    times: HashMap<usize, Duration>,
}

impl Inputs {
    /// Adds the next page of a need.
    pub fn add(&mut self, need: usize, body: Body) {
        self.bodies.entry(need).or_default().push(body);
    }

    /// Counts the time in which something was fetched for a step, from 1, as that step's.
    pub fn took(&mut self, step_number: usize, time: Duration) {
        *self.times.entry(step_number).or_default() += time;
    }

    /// How much was fetched, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bodies.values().flatten().map(|body| body.bytes.len()).sum()
    }

    pub(super) fn get(&self, need: usize) -> Option<&[Body]> {
        self.bodies.get(&need).map(Vec::as_slice)
    }

    pub(super) fn time_of(&self, step_number: usize) -> Duration {
        self.times.get(&step_number).copied().unwrap_or_default()
    }
}

/// One step's figures. A filter is applied in the pass of the step after it, and its time counted there;
/// so is the sorting that a following `top_k` makes unnecessary. What a step had to wait for, what was fetched for the
/// pipelines inside it too, is its time; writing down the rows that are left is the last one's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepStat {
    /// Its name.
    pub step: &'static str,
    /// Rows it took; always known where the run did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_in: Option<usize>,
    /// Rows it gave; the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_out: Option<usize>,
    /// Milliseconds.
    pub duration_ms: f64,
}

/// What a pipeline gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// Rows as one JSON array, each row that no step changed byte for byte as it came; or one value, where
    /// that is what the last step left.
    pub data: RawJson,
    /// How many rows; 1 for one value.
    pub row_count: usize,
    /// Each step's figures.
    pub steps: Vec<StepStat>,
    /// What did not go as one may have thought.
    pub warnings: Vec<String>,
    /// The contract's result, where `data` is a part of its bytes.
    whole: Option<RawJson>,
}

/// The contract's result up to the data.
const HEAD: &[u8] = b"{\"status\":\"success\",\"data\":";

impl Output {
    /// Rows are written once, in their place within the contract's result: there may be many.
    pub(super) fn new(left: Left, steps: Vec<StepStat>, warnings: Vec<String>) -> Self {
        let row_count = left.count();
        let (data, whole) = match left {
            Left::Document(bytes, _) => (RawJson::from_trusted(bytes), None),
            Left::Rows(rows) => {
                let tail = tail(row_count, &steps);
                let mut out = Vec::with_capacity(HEAD.len() + rows.json_size() + tail.len());
                out.extend_from_slice(HEAD);
                rows.write_json(&mut out);
                let end = out.len();
                out.extend_from_slice(tail.as_bytes());
                let whole = Bytes::from(out);
                (RawJson::from_trusted(whole.slice(HEAD.len()..end)), Some(RawJson::from_trusted(whole)))
            }
        };
        Self { data, row_count, steps, warnings, whole }
    }

    /// The short form: columns and first rows, or an object's keys, or the beginning of a text.
    #[must_use]
    pub fn preview(&self) -> Preview {
        preview(&self.data, self.row_count)
    }

    /// The contract's result: `{"status", "data", "row_count", "pipeline_steps", "steps"}`.
    #[must_use]
    pub fn result(&self) -> RawJson {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let tail = tail(self.row_count, &self.steps);
        RawJson::from_trusted([HEAD, self.data.bytes(), tail.as_bytes()].concat())
    }
}

/// The contract's result behind the data.
fn tail(row_count: usize, steps: &[StepStat]) -> String {
    let count = steps.len();
    format!(",\"row_count\":{row_count},\"pipeline_steps\":{count},\"steps\":{}}}", RawJson::of(steps).as_str())
}

/// The preview of well-formed data: a list is a dataset, an object its keys, anything else text.
#[must_use]
pub fn preview(data: &RawJson, row_count: usize) -> Preview {
    let text = data.as_str().trim_ascii();
    if text.starts_with('{') {
        return Preview::Object { keys: keys_of(text) };
    }
    if !text.starts_with('[') {
        return Preview::text(text);
    }
    let sample = first_elements(text, Preview::SAMPLE_ROWS);
    let mut columns = IndexSet::new();
    for row in &sample {
        let _ = Scanner::new(row).object(|key, _| {
            columns.insert(key.decode().into_owned());
        });
    }
    Preview::Dataset {
        row_count,
        columns: columns.into_iter().collect(),
        sample: sample.into_iter().map(|row| RawJson::from_trusted(row.as_bytes().to_vec())).collect(),
    }
}

/// The first elements of a well-formed array.
fn first_elements(text: &str, count: usize) -> Vec<&str> {
    let mut elements = Vec::with_capacity(count);
    let mut scanner = Scanner::starting_at(text, 1);
    scanner.space();
    while elements.len() < count && scanner.peek() != Some(b']') {
        let Ok(element) = scanner.value() else { break };
        elements.push(element);
        scanner.space();
        if !scanner.take(b',') {
            break;
        }
        scanner.space();
    }
    elements
}
