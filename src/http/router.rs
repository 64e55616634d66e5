//! Every route, once.

use axum::{
    Router,
    http::StatusCode,
    middleware,
    routing::{MethodRouter, delete, get, post},
};

use super::{App, agents, artifacts, dashboard, events, guard, health, jobs, openapi, problem::Problem, submit};

/// Path patterns of the API and what answers them. `openapi.json` describes each, and a test holds the two together.
fn routes() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/health", get(health::health)),
        ("/health/live", get(health::live)),
        ("/health/ready", get(health::ready)),
        ("/metrics", get(health::metrics)),
        ("/openapi.json", get(openapi::document)),
        ("/test/chat", post(submit::chat)),
        ("/v1/jobs", get(jobs::list).post(submit::submit)),
        ("/v1/jobs/{job_id}", get(jobs::show).delete(jobs::cancel)),
        ("/v1/jobs/{job_id}/events", get(events::stream)),
        ("/v1/jobs/{job_id}/approve", post(jobs::approve)),
        ("/v1/jobs/{job_id}/reject", post(jobs::reject)),
        ("/v1/jobs/{job_id}/retry", post(jobs::retry)),
        ("/v1/dead", get(jobs::dead)),
        ("/v1/dead/{job_id}", delete(jobs::discard_dead)),
        ("/v1/dead/{job_id}/retry", post(jobs::retry_dead)),
        ("/v1/queue/pause", post(jobs::pause)),
        ("/v1/queue/resume", post(jobs::resume)),
        ("/v1/agents", get(agents::list)),
        ("/v1/agents/route", post(agents::route)),
        ("/v1/handoffs", get(agents::executions)),
        ("/v1/handoffs/{execution_id}", get(agents::trail)),
        ("/v1/artifacts/{*reference}", get(artifacts::get)),
    ]
}

/// The patterns of all routes of the API.
#[must_use]
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

/// The whole HTTP side as a service.
pub fn router(app: App) -> Router {
    routes()
        .into_iter()
        .chain(dashboard::routes())
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), guard::admit))
        .layer(middleware::from_fn(guard::observe))
        .with_state(app)
}

async fn not_found() -> Problem {
    Problem::not_found("there is nothing at this path: GET /openapi.json lists what there is")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take that method: the Allow header lists those it takes",
    )
}
