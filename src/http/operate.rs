//! What operators ask for beyond single jobs.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    App,
    access::Access,
    extract::{PathId, Query},
    openapi::{Answer, Guarded, jobs as shapes, outcomes},
    problem::Problem,
};
use crate::{job::mask_secrets, queue::Again};

/// Letters in a batch where nothing is asked for, and at most.
const BATCH: u64 = 100;
const MAX_BATCH: u64 = 1000;
/// Longest time for a batch.
const PATIENCE: Duration = Duration::from_secs(30);

/// The job as it came in, with credentials masked.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/document",
    operation_id = "showDocument",
    tag = "jobs",
    params(PathId),
    responses((status = 200, description = "The job document.", body = serde_json::Value), Answer<400>, Answer<404>, Guarded)
)]
pub(super) async fn document(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.job(&app, &id).await?;
    let message = app.queue.message(&id).await?.ok_or_else(|| {
        Problem::not_found(format!(
            "the document of job {id} is not there: it is in line, or was larger than results.keep_job_max_bytes"
        ))
    })?;
    let text = String::from_utf8_lossy(&message);
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, mask_secrets(&text).into_owned()).into_response())
}

/// Puts a batch of dead letters back, latest first.
#[utoipa::path(
    post,
    path = "/v1/dead/retry",
    operation_id = "retryAllDead",
    tag = "queue",
    params(
        ("error" = Option<String>, Query, description = "Only those with this type of error."),
        ("since" = Option<String>, Query, description = "Only those written since this time."),
        ("limit" = inline(Option<shapes::Limit>), Query, description = "Look at so many at most."),
        ("cursor" = inline(Option<shapes::Cursor>), Query, description = "Where the batch begins: `next_cursor` of the one before.")
    ),
    responses((status = 200, description = "What was done.", body = outcomes::Batch), Answer<400>, Guarded)
)]
pub(super) async fn retry_dead(State(app): State<App>, query: Query) -> Result<Json<Value>, Problem> {
    let since_ms = match query.get("since") {
        Some(text) => Some(time(text)?),
        None => None,
    };
    let again = Again { error: query.get("error").map(str::to_owned), since_ms };
    let limit = query.number("limit", 1, MAX_BATCH)?.unwrap_or(BATCH);
    let batch = again.page(&*app.queue, query.cursor()?, usize::try_from(limit).unwrap_or(usize::MAX));
    let done = tokio::time::timeout(PATIENCE, batch).await.map_err(|_| {
        let text = format!("the queue needs more than {} s for this batch: ask for fewer", PATIENCE.as_secs());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "queue_slow", text).with_header(header::RETRY_AFTER, "10")
    })??;
    tracing::info!(retried = done.retried, "dead letters were put back over HTTP");
    let mut body = json!({"looked_at": done.looked_at, "retried": done.retried, "passed_over": done.passed_over});
    if let Some(older) = done.older {
        body["next_cursor"] = older.to_string().into();
    }
    Ok(Json(body))
}

fn time(text: &str) -> Result<u64, Problem> {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    let ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    ms.ok_or_else(|| Problem::bad_request("`since` must be a time like 2026-01-01T00:00:00Z"))
}
