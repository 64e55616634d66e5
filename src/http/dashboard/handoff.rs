//! The trail of one handoff as a timeline, and the way it took as a drawing.

use askama::Template;
use axum::extract::State;

use super::{
    super::{App, access::Access, agents::entries, extract::PathText},
    graph::{Edge, Graph, Node, draw},
    page::{Fault, Page, duration},
    shown::pretty,
};
use crate::agents::TrailEntry;

struct Entry {
    at: String,
    kind: String,
    who: String,
    what: Vec<String>,
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
    Ok(Page(Handoff { nav: "agents", id, graph: way(&trail), entries: trail.iter().map(entry).collect() }))
}

fn entry(entry: &TrailEntry) -> Entry {
    let mut what = Vec::new();
    let mut say = |name: &str, value: Option<String>| what.extend(value.map(|value| format!("{name} {value}")));
    say("from", entry.from.clone());
    say("to", entry.to.clone());
    say("tier", entry.tier_level.map(|level| level.to_string()));
    say("can handle:", entry.can_handle.map(|can| if can { "yes" } else { "no" }.to_owned()));
    say("complexity", entry.complexity_score.map(|score| format!("{score:.2}")));
    say("needs tier", entry.requires_tier.map(|level| level.to_string()));
    say("decision:", entry.handoff_decision.clone());
    say("forced:", entry.forced.filter(|forced| *forced).map(|_| "yes".to_owned()));
    say("", entry.reason.clone());
    say("", entry.reasoning.clone());
    say("tokens", entry.tokens.map(|tokens| tokens.total().to_string()));
    let kind = serde_json::to_value(entry.kind).ok();
    Entry {
        at: entry.timestamp.clone(),
        kind: kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        who: entry.agent_id.clone().unwrap_or_default(),
        what,
        took: duration(entry.duration_ms),
        details: entry
            .details
            .as_ref()
            .and_then(|raw| raw.to_value().ok())
            .map(|value| pretty(&value))
            .unwrap_or_default(),
    }
}

/// Who handed over to whom, each arrow with how often.
fn way(trail: &[TrailEntry]) -> Option<Graph> {
    let mut steps: Vec<(String, String, usize)> = Vec::new();
    for entry in trail {
        if let (Some(from), Some(to)) = (&entry.from, &entry.to) {
            match steps.iter_mut().find(|(a, b, _)| a == from && b == to) {
                Some((.., times)) => *times += 1,
                None => steps.push((from.clone(), to.clone(), 1)),
            }
        }
    }
    let mut ids: Vec<&String> = Vec::new();
    for id in steps.iter().flat_map(|(from, to, _)| [from, to]) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let nodes = ids.iter().map(|id| Node { id: (*id).clone(), kind: String::new(), class: "" }).collect();
    let label = |times: usize| if times > 1 { format!("{times}×") } else { String::new() };
    let edges: Vec<Edge> = steps
        .iter()
        .map(|(from, to, times)| Edge { from: from.clone(), to: to.clone(), label: label(*times), class: "" })
        .collect();
    draw("The way it took", nodes, &edges)
}
