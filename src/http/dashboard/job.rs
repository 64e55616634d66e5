//! The page of one job, and what can be done to it there.

use askama::Template;
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde_json::Value;

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
    outcome::{Outcome, PatchView, patch_view},
    overview::in_time,
    page::{Fault, Page, back_to, job_path},
};
use crate::{
    job::{JobId, Spend},
    queue::{CancelOutcome, Decision, DecisionOutcome, JobState, RetryOutcome},
    store::Journal,
};

/// One model call, from the journal.
struct Call {
    step: String,
    model: String,
    tokens: u64,
    cost: String,
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
    prompt: String,
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
    let job = match ended {
        true => in_time(app.queue.ended_job(&id)).await?,
        false => in_time(app.queue.live_job(&id)).await?,
    };
    let job = job.and_then(Result::ok);
    let workflow = job.as_ref().and_then(|job| job.current_workflow.as_ref()?.to_value().ok());
    let result = view.result.as_ref().and_then(|result| result.to_value().ok());
    let pending = view.pending.as_ref().and_then(|pending| pending.to_value().ok());
    let calls = calls(&app, &id).await;
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
        prompt: job.as_ref().map(|job| job.prompt_text().to_owned()).unwrap_or_default(),
        ended,
        acts: access.acts(),
        waits: view.state == JobState::AwaitingApproval,
        pending_text: pending.as_ref().map(super::shown::pretty).unwrap_or_default(),
        pending: pending.as_ref().and_then(|pending| patch_view(prepared(pending), workflow.as_ref())),
        calls,
        outcome: result.map(|result| Outcome::of(&result, workflow.as_ref())),
    }))
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
    for (step, spend) in story {
        if spend.llm_calls > before.llm_calls {
            let tokens = spend.tokens.total().saturating_sub(before.tokens.total());
            let cost = format!("${:.6}", (spend.cost_usd - before.cost_usd).max(0.0));
            calls.push(Call { step, model: spend.model.clone().unwrap_or_default(), tokens, cost });
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
