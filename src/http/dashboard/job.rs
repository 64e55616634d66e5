//! The page of one job, and what can be done to it there.

use std::time::Duration;

use askama::Template;
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde_json::{Value, json};

use super::{
    super::{
        App,
        access::Access,
        body,
        extract::{PathId, Query},
        jobs::unknown,
        problem::Problem,
        quota,
    },
    outcome::{Outcome, PatchView, patch_view, until_it_failed},
    overview::in_time,
    page::{Fault, Page, back_to, duration, job_path},
    shown::pretty,
};
use crate::{
    job::{Job, JobId, RawJson, Spend},
    queue::{CancelOutcome, Decision, DecisionOutcome, JobState, RetryOutcome},
    store::{Journal, Told},
};

/// A member of a job above this is not shown, in bytes.
const LARGE: usize = 32 << 10;

/// One model call, from the journal.
struct Call {
    step: String,
    model: String,
    tokens: u64,
    cost: String,
    took: String,
    /// The code of its error; `ok` where there was none.
    outcome: String,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    nav: &'static str,
    id: String,
    path: String,
    events: String,
    state: &'static str,
    lane: String,
    attempts: u32,
    created: String,
    due: String,
    started: String,
    completed: String,
    /// What the job says of itself: name and value.
    names: Vec<(&'static str, String)>,
    prompt: String,
    /// The job as it came, without credentials.
    document: String,
    /// This moment: what an event says that came later is news.
    now: String,
    ended: bool,
    waits: bool,
    /// Whether the one who looks may change anything.
    acts: bool,
    pending: Option<PatchView>,
    pending_text: String,
    calls: Vec<Call>,
    outcome: Option<Outcome>,
}

/// `GET /ui/jobs/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    access: Access,
    PathId(id): PathId,
) -> Result<Page<impl Template>, Fault> {
    let view = in_time(app.queue.job(&id)).await?.filter(|view| access.sees(view.owner.as_ref()));
    let view = view.ok_or_else(|| unknown(&id))?;
    let ended = view.state.has_ended();
    let job = message(&app, &id, view.state).await;
    let workflow = job.as_ref().and_then(|job| job.current_workflow.as_ref()?.to_value().ok());
    let result = view.result.as_ref().and_then(|result| result.to_value().ok());
    let pending = view.pending.as_ref().and_then(|pending| pending.to_value().ok());
    let calls = calls(&app, &id).await;
    let mut outcome = result.map(|result| Outcome::of(&result, workflow.as_ref()));
    if let Some(outcome) = outcome.as_mut().filter(|outcome| outcome.error.is_some() && outcome.steps.is_empty()) {
        let events = in_time(app.queue.events(&id, None, Duration::ZERO)).await.unwrap_or_default();
        outcome.steps = until_it_failed(&events, outcome.failed_step.as_ref());
    }
    let text = |stamp: &Option<String>| stamp.clone().unwrap_or_default();
    Ok(Page(JobPage {
        nav: "jobs",
        path: job_path(id.as_str()),
        events: format!("/v1/jobs/{}/events", super::page::encoded(id.as_str())),
        id: id.to_string(),
        state: view.state.as_str(),
        lane: text(&view.lane),
        attempts: view.attempts,
        created: text(&view.created_at),
        due: text(&view.due_at),
        started: text(&view.started_at),
        completed: text(&view.completed_at),
        names: job.as_ref().map(names).unwrap_or_default(),
        prompt: job.as_ref().map(|job| job.prompt_text().to_owned()).unwrap_or_default(),
        document: job.as_ref().map(document).unwrap_or_default(),
        now: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        ended,
        acts: access.acts(),
        waits: view.state == JobState::AwaitingApproval,
        pending_text: pending.as_ref().map(pretty).unwrap_or_default(),
        pending: pending.as_ref().and_then(|pending| patch_view(prepared(pending), workflow.as_ref())),
        calls,
        outcome,
    }))
}

/// The job itself, as far as its message is still there and can be read.
pub(super) async fn message(app: &App, id: &JobId, state: JobState) -> Option<Job> {
    let job = match state {
        JobState::Completed | JobState::Failed | JobState::Cancelled => in_time(app.queue.ended_job(id)).await,
        _ => in_time(app.queue.live_job(id)).await,
    };
    job.ok()??.ok()
}

/// Who and what the job is for.
fn names(job: &Job) -> Vec<(&'static str, String)> {
    let named = [
        ("Run", &job.run_id),
        ("Node", &job.node_id),
        ("Workflow tag", &job.workflow_tag),
        ("Owner", &job.workflow_owner),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}

/// The members of a job, without credentials; of those that are large only their size.
fn document(job: &Job) -> String {
    let short = |raw: &Option<RawJson>| match raw {
        Some(raw) if raw.len() > LARGE => Some(RawJson::of(&format!("{} bytes", raw.len()))),
        raw => raw.clone(),
    };
    let members = json!({
        "job_id": job.job_id, "run_id": job.run_id, "node_id": job.node_id, "workflow_tag": job.workflow_tag,
        "workflow_owner": job.workflow_owner, "created_at": job.created_at, "prompt": job.prompt,
        "pipeline": short(&job.pipeline), "patch_spec": short(&job.patch_spec), "handoff": job.handoff, "input_ref": job.input_ref,
        "data": short(&job.data), "current_workflow": short(&job.current_workflow),
        "dry_run": job.dry_run.then_some(true), "require_approval": job.require_approval.then_some(true),
        "timeout_sec": job.timeout.map(|time| time.as_secs_f64()),
        "retry_count": Some(job.retry_count).filter(|count| *count > 0),
        "run_at_ms": job.run_at_ms, "delay_ms": job.delay_ms, "traceparent": job.traceparent,
    });
    let given: serde_json::Map<String, Value> = match members {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => serde_json::Map::new(),
    };
    RawJson::of(&given).without_secrets().to_value().map(|value| pretty(&value)).unwrap_or_default()
}

/// The patch inside what waits for approval, where it is one: a patch itself, or an agent's call that prepared one.
fn prepared(pending: &Value) -> &Value {
    let inner = |value: &'_ Value| value.get("prepared").is_some();
    let mut found = pending;
    while inner(found) {
        found = &found["prepared"];
    }
    found
}

/// The model calls of a job, as far as its journal is still there.
async fn calls(app: &App, id: &JobId) -> Vec<Call> {
    let story = Journal::replay(app.kept.store.clone(), id).story().await.unwrap_or_default();
    let mut before = Spend::default();
    let mut calls = Vec::new();
    for Told { step, spend, took_ms, error } in story {
        if spend.llm_calls > before.llm_calls {
            let tokens = spend.tokens.total().saturating_sub(before.tokens.total());
            let cost = format!("${:.6}", (spend.cost_usd - before.cost_usd).max(0.0));
            let model = spend.model.clone().unwrap_or_default();
            let outcome = error.map_or("ok", |error| error.code.as_str()).to_owned();
            calls.push(Call { step, model, tokens, cost, took: took_ms.map(duration).unwrap_or_default(), outcome });
        }
        before = spend;
    }
    calls
}

async fn retried(app: &App, access: &Access, id: &JobId) -> Result<RetryOutcome, Fault> {
    quota::charge(app, access.owner_name()).await?;
    Ok(app.queue.retry(id).await?)
}

/// `POST /ui/jobs/{id}`: `action` is `cancel`, `retry`, `approve` or `reject`.
pub(super) async fn act(
    State(app): State<App>,
    access: Access,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let form = Query::parse(&body::read(&headers, body, &app.settings.http).await?);
    access.check(&app, &id).await?;
    let late = || Problem::conflict(format!("job {id} is no longer in a state for that: look at it again"));
    let action = form.get("action").unwrap_or_default();
    match action {
        "cancel" => match app.queue.cancel(&id).await? {
            CancelOutcome::Accepted => {}
            CancelOutcome::AlreadyEnded => return Err(late().into()),
            CancelOutcome::Unknown => return Err(unknown(&id).into()),
        },
        "retry" => match retried(&app, &access, &id).await? {
            RetryOutcome::Accepted => {}
            RetryOutcome::NotEnded => return Err(late().into()),
            RetryOutcome::Unknown => return Err(unknown(&id).into()),
        },
        "approve" | "reject" => {
            let decision = if action == "approve" { Decision::Approve } else { Decision::Reject };
            match app.queue.decide(&id, decision).await? {
                DecisionOutcome::Accepted => {}
                DecisionOutcome::NotWaiting => return Err(late().into()),
                DecisionOutcome::Unknown => return Err(unknown(&id).into()),
            }
        }
        _ => return Err(Problem::bad_request("`action` must be cancel, retry, approve or reject").into()),
    }
    tracing::info!(job_id = %id, action, "a job was acted on through the dashboard");
    Ok(back_to(&job_path(id.as_str())))
}
