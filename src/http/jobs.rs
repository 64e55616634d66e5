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

/// `GET /v1/jobs`: latest first, without their results.
pub(super) async fn list(State(app): State<App>, access: Access, query: Query) -> Result<Response, Problem> {
    let mut filter = JobFilter {
        lane: query.get("lane").map(str::to_owned),
        text: query.get("q").unwrap_or_default().to_owned(),
        limit: limit(&query)?,
        owner: access.owner(),
        from: query.cursor()?,
        ..JobFilter::default()
    };
    if let Some(word) = query.get("status") {
        filter = filter.of_status(word).ok_or_else(|| unknown_status(word))?;
    }
    let mut page = in_time(app.queue.jobs(&filter)).await?;
    for job in &mut page.items {
        // A page of results could weigh hundreds of megabytes; the job's own page has its result.
        job.result = None;
    }
    Ok(paged("/v1/jobs", "jobs", &page.items, &query, page.older))
}

fn unknown_status(word: &str) -> Problem {
    let found: String = word.chars().take(40).collect();
    let known = JobFilter::STATUSES.join(", ");
    Problem::bad_request(format!("`status` must be one of {known}, found {found:?}"))
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

/// `GET /v1/jobs/{id}`.
pub(super) async fn show(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Json<JobView>, Problem> {
    access.job(&app, &id).await.map(Json)
}

/// No job has this id, or it was long ago.
pub(super) fn unknown(id: &JobId) -> Problem {
    Problem::not_found(format!("no job {id} is known: it never came in, or its result is no longer kept"))
}

/// `DELETE /v1/jobs/{id}`: asks that the job be cancelled.
pub(super) async fn cancel(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    match app.queue.cancel(&id).await? {
        CancelOutcome::Accepted => Ok(accepted(&id)),
        CancelOutcome::AlreadyEnded => Err(Problem::conflict(format!("job {id} has ended already"))),
        CancelOutcome::Unknown => Err(unknown(&id)),
    }
}

/// `POST /v1/jobs/{id}/approve`.
pub(super) async fn approve(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    decide(&app, &id, Decision::Approve).await
}

/// `POST /v1/jobs/{id}/reject`.
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

/// `POST /v1/jobs/{id}/retry`: starts an ended job afresh.
pub(super) async fn retry(State(app): State<App>, access: Access, PathId(id): PathId) -> Result<Response, Problem> {
    access.check(&app, &id).await?;
    quota::charge(&app, access.owner_name()).await?;
    match app.queue.retry(&id).await? {
        RetryOutcome::Accepted => Ok(accepted(&id)),
        RetryOutcome::NotEnded => Err(Problem::conflict(format!("job {id} has not ended yet"))),
        RetryOutcome::Unknown => Err(unknown(&id)),
    }
}

/// `GET /v1/dead`: dead letters, latest first.
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

/// `POST /v1/dead/{id}/retry`: the id is a job's, or that of one letter.
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

/// `DELETE /v1/dead/{id}`: throws the letters of a job away, or one letter.
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

/// `POST /v1/queue/pause`.
pub(super) async fn pause(State(app): State<App>) -> Result<Response, Problem> {
    set_paused(&app, true).await
}

/// `POST /v1/queue/resume`.
pub(super) async fn resume(State(app): State<App>) -> Result<Response, Problem> {
    set_paused(&app, false).await
}

async fn set_paused(app: &App, paused: bool) -> Result<Response, Problem> {
    app.queue.set_paused(paused).await?;
    tracing::info!(paused, "the queue's switch was moved over HTTP");
    Ok((StatusCode::OK, Json(json!({"paused": paused}))).into_response())
}
