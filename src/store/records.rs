//! What is kept of an ended job beyond the time of its result.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Noted, StoreError};
use crate::{
    job::{JobId, RawJson, Tokens},
    queue::{JobState, JobView, NoCursor, Page},
};

/// A database of records: exactly one of each job.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// Connects, and brings the schema up to date.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Writes records, each in place of an earlier one of its job unless that has a later mark. Gives those that the
    /// backend will never take, with its reason; the others are written.
    async fn write(&self, records: &[Record]) -> Result<Vec<(JobId, String)>, StoreError>;

    /// A page of records that fit, latest first: by when their jobs ended.
    async fn search(&self, query: &Query) -> Result<Page<Recorded, RecordPlace>, StoreError>;

    /// Deletes up to `most` records of jobs that ended more than `days` ago, and says how many.
    async fn prune(&self, days: u32, most: u32) -> Result<u64, StoreError>;
}

/// An ended job, as the queue tells of it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "docs/stores.md explains each column")]
pub struct Record {
    pub job_id: JobId,
    pub run_id: Option<String>,
    pub node_id: Option<String>,
    pub owner: Option<String>,
    pub status: JobState,
    pub lane: Option<String>,
    pub model: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub tool_calls: RawJson,
    pub tokens: Tokens,
    pub tokens_used: u64,
    pub cost_usd: f64,
    pub llm_calls: u32,
    pub cache_hit: bool,
    pub attempts: u32,
    pub execution_ms: u64,
    pub created_at: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub result_ref: Option<String>,
    /// The result document, byte for byte.
    pub document: RawJson,
    /// Only where content may be kept.
    pub prompt: Option<String>,
    pub mark: u64,
}

/// The parts of a result document that have a column.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    node_id: Option<String>,
    #[serde(default)]
    result_ref: Option<String>,
    #[serde(default)]
    error: Option<Failed>,
    #[serde(default, borrow)]
    metadata: Option<Facts<'a>>,
}

#[derive(Deserialize)]
struct Failed {
    #[serde(rename = "type")]
    code: String,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Facts<'a> {
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    tokens_used: u64,
    tokens: Tokens,
    cost_usd: f64,
    cache_hit: bool,
    llm_calls: u32,
    llm_model: Option<String>,
    execution_time_ms: u64,
}

impl Record {
    /// The record of a job that has ended; nothing of one that has not.
    #[must_use]
    pub fn of(view: JobView, noted: &Noted, prompt: Option<String>) -> Option<Self> {
        let document = view.result?;
        let outline: Outline<'_> = serde_json::from_slice(document.bytes()).ok()?;
        let facts = outline.metadata.unwrap_or_default();
        let tool_calls = facts.tool_calls.map(|calls| RawJson::slice_of(document.bytes(), calls));
        let (error_code, error_message) = outline.error.map(|error| (error.code, error.message)).unzip();
        Some(Self {
            job_id: view.job_id,
            run_id: outline.run_id,
            node_id: outline.node_id,
            owner: noted.owner.clone(),
            status: view.state,
            lane: view.lane,
            model: facts.llm_model,
            error_code,
            error_message,
            tool_calls: tool_calls.unwrap_or_else(|| RawJson::from_trusted("[]")),
            tokens: facts.tokens,
            tokens_used: facts.tokens_used,
            cost_usd: facts.cost_usd,
            llm_calls: facts.llm_calls,
            cache_hit: facts.cache_hit,
            attempts: view.attempts,
            execution_ms: facts.execution_time_ms,
            created_at: view.created_at,
            started_at: view.started_at,
            finished_at: view.completed_at,
            result_ref: outline.result_ref,
            document,
            prompt,
            mark: noted.mark,
        })
    }
}

/// Which records are wanted. What is left out does not matter.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "plain words")]
pub struct Query {
    pub status: Option<String>,
    pub lane: Option<String>,
    pub owner: Option<String>,
    pub error: Option<String>,
    /// Somewhere in the job's id, its run's id, or its prompt where that is kept.
    pub text: Option<String>,
    /// Ended at or after this time, RFC 3339.
    pub since: Option<String>,
    /// Only those behind this place.
    pub behind: Option<RecordPlace>,
    pub limit: u32,
}

/// A place among records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPlace {
    /// When the job there ended, RFC 3339.
    pub finished_at: String,
    /// Its id.
    pub job_id: String,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} {}", self.finished_at, self.job_id)
    }
}

impl FromStr for RecordPlace {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (time, job_id) = text.strip_prefix("record ").and_then(|rest| rest.split_once(' ')).ok_or(NoCursor)?;
        let time: jiff::Timestamp = time.parse().map_err(|_| NoCursor)?;
        Ok(Self { finished_at: time.to_string(), job_id: job_id.to_owned() })
    }
}

/// A record as it was found. Times are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "docs/stores.md explains each column")]
pub struct Recorded {
    pub job_id: String,
    pub run_id: Option<String>,
    pub node_id: Option<String>,
    pub owner: Option<String>,
    pub status: String,
    pub lane: Option<String>,
    pub model: Option<String>,
    pub error_code: Option<String>,
    pub tokens_used: i64,
    pub cost_usd: f64,
    pub attempts: i32,
    pub created_at: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub document: RawJson,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(document: Option<&str>) -> JobView {
        JobView {
            job_id: JobId::parse("j").unwrap(),
            state: JobState::Failed,
            lane: Some("execute".into()),
            attempts: 2,
            created_at: Some("2026-01-01T00:00:00.000Z".into()),
            due_at: None,
            started_at: None,
            completed_at: None,
            result: document.map(|text| RawJson::from_trusted(text.to_owned())),
            error: None,
            pending: None,
            owner: None,
        }
    }

    #[test]
    fn a_record_is_what_the_result_says() {
        let noted = Noted { job_id: JobId::parse("j").unwrap(), owner: Some("ann".into()), mark: 7 };
        let text = r#"{"version":"1.0","run_id":"r","error":{"type":"timeout","message":"too slow","retryable":false},
            "metadata":{"tool_calls":[{"tool":"t","args":{"a":1.10}}],"tokens_used":3,"tokens":{"prompt":1,"completion":2,"cached":0},
            "cost_usd":0.25,"cache_hit":true,"llm_calls":1,"llm_model":"m","execution_time_ms":9,"later":{}}}"#;
        let record = Record::of(view(Some(text)), &noted, None).unwrap();
        assert_eq!((record.run_id.as_deref(), record.owner.as_deref(), record.mark), (Some("r"), Some("ann"), 7));
        assert_eq!(
            (record.error_code.as_deref(), record.error_message.as_deref()),
            (Some("timeout"), Some("too slow"))
        );
        assert_eq!(record.tool_calls.as_str(), r#"[{"tool":"t","args":{"a":1.10}}]"#);
        assert_eq!((record.tokens_used, record.tokens.completion, record.cost_usd), (3, 2, 0.25));
        assert!(record.cache_hit && record.document.as_str() == text);
        assert_eq!(Record::of(view(Some("{}")), &noted, None).unwrap().tool_calls.as_str(), "[]");
        assert_eq!(Record::of(view(None), &noted, None), None, "it has not ended");
    }
}
