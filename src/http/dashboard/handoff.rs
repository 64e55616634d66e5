//! The trail of one handoff as a timeline, and the way it took as a drawing.

use askama::Template;
use axum::extract::State;
use serde_json::Value;

use super::{
    super::{App, access::Access, agents::entries, extract::PathText},
    graph::{Edge, Graph, Node, draw},
    job::message,
    overview::in_time,
    page::{Fault, Page, duration, job_path},
    shown::pretty,
};
use crate::{
    agents::{AgentSummary, TrailEntry, listing},
    job::JobId,
};

/// Nodes of the network: whoever was there comes first, then whom they could have handed over to.
const NODES: usize = 40;

/// Candidates of a route that are shown.
const CANDIDATES: usize = 20;

/// An agent that was looked at.
struct Scored {
    name: String,
    score: String,
    threshold: String,
    /// Width of its bar.
    width: String,
}

struct Entry {
    at: String,
    kind: String,
    who: String,
    facts: String,
    why: Vec<String>,
    took: String,
    details: String,
    /// Best first.
    scores: Vec<Scored>,
}

#[derive(Template)]
#[template(path = "handoff.html")]
struct Handoff {
    nav: &'static str,
    id: String,
    /// Id, path and prompt of the job it belongs to, where that is still known.
    job: Option<(String, String, String)>,
    entries: Vec<Entry>,
    graph: Option<Graph>,
}

/// `GET /ui/handoffs/{execution_id}`.
pub(super) async fn show(
    State(app): State<App>,
    access: Access,
    PathText(id): PathText,
) -> Result<Page<impl Template>, Fault> {
    let trail = entries(&app, &access, &id).await?;
    let agents = listing(&app.agents.registry.current()).agents;
    let job = job(&app, &access, &id).await;
    let (graph, entries) = (way(&trail, &agents), trail.iter().map(entry).collect());
    Ok(Page(Handoff { nav: "agents", id, job, graph, entries }))
}

/// The job of an execution, as far as it is still known: a page about the trail is worth having without it.
async fn job(app: &App, access: &Access, execution_id: &str) -> Option<(String, String, String)> {
    let listed = app.agents.trails.executions(None).await.ok()?;
    let execution = listed.into_iter().find(|execution| execution.execution_id == execution_id)?;
    let id = JobId::parse(&execution.job_id).ok()?;
    let view = in_time(app.queue.job(&id)).await.ok()??;
    if !access.sees(view.owner.as_ref()) {
        return None;
    }
    let job = message(app, &id, view.state).await;
    let prompt = job.map(|job| job.prompt_text().to_owned()).unwrap_or_default();
    Some((id.to_string(), job_path(id.as_str()), prompt))
}

/// The candidates among the facts of an entry, best first.
fn scores(details: Option<&Value>) -> Vec<Scored> {
    const WIDTH: f64 = 200.0;
    let Some(candidates) = details.and_then(|details| details.get("candidates")?.as_array()) else { return Vec::new() };
    let number = |one: &Value, name: &str| one.get(name).and_then(Value::as_f64);
    let score = |one: &Value| number(one, "score").unwrap_or_default();
    let mut sorted: Vec<&Value> = candidates.iter().collect();
    sorted.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let best = sorted.first().map_or(0.0, |one| score(one));
    let scale = if best > 0.0 { WIDTH / best } else { 0.0 };
    let text = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let scored = |one: &Value| Scored {
        name: text(one, "name"),
        score: format!("{:.3}", score(one)),
        threshold: number(one, "threshold").map(|least| format!("{least:.3}")).unwrap_or_default(),
        width: format!("{:.1}", (score(one) * scale).max(0.0)),
    };
    sorted.into_iter().take(CANDIDATES).map(scored).collect()
}

fn entry(entry: &TrailEntry) -> Entry {
    let mut facts = Vec::new();
    let mut say = |name: &str, value: Option<String>| facts.extend(value.map(|value| format!("{name} {value}")));
    say("from", entry.from.clone());
    say("to", entry.to.clone());
    say("tier", entry.tier_level.map(|level| level.to_string()));
    say("can handle:", entry.can_handle.map(|can| if can { "yes" } else { "no" }.to_owned()));
    say("complexity", entry.complexity_score.map(|score| format!("{score:.2}")));
    say("needs tier", entry.requires_tier.map(|level| level.to_string()));
    say("decision:", entry.handoff_decision.clone());
    say("forced:", entry.forced.filter(|forced| *forced).map(|_| "yes".to_owned()));
    say("tokens", entry.tokens.map(|tokens| tokens.total().to_string()));
    let kind = serde_json::to_value(entry.kind).ok();
    let details = entry.details.as_ref().and_then(|raw| raw.to_value().ok());
    Entry {
        at: entry.timestamp.clone(),
        kind: kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        who: entry.agent_id.clone().unwrap_or_default(),
        facts: facts.join(" · "),
        why: [&entry.reason, &entry.reasoning].into_iter().flatten().cloned().collect(),
        took: duration(entry.duration_ms),
        scores: scores(details.as_ref()),
        details: details.as_ref().map(pretty).unwrap_or_default(),
    }
}

/// The network around those who were there: who could have handed over to whom, and who did, how often.
fn way(trail: &[TrailEntry], agents: &[AgentSummary]) -> Option<Graph> {
    let mut steps: Vec<(String, String, usize)> = Vec::new();
    for entry in trail {
        if let (Some(from), Some(to)) = (&entry.from, &entry.to) {
            let (from, to) = (name(from, trail), name(to, trail));
            match steps.iter_mut().find(|(a, b, _)| *a == from && *b == to) {
                Some((.., times)) => *times += 1,
                None => steps.push((from, to, 1)),
            }
        }
    }
    let there: Vec<String> = trail
        .iter()
        .flat_map(|entry| [entry.agent_id.as_ref(), entry.from.as_ref(), entry.to.as_ref()])
        .flatten()
        .map(|id| name(id, trail))
        .collect();
    let mut ids: Vec<&str> = Vec::new();
    let mut add = |id| {
        if !ids.contains(&id) && ids.len() < NODES {
            ids.push(id);
        }
    };
    there.iter().for_each(|id| add(id.as_str()));
    let known = |id: &str| agents.iter().find(|agent| agent.id == id);
    let reach = |id: &str| known(id).map(|agent| agent.handoffs.as_slice()).unwrap_or_default();
    for id in trail.iter().filter_map(|entry| entry.agent_id.as_deref()) {
        reach(id).iter().for_each(|to| add(to.as_str()));
    }
    let edge = |from: &str, to: &str, label: String, class| Edge { from: from.into(), to: to.into(), label, class };
    let mut edges: Vec<Edge> =
        steps.iter().map(|(from, to, times)| edge(from, to, format!("{times}×"), "taken")).collect();
    for from in &ids {
        let idle = |to: &&String| !steps.iter().any(|(a, b, _)| a == from && b == *to);
        edges.extend(reach(from).iter().filter(idle).map(|to| edge(from, to, String::new(), "")));
    }
    if ids.len() < 2 {
        return None;
    }
    draw("The network and the way it took", ids.iter().map(|id| node(id, &there, trail)).collect(), &edges)
}

/// Who stands for `id`: of a tier, which is passed on to by its level, whoever spoke there.
fn name(id: &str, trail: &[TrailEntry]) -> String {
    let Ok(level) = id.parse::<u32>() else { return id.to_owned() };
    let speaker = trail.iter().filter(|entry| entry.tier_level == Some(level)).find_map(|entry| entry.agent_id.clone());
    speaker.unwrap_or_else(|| format!("tier-{level}"))
}

/// An agent with what it used.
fn node(id: &str, there: &[String], trail: &[TrailEntry]) -> Node {
    let own = trail.iter().filter(|entry| entry.agent_id.as_deref() == Some(id));
    let tokens: u64 = own.filter_map(|entry| entry.tokens).map(|tokens| tokens.total()).sum();
    let there = there.iter().any(|known| known == id);
    let kind = match (there, tokens) {
        (false, _) => "not asked".to_owned(),
        (true, 0) => String::new(),
        (true, tokens) => format!("{tokens} tokens"),
    };
    Node { id: id.to_owned(), kind, class: if there { "taken" } else { "" } }
}
