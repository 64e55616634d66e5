//! Jobs that come in over HTTP: queued, or run here at once.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    App,
    access::Access,
    body::{self, Media},
    extract::Query,
    openapi::{
        Answer, Guarded, WithBody,
        jobs::{self as shapes, Wait, Words},
        outcomes::JobResult as JobResultShape,
    },
    problem::Problem,
    quota,
};
use crate::{
    job::{Job, JobId, JobResult, RawJson},
    queue::Submission,
};

/// Longest `?wait=`, in seconds.
const MAX_WAIT_SECS: u64 = 300;

/// Puts a job in.
///
/// It is checked at once: 202 with its id; with `wait` 200 with the result when it comes in time.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    params(("wait" = inline(Option<Wait>), Query, description = "Seconds to wait for the result.")),
    request_body(content = shapes::Job),
    responses(
        (status = 200, description = "The result, when it came within `wait`.", body = JobResultShape),
        Answer<202>,
        Answer<409>,
        WithBody,
        Guarded
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    access: Access,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = query.number("wait", 0, MAX_WAIT_SECS)?.unwrap_or(0);
    Media::json(&headers)?;
    let raw = body::with_job_id(body::read(&headers, body, &app.settings.http).await?);
    let (job, raw) = access.sign(raw, &app.settings.job_limits())?;
    access.refuse_taken(&app, &job.job_id).await?;
    quota::charge(&app, job.workflow_owner.as_deref()).await?;
    let permit = if wait > 0 { Some(long_permit(&app)?) } else { None };
    let (job_id, owner) = (job.job_id.clone(), job.owner());
    app.queue
        .submit(Submission {
            job_id: job.job_id,
            raw,
            priority: job.priority,
            run_at_ms: job.run_at_ms,
            delay_ms: job.delay_ms,
            owner,
        })
        .await?;
    tracing::debug!(%job_id, "job submitted over HTTP");
    let result = match permit {
        Some(_held) => result_within(&app, &job_id, Duration::from_secs(wait)).await?,
        None => None,
    };
    // Another may have come in under the same id in the same moment, and been the first to run.
    if result.is_some() {
        access.check(&app, &job_id).await?;
    }
    Ok(match result {
        Some(result) => raw_json(&result),
        None => accepted(&job_id),
    })
}

async fn result_within(app: &App, job_id: &JobId, wait: Duration) -> Result<Option<RawJson>, Problem> {
    tokio::select! {
        result = app.queue.result(job_id, wait) => Ok(result?),
        () = app.closing.cancelled() => Ok(None),
    }
}

/// 202: the job is in; where to look for it.
pub(super) fn accepted(job_id: &JobId) -> Response {
    let path = format!("/v1/jobs/{}", utf8_percent_encode(job_id.as_str(), NON_ALPHANUMERIC));
    let mut response = (StatusCode::ACCEPTED, Json(json!({"job_id": job_id}))).into_response();
    if let Ok(location) = HeaderValue::from_str(&path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// JSON as it stands, byte for byte.
pub(super) fn raw_json(json: &RawJson) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json.bytes().clone()).into_response()
}

/// A place among the requests that stay open. At their limit it is better to say so at once than to let
/// health checks wait for a connection.
pub(super) fn long_permit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.long).try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_waiting",
            "too many requests are waiting already (three quarters of http.max_connections): try again shortly",
        )
        .with_header(header::RETRY_AFTER, "2")
    })
}

/// Runs a job in this process and answers with its result.
///
/// The body is a job document, a form with `prompt`, or nothing where the query has `prompt`.
#[utoipa::path(
    post,
    path = "/test/chat",
    operation_id = "chat",
    tag = "jobs",
    params(("prompt" = Option<Words>, Query, description = "The prompt, where there is no body.")),
    request_body(content(
        (shapes::Job = "application/json"),
        (shapes::PromptForm = "application/x-www-form-urlencoded")
    )),
    responses(
        (status = 200, description = "The result, whatever its status.", body = JobResultShape),
        WithBody,
        Guarded
    )
)]
pub(super) async fn chat(
    State(app): State<App>,
    access: Access,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<JobResult>, Problem> {
    let media = Media::of(&headers)?;
    let asked = of_prompt(&query)?;
    let text = body::read(&headers, body, &app.settings.http).await?;
    let message = match media {
        _ if text.trim_ascii().is_empty() => asked,
        Media::Json => Some(text),
        Media::Form => of_prompt(&Query::parse(&text))?.or(asked),
    };
    let message = message.ok_or_else(|| {
        Problem::bad_request("there is no prompt: send {\"prompt\": \"…\"} as JSON, or `prompt` in a form or the query")
    })?;
    let job = run_here(&app, &access, message).await?;
    let _held = long_permit(&app)?;
    tokio::select! {
        result = (app.run)(job) => Ok(Json(result)),
        () = app.closing.cancelled() => {
            Err(stopping("the server stopped before the job ended: submit it through POST /v1/jobs to survive that"))
        }
    }
}

/// A job that runs here at once. A token with an owner does not choose its id: what is on record under one that
/// ran here before belongs to whoever chose it then.
pub(super) async fn run_here(app: &App, access: &Access, message: Bytes) -> Result<Job, Problem> {
    let signed = body::with_job_id(message.clone());
    if !access.sees_all() && signed == message {
        // Also where it cannot be read: then this says why.
        Job::parse(&message, &app.settings.job_limits())?;
        return Err(Problem::bad_request("leave `job_id` out: with this token it is made here"));
    }
    let (job, _) = access.sign(signed, &app.settings.job_limits())?;
    quota::charge(app, job.workflow_owner.as_deref()).await?;
    Ok(job)
}

/// 503: the server stopped while a request waited.
pub(super) fn stopping(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail)
}

/// A job of the `prompt` in a form or a query, where there is one.
fn of_prompt(form: &Query) -> Result<Option<Bytes>, Problem> {
    match form.get("prompt") {
        Some(prompt) if prompt.trim().is_empty() => {
            Err(Problem::bad_request("`prompt` is blank: say what is to be done"))
        }
        prompt => Ok(prompt.map(|prompt| json!({"prompt": prompt}).to_string().into())),
    }
}
