//! Health for people and probes, and the metrics scrape.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use utoipa::ToSchema;

use super::{App, Check};
use crate::{queue::QueueStats, store::Records, telemetry::names};

/// How long a server may take to answer a probe or a scrape: below the shortest usual probe timeout.
const PATIENCE: Duration = Duration::from_millis(900);

/// Said while jobs wait because someone wanted it so.
const PAUSED: &str = "the queue is paused: no jobs are taken until it is resumed";

/// How the process is.
#[derive(Serialize, ToSchema)]
struct Health {
    status: Standing,
    checks: Parts,
    /// What nobody has to mend, and everybody should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Ok,
    Degraded,
}

#[derive(Serialize, ToSchema)]
struct Parts {
    redis: Check,
    llm: Check,
    orchestrator: Check,
    /// Where ended jobs are recorded there; jobs do not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    postgres: Option<Check>,
}

/// An answer to a probe.
#[derive(Serialize, ToSchema)]
pub(super) struct Probe {
    /// `ok`, or what is in the way.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    checks: Option<QueueCheck>,
}

#[derive(Serialize, ToSchema)]
struct QueueCheck {
    redis: Check,
}

/// Whether the process can work, and what is impaired.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "It can.", body = Health),
        (status = 503, description = "The queue is gone.", body = Health)
    )
)]
pub(super) async fn health(State(app): State<App>) -> Response {
    let paused = tokio::time::timeout(PATIENCE, app.queue.paused());
    let (paused, postgres) = tokio::join!(paused, postgres(app.checks.records.as_ref()));
    let paused = paused.ok().and_then(Result::ok);
    let redis = if paused.is_some() { Check::Ok } else { Check::Unreachable };
    let note = paused.unwrap_or(false).then_some(PAUSED);
    let checks = Parts { redis, llm: (app.checks.llm)(), orchestrator: (app.checks.orchestrator)(), postgres };
    let all = [Some(redis), Some(checks.llm), Some(checks.orchestrator), postgres];
    let impaired = all.into_iter().flatten().any(Check::degrades);
    let status = if impaired { Standing::Degraded } else { Standing::Ok };
    let code = if redis.degrades() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(Health { status, checks, note })).into_response()
}

/// Whether the process answers.
///
/// It asks nobody else: an outage of Redis must not restart the fleet.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "live",
    tag = "operation",
    security(()),
    responses((status = 200, description = "It does.", body = Probe))
)]
pub(super) async fn live() -> Json<Probe> {
    Json(Probe { status: "ok", checks: None })
}

/// Whether the process takes jobs.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "ready",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "It does.", body = Probe),
        (status = 503, description = "The queue is gone, or the process is stopping.", body = Probe)
    )
)]
pub(super) async fn ready(State(app): State<App>) -> Response {
    if app.draining.is_cancelled() || app.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Probe { status: "draining", checks: None })).into_response();
    }
    let redis = redis(&app).await;
    let (code, status) = match redis.degrades() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        false => (StatusCode::OK, "ok"),
    };
    (code, Json(Probe { status, checks: Some(QueueCheck { redis }) })).into_response()
}

async fn redis(app: &App) -> Check {
    answers(app.queue.ping()).await
}

async fn postgres(records: Option<&Arc<dyn Records>>) -> Option<Check> {
    Some(answers(records?.ping()).await)
}

async fn answers<E>(ping: impl Future<Output = Result<(), E>>) -> Check {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(())) => Check::Ok,
        Ok(Err(_)) | Err(_) => Check::Unreachable,
    }
}

/// Metrics in the Prometheus text format.
///
/// Everything this process counted, and the queue's numbers as they are now.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operation",
    security(()),
    responses((status = 200, description = "All metrics.", body = String))
)]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let stats = tokio::time::timeout(PATIENCE, app.queue.stats()).await;
    record(stats.ok().and_then(Result::ok));
    let text = app.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Sets the queue's gauges. While the queue is gone they are not-a-number: an old value would look like news.
fn record(stats: Option<QueueStats>) {
    let stats = stats.as_ref();
    for (state, jobs) in [
        ("pending", stats.map(|stats| stats.pending)),
        ("ready", stats.map(|stats| stats.ready)),
        ("scheduled", stats.map(|stats| stats.scheduled)),
        ("in_flight", stats.map(|stats| stats.in_flight)),
        ("awaiting_approval", stats.map(|stats| stats.awaiting_approval)),
        ("dead", stats.map(|stats| stats.dead)),
    ] {
        metrics::gauge!(names::QUEUE_DEPTH, "state" => state).set(gauge(jobs));
    }
    let oldest_ms = gauge(stats.map(|stats| stats.oldest_age_ms));
    metrics::gauge!(names::QUEUE_OLDEST_AGE_SECONDS).set(oldest_ms / 1000.0);
    metrics::gauge!(names::QUEUE_PAUSED).set(gauge(stats.map(|stats| u64::from(stats.paused))));
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; no queue holds 2^53 jobs")]
fn gauge(value: Option<u64>) -> f64 {
    value.map_or(f64::NAN, |value| value as f64)
}
