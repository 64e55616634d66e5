//! What can go wrong with a plan or its data, and where.

use std::fmt;

use crate::job::{ErrorCode, JobError};

/// A plan that cannot run, or a step that failed. The code is one of `invalid_pipeline`, `pipeline_failed`,
/// `http_failed`, `limit_exceeded`, `timeout` and `cancelled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableError {
    /// Stable code.
    pub code: ErrorCode,
    /// What was wrong and what to do, without the step.
    pub message: String,
    /// The step's number, from 1.
    pub step_number: Option<usize>,
    /// The step's name.
    pub step: Option<String>,
    /// The field or parameter it is about.
    pub field: Option<String>,
    /// What was found instead of what was needed.
    pub found: Option<String>,
    /// Whether the data that the run was given is at fault, for which no step is to blame.
    pub(super) of_input: bool,
}

impl TableError {
    /// An error with this code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, step_number: None, step: None, field: None, found: None, of_input: false }
    }

    /// A plan that cannot run.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidPipeline, message)
    }

    /// A step that failed on the data it met.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::PipelineFailed, message)
    }

    /// A bound that was reached; the message names the setting that would raise it.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::LimitExceeded, message)
    }

    /// Names the field or parameter.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what was found.
    #[must_use]
    pub fn with_found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Says at which step. An error from inside a nested pipeline keeps its inner place in the message.
    #[must_use]
    pub fn at_step(mut self, number: usize, name: &str) -> Self {
        if let (Some(inner), Some(step)) = (self.step_number, &self.step) {
            self.message = format!("in its own pipeline, step {inner} {step}: {}", self.message);
        }
        self.step_number = Some(number);
        self.step = Some(name.to_owned());
        self
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.step_number, &self.step) {
            (Some(number), Some(step)) => write!(f, "step {number} {step}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for TableError {}

impl From<TableError> for JobError {
    fn from(error: TableError) -> Self {
        let mut job = Self::new(error.code, error.to_string());
        if let Some(step) = &error.step {
            job = job.with_step(step.clone()).with_detail("step", step.clone());
        }
        if let Some(number) = error.step_number {
            job = job.with_detail("step_number", number);
        }
        if let Some(field) = error.field {
            job = job.with_detail("field", field);
        }
        if let Some(found) = error.found {
            job = job.with_detail("found", found);
        }
        job
    }
}

/// The nearest of `known` to a name that is not among them, where one is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (likeness(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// 0 to 1; a name inside the other counts as near (`sort` for `table_sort`).
fn likeness(name: &str, candidate: &str) -> f64 {
    let contained = name.len() >= 3 && (candidate.contains(name) || name.contains(candidate) && candidate.len() >= 3);
    let score =
        strsim::normalized_damerau_levenshtein(name, candidate).max(strsim::jaro_winkler(name, candidate) - 0.1);
    if contained { score.max(0.8) } else { score }
}

/// `; did you mean 'price'?`, or nothing.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|candidate| format!("; did you mean '{candidate}'?")).unwrap_or_default()
}

/// Says that a column is not there, and which may be meant.
pub(super) fn absent(name: &str, known: &[String]) -> String {
    const SHOWN: usize = 12;
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    if hint.is_empty() && !known.is_empty() {
        let more = if known.len() > SHOWN { ", …" } else { "" };
        let shown = known[..known.len().min(SHOWN)].join(", ");
        return format!("no column '{name}'; there are {shown}{more}");
    }
    format!("no column '{name}'{hint}")
}
