//! The trail of one handoff as a timeline, and the way it took as a drawing.

use askama::Template;
use axum::extract::State;

use super::{
    super::{App, access::Access, agents::entries, extract::PathText},
    graph::{Edge, Graph, Node, draw},
    page::{Fault, Page, duration},
    shown::pretty,
};
use crate::agents::{AgentSummary, TrailEntry, listing};

/// Nodes of the network: whoever was there comes first, then whom they could have handed over to.
const NODES: usize = 40;

struct Entry {
    at: String,
    kind: String,
    who: String,
    facts: String,
    why: Vec<String>,
    took: String,
    details: String,
}

#[derive(Template)]
#[template(path = "handoff.html")]
struct Handoff {
    nav: &'static str,
    id: String,
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
    Ok(Page(Handoff { nav: "agents", id, graph: way(&trail, &agents), entries: trail.iter().map(entry).collect() }))
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
    Entry {
        at: entry.timestamp.clone(),
        kind: kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        who: entry.agent_id.clone().unwrap_or_default(),
        facts: facts.join(" · "),
        why: [&entry.reason, &entry.reasoning].into_iter().flatten().cloned().collect(),
        took: duration(entry.duration_ms),
        details: entry
            .details
            .as_ref()
            .and_then(|raw| raw.to_value().ok())
            .map(|value| pretty(&value))
            .unwrap_or_default(),
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
