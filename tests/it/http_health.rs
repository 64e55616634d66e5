//! Health and metrics.

use std::sync::Arc;

use agent_runner::{
    http::{Check, Checks, router},
    settings::Settings,
};
use axum::http::StatusCode;

use crate::support::{
    api::{app, call, routes},
    broken_queue::{broken_queue, slow_queue},
};

#[tokio::test]
async fn without_the_queue_the_process_lives_and_is_not_ready() {
    let router = routes(broken_queue());
    let health = call(&router, "GET", "/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        health.json(),
        serde_json::json!({
            "status": "degraded",
            "checks": {"redis": "unreachable", "llm": "rules", "orchestrator": "not_configured"},
        })
    );
    assert_eq!(call(&router, "GET", "/health/live").await.status, StatusCode::OK);
    assert_eq!(call(&router, "GET", "/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_process_that_drains_is_not_ready() {
    let app = app(broken_queue(), Settings::default());
    app.draining.cancel();
    let answer = call(&router(app), "GET", "/health/ready").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["status"], "draining");
}

#[tokio::test]
async fn an_open_circuit_shows_as_degraded() {
    let mut app = app(broken_queue(), Settings::default());
    app.checks = Checks { llm: Arc::new(|| Check::CircuitOpen), ..app.checks };
    let health = call(&router(app), "GET", "/health").await.json();
    assert_eq!((&health["status"], &health["checks"]["llm"]), (&"degraded".into(), &"circuit_open".into()));
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_count_requests_by_pattern() {
    let router = routes(broken_queue());
    call(&router, "GET", "/v1/jobs/canary-4711").await;
    call(&router, "GET", "/canary-4711").await;
    let answer = call(&router, "GET", "/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for part in [
        r#"agent_runner_http_requests_total{route="/v1/jobs/{job_id}",status="503"}"#,
        r#"agent_runner_http_requests_total{route="unmatched",status="404"}"#,
        "# TYPE agent_runner_jobs_total counter",
        r#"agent_runner_queue_depth{state="pending"} NaN"#,
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("canary-4711"), "an id became a label");
}

#[tokio::test]
async fn a_gone_queue_is_a_503_that_tells_no_address() {
    let router = routes(broken_queue());
    for (method, path) in [
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/x"),
        ("DELETE", "/v1/jobs/x"),
        ("GET", "/v1/jobs/x/events"),
        ("POST", "/v1/jobs/x/approve"),
        ("POST", "/v1/jobs/x/reject"),
        ("POST", "/v1/jobs/x/retry"),
        ("GET", "/v1/dead"),
        ("POST", "/v1/dead/x/retry"),
        ("POST", "/v1/queue/pause"),
        ("POST", "/v1/queue/resume"),
        ("GET", "/v1/artifacts/broken"),
    ] {
        let answer = call(&router, method, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
        assert!(answer.problem().ends_with("_unavailable"), "{method} {path}");
        assert_eq!(answer.header("retry-after"), "2");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret-host"), "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_for_a_list() {
    let router = routes(slow_queue());
    for path in ["/v1/jobs?status=failed", "/v1/dead"] {
        let answer = call(&router, "GET", path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "queue_slow"),
            "{path}"
        );
    }
}
