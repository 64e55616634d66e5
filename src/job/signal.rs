//! The completion signal: how a coordinator learns that a node of its run has ended.

use serde_json::{Map, Value, json};

use super::{JobResult, Status};

/// The signal of a job that ended with `result`: pushed once per token.
///
/// `status` is `completed` or `failed` (a cancelled job failed, as far as its run is concerned). `result_data`
/// is always an object: the result itself, wrapped as `{"data": …}` where it is none; on failure
/// `{status, error, metrics}`.
#[must_use]
pub fn completion_signal(result: &JobResult) -> Value {
    let completed = result.status == Status::Completed;
    let data = if completed { data_of(result) } else { failure_of(result) };
    json!({
        "version": result.version,
        "job_id": result.job_id,
        "run_id": result.run_id,
        "node_id": result.node_id,
        "status": if completed { "completed" } else { "failed" },
        "result_data": data,
        "result_ref": result.result_ref,
        "metadata": metadata_of(result),
    })
}

fn data_of(result: &JobResult) -> Map<String, Value> {
    match result.result.as_ref().and_then(|raw| raw.to_value().ok()) {
        Some(Value::Object(members)) => members,
        Some(other) => Map::from_iter([("data".to_owned(), other)]),
        // Too deep to be a value, or only behind its reference.
        None => Map::from_iter([
            ("result_ref".to_owned(), json!(result.result_ref)),
            ("preview".to_owned(), json!(result.result_preview)),
        ]),
    }
}

fn failure_of(result: &JobResult) -> Map<String, Value> {
    let metadata = &result.metadata;
    let metrics = json!({
        "tokens_used": metadata.tokens_used,
        "cost_usd": metadata.cost_usd,
        "llm_calls": metadata.llm_calls,
        "attempt": metadata.attempt,
        "queue_time_ms": metadata.queue_time_ms,
        "execution_time_ms": metadata.execution_time_ms,
    });
    Map::from_iter([
        ("status".to_owned(), "failed".into()),
        ("error".to_owned(), json!(result.error)),
        ("metrics".to_owned(), metrics),
    ])
}

fn metadata_of(result: &JobResult) -> Value {
    let metadata = &result.metadata;
    let tools: Vec<&str> = metadata.tool_calls.iter().map(|call| call.tool.as_str()).collect();
    let mut out = json!({
        "tool_calls": tools,
        "tokens_used": metadata.tokens_used,
        "cache_hit": metadata.cache_hit,
        "execution_time_ms": metadata.execution_time_ms,
        "llm_model": metadata.llm_model,
    });
    if let Some(error) = &result.error {
        out["error_type"] = error.code.as_str().into();
        out["error_message"] = error.message.as_str().into();
        out["retryable"] = error.retryable.into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{ErrorCode, JobError, JobId, Metadata, RawJson, ToolCallRecord, ToolStatus};

    fn result(status: Status, text: Option<&'static str>, error: Option<JobError>) -> JobResult {
        let call = ToolCallRecord {
            tool: "execute_pipeline".into(),
            args: RawJson::from_trusted(&b"{}"[..]),
            status: ToolStatus::Ok,
            duration_ms: 1,
            error: None,
        };
        JobResult {
            version: JobResult::VERSION,
            job_id: JobId::parse("t1").unwrap(),
            run_id: Some("r1".into()),
            node_id: Some("agent".into()),
            status,
            lane: None,
            result_ref: Some("artifact://t1".into()),
            result: text.map(|text| RawJson::from_trusted(text.as_bytes())),
            result_preview: None,
            error,
            metadata: Metadata { tool_calls: vec![call], tokens_used: 7, attempt: 2, ..Metadata::default() },
            completed_at: "2026-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn a_completed_job_signals_its_result_as_an_object() {
        let signal = completion_signal(&result(Status::Completed, Some(r#"{"n":1.10}"#), None));
        assert_eq!(
            signal.to_string(),
            r#"{"version":"1.0","job_id":"t1","run_id":"r1","node_id":"agent","status":"completed","result_data":{"n":1.10},"result_ref":"artifact://t1","metadata":{"tool_calls":["execute_pipeline"],"tokens_used":7,"cache_hit":false,"execution_time_ms":0,"llm_model":null}}"#
        );
        for (text, want) in
            [(Some("[1]"), json!({"data": [1]})), (None, json!({"result_ref": "artifact://t1", "preview": null}))]
        {
            assert_eq!(completion_signal(&result(Status::Completed, text, None))["result_data"], want);
        }
    }

    #[test]
    fn a_failed_or_cancelled_job_signals_why() {
        for (status, code) in [(Status::Failed, ErrorCode::LlmRateLimited), (Status::Cancelled, ErrorCode::Cancelled)] {
            let error = JobError::new(code, "no");
            let signal = completion_signal(&result(status, None, Some(error)));
            assert_eq!(signal["status"], "failed");
            let data = &signal["result_data"];
            assert_eq!((&data["status"], &data["error"]["type"]), (&json!("failed"), &json!(code.as_str())));
            assert_eq!(data["metrics"]["attempt"], 2);
            let metadata = &signal["metadata"];
            assert_eq!((&metadata["error_type"], &metadata["error_message"]), (&json!(code.as_str()), &json!("no")));
            assert_eq!(metadata["retryable"], json!(code.retryable()));
        }
    }
}
