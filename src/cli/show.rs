//! `agent-runner jobs show`: one job, for a person or as JSON.

use std::io::IsTerminal;

use serde_json::Value;

use super::{Failure, assemble, jobs::unknown, listing, output};
use crate::{
    job::{JobId, mask_secrets},
    queue::{JobView, SharedQueue},
};

/// Show one job: what became of it on a terminal, everything as JSON elsewhere
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  agent-runner jobs show uuid-123
  agent-runner jobs show uuid-123 --json | jq .result
  agent-runner jobs show --document uuid-123 > job.json")]
pub(super) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse)]
    job_id: JobId,
    /// Print all that is known as JSON, with the result
    #[arg(long)]
    json: bool,
    /// Print the job as it came in, with credentials masked: data and prompt are in it
    #[arg(long, conflicts_with = "json")]
    document: bool,
}

pub(super) async fn run(queue: &SharedQueue, args: Args) -> Result<(), Failure> {
    let job_id = &args.job_id;
    let job = queue.job(job_id).await.map_err(assemble::queue_failed)?.ok_or_else(|| unknown(job_id))?;
    if args.document {
        return document(queue, job_id).await;
    }
    if args.json || !std::io::stdout().is_terminal() {
        output::json(&job);
        return Ok(());
    }
    for (name, text) in facts(&job) {
        // What goes on in further lines stands under its beginning.
        output::line(format_args!("{name:<10} {}", output::clean(&text).replace('\n', "\n           ")));
    }
    Ok(())
}

async fn document(queue: &SharedQueue, job_id: &JobId) -> Result<(), Failure> {
    let message = queue.message(job_id).await.map_err(assemble::queue_failed)?.ok_or_else(|| {
        Failure::Failed(format!(
            "the document of {job_id} is not there: it is in line, or was larger than results.keep_job_max_bytes"
        ))
    })?;
    output::line(mask_secrets(&String::from_utf8_lossy(&message)));
    Ok(())
}

/// What a person wants to know first.
fn facts(job: &JobView) -> Vec<(&'static str, String)> {
    let mut facts = vec![("job", job.job_id.to_string()), ("state", state(job))];
    let mut add = |name, text: Option<String>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            facts.push((name, text));
        }
    };
    let result = job.result.as_ref().and_then(|result| result.to_value().ok()).unwrap_or_default();
    let metadata = &result["metadata"];
    add("lane", job.lane.clone());
    add("attempt", Some(job.attempts.to_string()));
    add("came", dated(job.created_at.as_deref()));
    add("started", dated(job.started_at.as_deref()));
    add("ended", dated(job.completed_at.as_deref()));
    add("took", Some(listing::between(job.started_at.as_deref(), job.completed_at.as_deref())));
    add("error", job.error.as_ref().map(error));
    add("warnings", lines(&metadata["warnings"], |warning| warning.as_str().unwrap_or_default().to_owned()));
    add("tools", lines(&metadata["tool_calls"], tool));
    add("steps", lines(&result["result"]["steps"], step));
    add("model", model(metadata));
    add("result", result["result_ref"].as_str().map(str::to_owned));
    add(
        "wants to",
        job.pending.as_ref().and_then(|pending| serde_json::to_string_pretty(&pending.to_value().ok()?).ok()),
    );
    let id = &job.job_id;
    add("next", job.pending.as_ref().map(|_| format!("agent-runner jobs approve {id}, or reject {id}")));
    add("all of it", job.result.as_ref().map(|_| format!("agent-runner jobs show {id} --json")));
    facts
}

fn state(job: &JobView) -> String {
    match &job.due_at {
        Some(due) => format!("{}, due in {} ({due})", job.state.as_str(), listing::until(due)),
        None => job.state.as_str().to_owned(),
    }
}

fn dated(time: Option<&str>) -> Option<String> {
    time.map(|text| format!("{text} ({} ago)", listing::age(time)))
}

/// An error in one line.
pub(super) fn error(error: &Value) -> String {
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    format!("{}: {}", text("type"), text("message"))
}

fn lines(list: &Value, line: impl Fn(&Value) -> String) -> Option<String> {
    Some(list.as_array()?.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn tool(call: &Value) -> String {
    let text = |key: &str| call[key].as_str().unwrap_or_default();
    format!("{} {} ({} ms)", text("tool"), text("status"), tenths(&call["duration_ms"]))
}

fn step(step: &Value) -> String {
    let name = step["step"].as_str().unwrap_or_default();
    format!("{name}: {} rows in, {} out ({} ms)", step["rows_in"], step["rows_out"], tenths(&step["duration_ms"]))
}

/// A number to one place at most.
fn tenths(number: &Value) -> f64 {
    (number.as_f64().unwrap_or_default() * 10.0).round() / 10.0
}

fn model(metadata: &Value) -> Option<String> {
    let calls = metadata["llm_calls"].as_u64().filter(|calls| *calls > 0)?;
    let name = metadata["llm_model"].as_str().unwrap_or("a model");
    let cost = metadata["cost_usd"].as_f64().map(|cost| format!(", ${cost}")).unwrap_or_default();
    Some(format!("{name}: {calls} calls, {} tokens{cost}", metadata["tokens_used"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{job::RawJson, queue::JobState};

    fn job(state: JobState) -> JobView {
        JobView {
            job_id: JobId::parse("a").unwrap(),
            state,
            lane: None,
            attempts: 2,
            created_at: Some("2026-01-01T00:00:00.000Z".into()),
            due_at: None,
            started_at: None,
            completed_at: None,
            result: None,
            error: None,
            pending: None,
            owner: None,
        }
    }

    fn said(job: &JobView) -> String {
        facts(job).into_iter().map(|(name, text)| format!("{name}={text}\n")).collect()
    }

    #[test]
    fn a_job_that_ended_says_why_and_what_it_did() {
        let result = json!({
            "result": {"steps": [{"step": "count", "rows_in": 3, "rows_out": 1, "duration_ms": 2}]},
            "metadata": {"tool_calls": [{"tool": "execute_pipeline", "status": "ok", "duration_ms": 3}],
                "llm_calls": 1, "llm_model": "m", "tokens_used": 15, "cost_usd": 0.25, "warnings": ["w"]},
        });
        let failed = JobView {
            error: Some(json!({"type": "http_failed", "message": "no answer"})),
            result: Some(RawJson::of(&result)),
            started_at: Some("2026-01-01T00:00:01.000Z".into()),
            completed_at: Some("2026-01-01T00:00:02.500Z".into()),
            lane: Some("execute".into()),
            ..job(JobState::Failed)
        };
        let text = said(&failed);
        for line in [
            "state=failed\n",
            "lane=execute\n",
            "took=1500 ms\n",
            "error=http_failed: no answer\n",
            "tools=execute_pipeline ok (3 ms)\n",
            "steps=count: 3 rows in, 1 out (2 ms)\n",
            "model=m: 1 calls, 15 tokens, $0.25\n",
            "warnings=w\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn a_job_that_waits_says_for_what_and_a_young_one_says_little() {
        let pending = Some(RawJson::of(&json!({"tool": "refund"})));
        let text = said(&JobView { pending, ..job(JobState::AwaitingApproval) });
        assert!(text.contains("\"refund\"") && text.contains("agent-runner jobs approve a"), "{text}");
        let text = said(&job(JobState::Queued));
        assert!(!text.contains("took") && !text.contains("error") && !text.contains("all of it"), "{text}");
    }
}
