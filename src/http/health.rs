//! Health for people and probes, and the metrics scrape.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{App, Check};
use crate::{queue::QueueStats, store::Records, telemetry::names};

/// How long a server may take to answer a probe or a scrape: below the shortest usual probe timeout.
const PATIENCE: Duration = Duration::from_millis(900);

/// Said while jobs wait because someone wanted it so.
const PAUSED: &str = "the queue is paused: no jobs are taken until it is resumed";

#[derive(Serialize)]
struct Health {
    status: &'static str,
    checks: Parts,
    /// What nobody has to mend, and everybody should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Serialize)]
struct Parts {
    redis: Check,
    llm: Check,
    orchestrator: Check,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<Check>,
}

/// `GET /health`: 200 while the process can work, with what is impaired; 503 when the queue is gone. Jobs do not
/// wait for PostgreSQL.
pub(super) async fn health(State(app): State<App>) -> Response {
    let paused = tokio::time::timeout(PATIENCE, app.queue.paused());
    let (paused, postgres) = tokio::join!(paused, postgres(app.checks.records.as_ref()));
    let paused = paused.ok().and_then(Result::ok);
    let redis = if paused.is_some() { Check::Ok } else { Check::Unreachable };
    let note = paused.unwrap_or(false).then_some(PAUSED);
    let checks = Parts { redis, llm: (app.checks.llm)(), orchestrator: (app.checks.orchestrator)(), postgres };
    let all = [Some(redis), Some(checks.llm), Some(checks.orchestrator), postgres];
    let status = if all.into_iter().flatten().any(Check::degrades) { "degraded" } else { "ok" };
    let code = if redis.degrades() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(Health { status, checks, note })).into_response()
}

/// `GET /health/live`: the process answers. Deliberately asks nobody else, or a Redis outage would have every
/// worker restarted.
pub(super) async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// `GET /health/ready`: 503 while the queue is gone, and as soon as the process takes no more jobs.
pub(super) async fn ready(State(app): State<App>) -> Response {
    if app.draining.is_cancelled() || app.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({"status": "draining"}))).into_response();
    }
    let redis = redis(&app).await;
    let (code, status) = match redis.degrades() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        false => (StatusCode::OK, "ok"),
    };
    (code, Json(serde_json::json!({"status": status, "checks": {"redis": redis}}))).into_response()
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

/// `GET /metrics`: everything this process counted, and the queue's numbers as they are now.
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
