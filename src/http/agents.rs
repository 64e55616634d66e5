//! The agents: who there is, who would take a prompt, and what was decided in a handoff.

use std::time::{Duration, Instant};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    App,
    access::Access,
    body::{self, Media},
    extract::{PathText, Query},
    openapi::{
        Answer, Guarded, WithBody, agents as shapes,
        jobs::{Limit, Mode},
    },
    problem::Problem,
    quota,
    submit::{long_permit, stopping},
    tagged::Tagged,
};
use crate::{
    agents::{self, Analytics, Decision, Execution, RouteRequest, RouteResult, TrailEntry},
    job::{ErrorCode, JobError, JobId, Meter, Owner, RawJson, in_plain_words, whole},
    llm::CallContext,
};

/// Longest time for one prompt, in which a model may be asked for tags, a vector and a pick.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(120);

/// The agents in force, without their instructions.
#[utoipa::path(
    get,
    path = "/v1/agents",
    operation_id = "listAgents",
    tag = "agents",
    responses(
        (
            status = 200,
            description = "The agents, pools, tier sets and MCP servers of the agents file.",
            body = shapes::Agents,
            headers(("ETag" = String))
        ),
        Answer<304>,
        Guarded
    )
)]
pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Response {
    let listing = RawJson::of(&agents::listing(&app.agents.registry.current()));
    Tagged::of(listing.bytes().clone()).answer(&headers, "application/json", "private, no-cache")
}

/// The body of `POST /v1/agents/route`. Unknown members are ignored.
#[derive(Deserialize)]
struct Ask {
    prompt: String,
    #[serde(default)]
    threshold: Option<f64>,
    #[serde(default, deserialize_with = "whole")]
    show_top_n: Option<usize>,
    #[serde(default)]
    dry_run: Option<bool>,
}

impl Ask {
    fn parse(text: &Bytes, max_prompt_bytes: usize) -> Result<Self, Problem> {
        let unfit = |why: &str| Problem::bad_request(format!("the body is not {{\"prompt\": \"…\"}}: {why}"));
        // It would be read as the members in their order.
        if text.trim_ascii_start().starts_with(b"[") {
            return Err(unfit("expected an object, found a list"));
        }
        let ask: Self = serde_json::from_slice(text).map_err(|error| unfit(&in_plain_words(&error.to_string())))?;
        if ask.prompt.trim().is_empty() {
            return Err(Problem::bad_request("`prompt` is blank: say what is to be done"));
        }
        if ask.prompt.len() > max_prompt_bytes {
            return Err(Problem::bad_request(format!(
                "`prompt` has {} bytes, at most {max_prompt_bytes} are taken (worker.max_prompt_bytes)",
                ask.prompt.len()
            )));
        }
        if ask.dry_run == Some(false) {
            return Err(Problem::bad_request(
                "this path only chooses: to have the chosen agent answer, send a job with \
                 \"handoff\": {\"mode\": \"route\"} through POST /v1/jobs",
            ));
        }
        Ok(ask)
    }
}

/// Chooses the agent for a prompt; nobody answers it.
#[utoipa::path(
    post,
    path = "/v1/agents/route",
    operation_id = "routePrompt",
    tag = "agents",
    request_body(content = shapes::RouteRequest),
    responses(
        (
            status = 200,
            description = "The decision; `handoff_successful` is false when nobody fits.",
            body = shapes::RouteResult
        ),
        Answer<502>,
        WithBody,
        Guarded
    )
)]
pub(super) async fn route(
    State(app): State<App>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RouteResult>, Problem> {
    Media::json(&headers)?;
    let text = body::read(&headers, body, &app.settings.http).await?;
    let ask = Ask::parse(&text, app.settings.worker.max_prompt_bytes)?;
    quota::charge(&app, access.owner_name()).await?;
    let _held = long_permit(&app)?;
    Ok(Json(answered(&app, &access, &ask).await?))
}

/// Who would take `prompt`, with the best `show_top_n` scores.
pub(super) async fn chosen(
    app: &App,
    access: &Access,
    prompt: &str,
    show_top_n: usize,
) -> Result<RouteResult, Problem> {
    quota::charge(app, access.owner_name()).await?;
    let ask = Ask { prompt: prompt.to_owned(), threshold: None, show_top_n: Some(show_top_n), dry_run: None };
    answered(app, access, &ask).await
}

async fn answered(app: &App, access: &Access, ask: &Ask) -> Result<RouteResult, Problem> {
    let decision = tokio::select! {
        decision = decide(app, ask) => decision.map_err(undecided)?,
        () = app.closing.cancelled() => return Err(stopping("the server stopped before it had decided: ask again")),
    };
    let chosen = decision.winner().map(str::to_owned);
    let execution = Execution {
        execution_id: decision.record.execution_id.clone(),
        mode: "route".into(),
        workflow_owner: access.owner_name().map(str::to_owned),
        started_at: decision.trail().first().map(|entry| entry.timestamp.clone()).unwrap_or_default(),
        outcome: if chosen.is_some() { "ok" } else { ErrorCode::NoAgent.as_str() }.into(),
        agent_id: chosen,
        ..Execution::default()
    };
    let kept = app.agents.trails.keep(&decision.trail(), &execution).await;
    kept.map_err(|error| Problem::store_unavailable(&error.message))?;
    Ok(decision.result(None))
}

async fn decide(app: &App, ask: &Ask) -> Result<Decision, JobError> {
    let meter = Meter::default();
    let deadline = Instant::now() + ROUTE_TIMEOUT;
    let context = CallContext { meter: &meter, deadline, cancel: &app.closing, on_text: None };
    let request = RouteRequest { threshold: ask.threshold, show_top_n: ask.show_top_n };
    app.agents.router.route(&app.agents.registry.current(), &ask.prompt, &request, &context, None).await
}

/// What the router refused is the client's; what failed is the model server behind it.
fn undecided(error: JobError) -> Problem {
    match error.code {
        ErrorCode::InvalidJob => Problem::bad_request(error.message),
        ErrorCode::Cancelled => stopping("the server stopped before it had decided: ask again"),
        code => Problem::new(StatusCode::BAD_GATEWAY, code.as_str(), error.message),
    }
}

/// What `GET /v1/handoffs` answers with.
#[derive(Serialize)]
pub(super) struct Handoffs {
    /// Newest first, at most `limit`.
    handoffs: Vec<Execution>,
    /// Over all that are still listed, of the mode asked for.
    analytics: Analytics,
}

/// The latest handoffs, and what they come to together.
#[utoipa::path(
    get,
    path = "/v1/handoffs",
    operation_id = "listHandoffs",
    tag = "agents",
    params(
        ("mode" = Option<Mode>, Query, description = "Only those of one mode."),
        (
            "limit" = inline(Option<Limit>),
            Query,
            description = "How many are listed; the analytics are over all that are kept."
        )
    ),
    responses((status = 200, description = "Newest first.", body = shapes::Handoffs), Answer<400>, Guarded)
)]
pub(super) async fn executions(
    State(app): State<App>,
    access: Access,
    query: Query,
) -> Result<Json<Handoffs>, Problem> {
    let mode = query.choice("mode", &["route", "tiers", "network", "pool"])?;
    let limit = query.number("limit", 1, 1000)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(50);
    let found = app.agents.trails.executions(mode).await;
    let mut handoffs = found.map_err(|error| Problem::store_unavailable(&error.message))?;
    handoffs.retain(|execution| sees(&access, execution));
    let analytics = agents::analytics(&handoffs);
    handoffs.truncate(limit);
    Ok(Json(Handoffs { handoffs, analytics }))
}

/// Whether an execution is one that may be seen.
pub(super) fn sees(access: &Access, execution: &Execution) -> bool {
    access.sees(execution.workflow_owner.as_deref().and_then(Owner::of).as_ref())
}

/// The trail of an execution that may be seen. With an owner it must still be among those that are listed.
pub(super) async fn entries(app: &App, access: &Access, id: &str) -> Result<Vec<TrailEntry>, Problem> {
    let failed = |error: JobError| Problem::store_unavailable(&error.message);
    let trails = &app.agents.trails;
    // Execution ids are ours; what could not even be a job's id is none of them.
    let known = JobId::parse(id).is_ok()
        && (access.sees_all() || {
            let all = trails.executions(None).await.map_err(failed)?;
            all.iter().any(|execution| execution.execution_id == id && sees(access, execution))
        });
    let trail = if known { trails.list(id).await.map_err(failed)? } else { Vec::new() };
    if trail.is_empty() {
        return Err(Problem::not_found("no handoff has this id: there was none, or its trail is no longer kept"));
    }
    Ok(trail)
}

/// Every decision of one handoff, oldest first.
#[utoipa::path(
    get,
    path = "/v1/handoffs/{execution_id}",
    operation_id = "showHandoff",
    tag = "agents",
    params(("execution_id" = String, Path, description = "The execution_id of a result.")),
    responses(
        (status = 200, description = "The trail.", body = shapes::Trail),
        Answer<400>,
        Answer<404>,
        Guarded
    )
)]
pub(super) async fn trail(
    State(app): State<App>,
    access: Access,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let trail = entries(&app, &access, &id).await?;
    Ok(Json(json!({"execution_id": id, "trail": trail})))
}
