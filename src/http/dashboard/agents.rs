//! The agents: who there is, who hands over to whom, and who would take a sentence.

use askama::Template;
use axum::{body::Body, extract::State, http::HeaderMap};

use super::{
    super::{App, access::Access, agents as api, body, extract::Query, submit::long_permit},
    graph::{Edge, Graph, Node, draw},
    page::{Fault, Page, encoded},
};
use crate::agents::{AgentSummary, Execution, RouteResult, listing};

/// Scores that are shown.
const SCORES: usize = 10;

/// Handoffs that are shown.
const LATEST: usize = 20;

/// Who would take a sentence.
struct Tried {
    selected: String,
    tags: String,
    embedder: String,
    trail: String,
    /// Name, score as text, and width of its bar.
    scores: Vec<(String, String, String)>,
}

#[derive(Template)]
#[template(path = "agents.html")]
struct Agents {
    nav: &'static str,
    agents: Vec<AgentSummary>,
    graph: Option<Graph>,
    prompt: String,
    tried: Option<Tried>,
    latest: Vec<Latest>,
}

/// One of the latest handoffs.
struct Latest {
    id: String,
    path: String,
    mode: String,
    agent: String,
    outcome: String,
    at: String,
    handoffs: u32,
    model_calls: u32,
    cost: String,
}

/// The latest handoffs; none where the store does not say: the page's other parts do not need it.
async fn latest(app: &App, access: &Access) -> Vec<Latest> {
    let mut all = app.agents.trails.executions(None).await.unwrap_or_default();
    all.retain(|one| api::sees(access, one));
    let line = |one: Execution| Latest {
        path: format!("/ui/handoffs/{}", encoded(&one.execution_id)),
        id: one.execution_id,
        mode: one.mode,
        agent: one.agent_id.unwrap_or_default(),
        outcome: one.outcome,
        at: one.started_at,
        handoffs: one.handoffs + one.escalations,
        model_calls: one.model_calls,
        cost: format!("${:.4}", one.cost_usd),
    };
    all.into_iter().take(LATEST).map(line).collect()
}

async fn page(app: &App, access: &Access, prompt: String, tried: Option<Tried>) -> Agents {
    let agents = listing(&app.agents.registry.current()).agents;
    let linked = |id: &str| agents.iter().any(|agent| agent.handoffs.iter().any(|to| to == id));
    let nodes = agents.iter().filter(|agent| !agent.handoffs.is_empty() || linked(&agent.id));
    let nodes = nodes.map(|agent| Node { id: agent.id.clone(), kind: agent.tags.join(", "), class: "" }).collect();
    let edge =
        |from: &str, to: &String| Edge { from: from.to_owned(), to: to.clone(), label: String::new(), class: "" };
    let edges: Vec<Edge> =
        agents.iter().flat_map(|agent| agent.handoffs.iter().map(|to| edge(&agent.id, to))).collect();
    let graph = draw("Who hands over to whom", nodes, &edges);
    Agents { nav: "agents", agents, graph, prompt, tried, latest: latest(app, access).await }
}

/// `GET /ui/agents`.
pub(super) async fn show(State(app): State<App>, access: Access) -> Page<impl Template> {
    Page(page(&app, &access, String::new(), None).await)
}

/// `POST /ui/agents`: tries a sentence. No agent answers it.
pub(super) async fn route(
    State(app): State<App>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Page<impl Template>, Fault> {
    let form = Query::parse(&body::read(&headers, body, &app.settings.http).await?);
    let prompt = form.get("prompt").unwrap_or_default().trim().to_owned();
    if prompt.is_empty() {
        return Ok(Page(page(&app, &access, prompt, None).await));
    }
    let _held = long_permit(&app)?;
    let result = api::chosen(&app, &access, &prompt, SCORES).await?;
    Ok(Page(page(&app, &access, prompt, Some(tried(&result))).await))
}

fn tried(result: &RouteResult) -> Tried {
    let bar = |score: f64| format!("{:.0}", score.clamp(0.0, 1.0) * 200.0);
    Tried {
        selected: result.selected_agent.as_ref().map(|agent| agent.name.clone()).unwrap_or_default(),
        tags: result.extracted_tags.join(", "),
        embedder: result.embedder.clone(),
        trail: format!("/ui/handoffs/{}", encoded(&result.execution_id)),
        scores: result
            .all_scores
            .iter()
            .map(|scored| (scored.name.clone(), format!("{:.3}", scored.score), bar(scored.score)))
            .collect(),
    }
}
