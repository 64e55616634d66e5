//! Jobs that are there: looking at them, and what people do to them. Dead letters and the queue's switch too.

use std::{fmt::Display, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    App,
    access::Access,
    extract::{PathId, Query},
    openapi::{Answer, Guarded, jobs as shapes, outcomes},
    problem::Problem,
    quota,
    submit::accepted,
};
use crate::{
    job::JobId,
    queue::{
        CancelOutcome, Cursor, DeadLetter, Decision, DecisionOutcome, JobFilter, JobView, LetterFilter, LetterPlace,
        LetterRetry, Page, QueueError, RetryOutcome,
    },
};

/// Longest page of a list.
const MAX_LIMIT: u64 = 1000;
/// Page length where none is asked for.
const DEFAULT_LIMIT: u64 = 50;
/// Deepest place in the dead letters that can be asked for.
const MAX_OFFSET: u64 = 1_000_000;

/// How long the queue may take over a page.
const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// Ways a job can go.
pub(super) const LANES: [&str; 4] = ["execute", "patch", "handoff", "answer"];

/// Jobs, latest first, without their results.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(
        ("status" = inline(Option<shapes::Status>), Query, description = "Only jobs in this state."),
        ("lane" = Option<shapes::Lane>, Query, description = "Only jobs that went this way."),
        (
            "q" = Option<String>,
            Query,
            description = "Only jobs with this text in their id or in the message of their error."
        ),
        ("limit" = inline(Option<shapes::Limit>), Query, description = "At most so many."),
        ("cursor" = inline(Option<shapes::Cursor>), Query, description = "Where the page begins: `next_cursor` of the one before.")
    ),
    responses((status = 200, description = "A page of jobs.", body = outcomes::Jobs), Answer<400>, Guarded)
)]
pub(super) async fn list(State(app): State<App>, access: Access, query: Query) -> Result<Response, Problem> {
    let filter = JobFilter {
        lane: query.choice("lane", &LANES)?.map(str::to_owned),
        text: query.get("q").unwrap_or_default().to_owned(),
        limit: limit(&query)?,
        owner: access.owner(),
        from: query.cursor()?,
        ..JobFilter::default()
    };
    let mut page = in_time(app.queue.jobs(&of_status(filter, &query)?)).await?;
    for job in &mut page.items {
        // A page of results could weigh hundreds of megabytes; the job's own page has its result.
        job.result = None;
    }
    Ok(paged("/v1/jobs", "jobs", &page.items, &query, page.older))
}

/// Narrows a filter to the status asked for.
pub(super) fn of_status(filter: JobFilter, query: &Query) -> Result<JobFilter, Problem> {
    let Some(word) = query.choice("status", &JobFilter::STATUSES)? else { return Ok(filter) };
    Ok(filter.clone().of_status(word).unwrap_or(filter))
}

fn limit(query: &Query) -> Result<usize, Problem> {
    let limit = query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A page of a list as it is answered: under its name, and where the list goes on, with a cursor and a link there.
fn paged<T: Serialize, P: Display>(
    path: &str,
    name: &str,
    items: &[T],
    query: &Query,
    next: Option<Cursor<P>>,
) -> Response {
    let mut body = json!({name: items});
    let Some(next) = next.map(|cursor| cursor.to_string()) else { return Json(body).into_response() };
    let link = format!("<{path}?{}>; rel=\"next\"", query.with(&["cursor", "offset"], Some(("cursor", &next))));
    body["next_cursor"] = next.into();
    let mut response = Json(body).into_response();
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A page, unless the queue takes too long over it: nobody waits longer for a list, and one that was given up
/// stops costing.
async fn in_time<T>(page: impl Future<Output = Result<T, QueueError>>) -> Result<T, Problem> {
    match tokio::time::timeout(LIST_PATIENCE, page).await {
        Ok(page) => Ok(page?),
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "queue_slow",
            format!("the queue needs more than {} s for this page: ask for fewer", LIST_PATIENCE.as_secs()),
        )
        .with_header(header::RETRY_AFTER, "10")),
    }
}

/// What is known of a job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}",
    operation_id = "showJob",
    tag = "jobs",
    params(PathId),
    responses(
        (status = 200, description = "The job.", body = outcomes::JobView),
        Answer<400>,
        Answer<404>,
        Guarded
    )
)]
pub(super) async fn show(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Json<JobView>, Problem> {
    access.job(&app, &id).await.map(Json)
}

/// No job has this id, or it was long ago.
pub(super) fn unknown(id: &JobId) -> Problem {
    Problem::not_found(format!("no job {id} is known: it never came in, or its result is no longer kept"))
}

/// Cancels a job, wherever it is.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{job_id}",
    operation_id = "cancelJob",
    tag = "jobs",
    params(PathId),
    responses(Answer<202>, Answer<400>, Answer<404>, Answer<409>, Guarded)
)]
pub(super) async fn cancel(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    match app.queue.cancel(&id).await? {
        CancelOutcome::Accepted => Ok(accepted(&id)),
        CancelOutcome::AlreadyEnded => Err(Problem::conflict(format!("job {id} has ended already"))),
        CancelOutcome::Unknown => Err(unknown(&id)),
    }
}

/// Approves a job that waits for it.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/approve",
    operation_id = "approveJob",
    tag = "jobs",
    params(PathId),
    responses(Answer<202>, Answer<400>, Answer<404>, Answer<409>, Guarded)
)]
pub(super) async fn approve(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    decide(&app, &id, Decision::Approve).await
}

/// Rejects a job that waits for approval; it ends as cancelled.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/reject",
    operation_id = "rejectJob",
    tag = "jobs",
    params(PathId),
    responses(Answer<202>, Answer<400>, Answer<404>, Answer<409>, Guarded)
)]
pub(super) async fn reject(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    decide(&app, &id, Decision::Reject).await
}

async fn decide(app: &App, id: &JobId, decision: Decision) -> Result<Response, Problem> {
    match app.queue.decide(id, decision).await? {
        DecisionOutcome::Accepted => Ok(accepted(id)),
        DecisionOutcome::NotWaiting => Err(Problem::conflict(format!("job {id} does not wait for approval"))),
        DecisionOutcome::Unknown => Err(unknown(id)),
    }
}

/// Starts an ended job afresh; its new result takes the old one's place.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job_id}/retry",
    operation_id = "retryJob",
    tag = "jobs",
    params(PathId),
    responses(Answer<202>, Answer<400>, Answer<404>, Answer<409>, Guarded)
)]
pub(super) async fn retry(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    quota::charge(&app, access.owner_name()).await?;
    match app.queue.retry(&id).await? {
        RetryOutcome::Accepted => Ok(accepted(&id)),
        RetryOutcome::NotEnded => Err(Problem::conflict(format!("job {id} has not ended yet"))),
        RetryOutcome::Unknown => Err(unknown(&id)),
    }
}

/// Dead letters, latest first.
#[utoipa::path(
    get,
    path = "/v1/dead",
    operation_id = "listDead",
    tag = "queue",
    params(
        ("offset" = inline(Option<shapes::Offset>), Query, description = "How many to pass over."),
        ("limit" = inline(Option<shapes::Limit>), Query, description = "At most so many."),
        ("cursor" = inline(Option<shapes::Cursor>), Query, description = "Where the page begins: `next_cursor` of the one before.")
    ),
    responses(
        (status = 200, description = "A page of dead letters.", body = outcomes::DeadLetters),
        Answer<400>,
        Guarded
    )
)]
pub(super) async fn dead(State(app): State<App>, access: Access, query: Query) -> Result<Response, Problem> {
    let offset = query.number("offset", 0, MAX_OFFSET)?;
    let from = query.cursor()?;
    if offset.is_some() && from.is_some() {
        return Err(Problem::bad_request("`offset` and `cursor` are two ways to say where to begin: give one"));
    }
    let skip = usize::try_from(offset.unwrap_or(0)).unwrap_or(usize::MAX);
    let filter = LetterFilter { owner: access.owner(), from, skip, limit: limit(&query)? };
    let page = in_time(letters(&app, &filter)).await?;
    Ok(paged("/v1/dead", "dead", &page.items, &query, page.older))
}

/// A page of dead letters, without credentials in them.
pub(super) async fn letters(app: &App, filter: &LetterFilter) -> Result<Page<DeadLetter, LetterPlace>, QueueError> {
    let page = app.queue.letters(filter).await?;
    Ok(Page { items: page.items.into_iter().map(DeadLetter::masked).collect(), ..page })
}

/// Puts a dead letter back into the queue.
///
/// The id is a job's, or that of one letter.
#[utoipa::path(
    post,
    path = "/v1/dead/{job_id}/retry",
    operation_id = "retryDead",
    tag = "queue",
    params(PathId),
    responses(Answer<202>, Answer<400>, Answer<404>, Guarded)
)]
pub(super) async fn retry_dead(
    State(app): State<App>,
    access: Access,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    access.check_dead(&app, id.as_str()).await?;
    quota::charge(&app, access.owner_name()).await?;
    match app.queue.retry_dead(id.as_str()).await? {
        LetterRetry::Accepted(Some(job_id)) => Ok(accepted(&job_id)),
        // Nobody can be told of it before it is read again.
        LetterRetry::Accepted(None) => Ok((StatusCode::ACCEPTED, Json(json!({"letter_id": id}))).into_response()),
        LetterRetry::Unknown => Err(no_letter(id.as_str())),
    }
}

/// Throws the letters of a job away, or one letter.
#[utoipa::path(
    delete,
    path = "/v1/dead/{job_id}",
    operation_id = "discardDead",
    tag = "queue",
    params(PathId),
    responses((status = 200, description = "Gone.", body = outcomes::Discarded), Answer<400>, Answer<404>, Guarded)
)]
pub(super) async fn discard_dead(
    State(app): State<App>,
    access: Access,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    access.check_dead(&app, id.as_str()).await?;
    match app.queue.discard_dead(Some(&[id.to_string()])).await? {
        0 => Err(no_letter(id.as_str())),
        gone => Ok(Json(json!({"discarded": gone}))),
    }
}

/// No dead letter goes by this id.
pub(super) fn no_letter(id: &str) -> Problem {
    Problem::not_found(format!("no dead letter has the id {id}, of its own or of its job"))
}

/// Stops the whole fleet from taking jobs.
#[utoipa::path(
    post,
    path = "/v1/queue/pause",
    operation_id = "pauseQueue",
    tag = "queue",
    responses((status = 200, description = "Stopped.", body = outcomes::Switch), Guarded)
)]
pub(super) async fn pause(State(app): State<App>) -> Result<Response, Problem> {
    set_paused(&app, true).await
}

/// Lets the fleet take jobs again.
#[utoipa::path(
    post,
    path = "/v1/queue/resume",
    operation_id = "resumeQueue",
    tag = "queue",
    responses((status = 200, description = "Started.", body = outcomes::Switch), Guarded)
)]
pub(super) async fn resume(State(app): State<App>) -> Result<Response, Problem> {
    set_paused(&app, false).await
}

async fn set_paused(app: &App, paused: bool) -> Result<Response, Problem> {
    app.queue.set_paused(paused).await?;
    tracing::info!(paused, "the queue's switch was moved over HTTP");
    Ok((StatusCode::OK, Json(json!({"paused": paused}))).into_response())
}
