//! Every route, once.

use axum::{Router, http::StatusCode, middleware};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App, agents, artifacts, dashboard, events, guard, health, jobs, openapi, operate, problem::Problem, submit,
};

/// The API: what answers, and how it is described. Path and method stand on each handler.
pub(super) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::document))
        .routes(routes!(submit::chat))
        .routes(routes!(jobs::list, submit::submit))
        .routes(routes!(jobs::show, jobs::cancel))
        .routes(routes!(operate::document))
        .routes(routes!(events::stream))
        .routes(routes!(jobs::approve))
        .routes(routes!(jobs::reject))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::dead))
        .routes(routes!(operate::retry_dead))
        .routes(routes!(jobs::discard_dead))
        .routes(routes!(jobs::retry_dead))
        .routes(routes!(jobs::pause))
        .routes(routes!(jobs::resume))
        .routes(routes!(agents::list))
        .routes(routes!(agents::route))
        .routes(routes!(agents::executions))
        .routes(routes!(agents::trail))
        .routes(routes!(artifacts::get))
}

/// The patterns of all routes of the API.
#[must_use]
pub fn paths() -> Vec<String> {
    api().into_openapi().paths.paths.into_keys().collect()
}

/// The whole HTTP side as a service.
pub fn router(app: App) -> Router {
    dashboard::routes()
        .into_iter()
        .fold(Router::from(api()), |router, (path, methods)| router.route(path, methods))
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
