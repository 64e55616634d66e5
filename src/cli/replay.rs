//! `agent-runner replay`: a job that has ended, run once more from its record.

mod difference;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Failure, assemble, output, stores};
use crate::{
    job::{ErrorCode, Event, JobError, JobId, Meter, RawJson},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest},
    queue::SharedQueue,
    settings::Settings,
    store::{Artifacts, Journal},
};

/// Run a job that has ended once more from its journal, and compare
///
/// Nothing is sent anywhere: model answers, fetched data and the orchestrator's answers come from the journal, all
/// else is worked out again. Prints the result; exit code 1 when it is not the same, with what differs on stderr. A job
/// that was cancelled or ran out of time during a step, such as a model call, is compared up to that step.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  agent-runner replay uuid-123")]
pub(super) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse)]
    job_id: JobId,
}

pub(super) async fn run(settings: Settings, args: Args) -> Result<(), Failure> {
    let settings = Arc::new(settings);
    let queue = assemble::redis_queue(&settings).await?;
    let done = replay(&settings, &queue, &args.job_id).await;
    queue.close().await;
    done
}

async fn replay(settings: &Arc<Settings>, queue: &SharedQueue, job_id: &JobId) -> Result<(), Failure> {
    let original = queue.result(job_id, Duration::ZERO).await.map_err(assemble::queue_failed)?;
    let original =
        original.ok_or_else(|| Failure::Failed(format!("{job_id} has no result: it is unknown, or has not ended")))?;
    let job = queue.ended_job(job_id).await.map_err(assemble::queue_failed)?.ok_or_else(|| {
        Failure::Failed(format!("the job document of {job_id} was not kept: it is above results.keep_job_max_bytes"))
    })?;
    let job = job.map_err(|rejected| Failure::Failed(format!("{job_id} was never run: {}", rejected.error)))?;
    let store = stores::store(settings)?;
    let journal = || Journal::replay(store.clone(), job_id);
    // The offline planner puts the turns of a patch on record too.
    let steps: &[&str] = if made_offline(&original) { &["intent"] } else { &["turn:", "intent", "ask:"] };
    let asked = journal().has(steps, &Meter::default()).await;
    let asked = asked.map_err(|e| Failure::Failed(e.to_string()))?;
    let head: Value = original.to_value().unwrap_or_default();
    let stopped = matches!(head["error"]["type"].as_str(), Some("cancelled" | "timeout"));
    let asked = asked || (stopped && asks_model(&head));
    let chat = asked.then(|| Arc::new(NoModel) as Arc<dyn ChatModel>);
    let (runner, artifacts) = assemble::replayer(settings, queue.clone(), store.clone(), chat)?;
    let missing = missing_agents(settings, &head)?;

    let stop = CancellationToken::new();
    let journal = if stopped { journal().stopped_by(stop.clone()) } else { journal() };
    let again = RawJson::of(&runner.run_with(&job, &journal, stop.clone(), &|_: Event| {}).await);
    let cut = stop.is_cancelled();
    let again = if cut { ended_as(&head, &again) } else { again };
    let original = whole(original, &artifacts).await?;
    let found = difference::between(&original, &again, cut)
        .map_err(|e| Failure::Failed(format!("a result is no JSON: {e}")))?;
    if let Some(missing) = missing.filter(|_| !found.is_empty()) {
        return Err(Failure::Failed(missing));
    }
    output::line(again.as_str());
    if found.is_empty() {
        eprintln!("the same as the recorded result");
        if cut {
            eprintln!("the job was stopped before its next step was on record: compared up to there");
        }
        return Ok(());
    }
    for line in found {
        eprintln!("{line}");
    }
    Err(Failure::Told)
}

/// What to say where agents did the job and are not here: without them it comes out as another one.
fn missing_agents(settings: &Settings, head: &Value) -> Result<Option<String>, Failure> {
    let by_agents = head["lane"] == "handoff" || head["error"]["details"]["execution_id"].is_string();
    if !by_agents || !assemble::registry(settings)?.current().agents.is_empty() {
        return Ok(None);
    }
    let file = &settings.agents.file;
    Ok(Some(format!(
        "the job was done by agents, and {file} is not there or has none: set agents.file (AGENT_RUNNER__AGENTS__FILE) to \
         the agents file that the job ran with"
    )))
}

/// Whether no model had a part in the plan of a job.
fn made_offline(document: &RawJson) -> bool {
    let head: Value = document.to_value().unwrap_or_default();
    matches!(head["metadata"]["plan"]["source"].as_str(), Some("rules" | "ready"))
}

/// Whether a model was asked for a job, or was about to be, also where no answer of it is on record.
fn asks_model(head: &Value) -> bool {
    match head["metadata"]["plan"]["source"].as_str() {
        Some("model") => true,
        Some("rules" | "ready") => false,
        _ => head["metadata"]["llm_calls"].as_u64().is_some_and(|calls| calls > 0),
    }
}

/// `again` with the end of the job, which came from outside and is on no record but its result.
fn ended_as(head: &Value, again: &RawJson) -> RawJson {
    let mut document: Value = again.to_value().unwrap_or_default();
    for member in ["status", "lane", "error"] {
        match (head.get(member), document.as_object_mut()) {
            (Some(was), Some(document)) => drop(document.insert(member.into(), was.clone())),
            (None, Some(document)) => drop(document.shift_remove(member)),
            (_, None) => {}
        }
    }
    RawJson::of(&document)
}

/// A result document with its result in it, also where that is kept apart for its size.
async fn whole(document: RawJson, artifacts: &Artifacts) -> Result<RawJson, Failure> {
    let head: Value =
        document.to_value().map_err(|e| Failure::Failed(format!("the recorded result is no JSON: {e}")))?;
    let (None, Some(reference)) = (head.get("result"), head["result_ref"].as_str()) else { return Ok(document) };
    let result = artifacts.get(reference).await.map_err(|e| Failure::Failed(e.to_string()))?;
    let result = result.ok_or_else(|| {
        Failure::Failed(format!("{reference} is not kept any more: there is nothing to compare with"))
    })?;
    let mut text = document.as_str().trim_end().to_owned();
    text.truncate(text.len().saturating_sub(1));
    text.push_str(",\"result\":");
    text.push_str(RawJson::from_trusted(result).as_str());
    text.push('}');
    RawJson::parse(text.into()).map_err(|e| Failure::Failed(format!("{reference} is no JSON: {e}")))
}

/// Stands where the model stood. Every answer is on record; what is not must not be asked for.
struct NoModel;

#[async_trait]
impl ChatModel for NoModel {
    async fn chat(&self, _: &ChatRequest, _: &CallContext<'_>) -> Result<ChatReply, JobError> {
        Err(JobError::new(ErrorCode::Internal, "a replay asks no model, and this answer is not on record")
            .with_retryable(false))
    }
}
