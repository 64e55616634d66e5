//! Agents that routing can hardly tell apart.

use std::ops::ControlFlow;

use serde::Serialize;

use super::registry::Registry;
use crate::embed::alike;

/// Cosine from which two texts say the same.
const SAME: f64 = 0.75;
/// Overlaps that are told at most: whoever has more has one cause for many.
pub const MAX_OVERLAPS: usize = 1000;

/// Something that makes routing a coin toss.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// The agents concerned; the second is absent where one alone is the trouble.
    pub agents: (String, Option<String>),
    /// What is wrong and what to do.
    pub message: String,
}

/// A text of an agent.
struct Text<'a> {
    agent: usize,
    what: &'static str,
    text: &'a str,
}

/// Descriptions and examples of different agents that are nearly the same, and agents that say nothing of themselves:
/// the first [`MAX_OVERLAPS`].
#[must_use]
pub fn overlaps(registry: &Registry) -> Vec<Overlap> {
    let agents = &registry.agents;
    let mut found: Vec<Overlap> = Vec::new();
    let mut texts: Vec<Text<'_>> = Vec::new();
    for (i, agent) in agents.iter().enumerate() {
        if agent.description.is_empty() && agent.examples.is_empty() {
            found.push(Overlap {
                agents: (agent.id.clone(), None),
                message: format!("{}: has neither description nor examples: routing cannot find it", agent.id),
            });
        }
        if !agent.description.is_empty() {
            texts.push(Text { agent: i, what: "description", text: &agent.description });
        }
        texts.extend(agent.examples.iter().map(|text| Text { agent: i, what: "example", text }));
    }
    let plain: Vec<&str> = texts.iter().map(|text| text.text).collect();
    alike(&plain, SAME, |later, earlier, cosine| {
        let (a, b) = (&texts[earlier], &texts[later]);
        if a.agent == b.agent {
            return ControlFlow::Continue(());
        }
        let (first, second) = (&agents[a.agent].id, &agents[b.agent].id);
        found.push(Overlap {
            agents: (first.clone(), Some(second.clone())),
            message: format!(
                "{first} and {second}: the {} {:?} and the {} {:?} are nearly the same ({cosine:.2}): routing between \
                 them is a coin toss; say what sets them apart",
                a.what,
                short(a.text),
                b.what,
                short(b.text)
            ),
        });
        if found.len() < MAX_OVERLAPS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found
}

fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
