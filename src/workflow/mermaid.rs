//! The patched workflow as a Mermaid flowchart, with what changed in colour.

use std::fmt::Write as _;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{
    Diff,
    document::{ends, list, member, node_name, text_of},
    schema::condition_text,
};

/// Nodes and edges drawn; a larger picture helps nobody.
const MAX_DRAWN: usize = 200;
/// Characters of a label.
const MAX_LABEL: usize = 60;

/// Draws `document`. Added nodes are green, changed ones amber, added edges thick.
pub(super) fn flowchart(document: &Value, diff: &Diff) -> String {
    let mut text = String::from("flowchart TD\n");
    let mut numbers: FxHashMap<String, usize> = FxHashMap::default();
    let nodes = list(document, "nodes");
    for (index, node) in nodes.iter().enumerate().take(MAX_DRAWN) {
        let name = node_name(node, index);
        let kind = text_of(node, "type").unwrap_or_default();
        let (open, close) = match kind {
            "conditional" => ("{", "}"),
            "loop" => ("{{", "}}"),
            "hitl" => ("([", "])"),
            _ => ("[", "]"),
        };
        let _ = writeln!(text, "  n{index}{open}\"{}<br/>{}\"{close}", label(&name), label(kind));
        numbers.entry(name.into_owned()).or_insert(index);
    }
    for edge in list(document, "edges").iter().take(MAX_DRAWN) {
        let (from, to) = ends(edge);
        let (Some(a), Some(b)) = (numbers.get(from), numbers.get(to)) else { continue };
        let added = diff.edges_added.iter().any(|id| id.split_once("->") == Some((from, to)));
        let arrow = if added { "==>" } else { "-->" };
        let condition = member(edge, "condition").and_then(condition_text).filter(|text| !text.trim().is_empty());
        let condition = condition.map_or(String::new(), |text| format!("|\"{}\"|", label(text)));
        let _ = writeln!(text, "  n{a} {arrow}{condition} n{b}");
    }
    for (ids, style) in
        [(&diff.nodes_added, "fill:#d4f7d4,stroke:#2e7d32"), (&diff.nodes_changed, "fill:#fff3cd,stroke:#b26a00")]
    {
        for index in ids.iter().filter_map(|id| numbers.get(id)) {
            let _ = writeln!(text, "  style n{index} {style}");
        }
    }
    if nodes.len() > MAX_DRAWN {
        let _ = writeln!(text, "  %% {} more nodes are not drawn", nodes.len() - MAX_DRAWN);
    }
    text
}

/// Text that cannot end the label it stands in.
fn label(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(MAX_LABEL) {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '#' => out.push_str("#35;"),
            '&' => out.push_str("#amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    if text.chars().count() > MAX_LABEL {
        out.push('…');
    }
    out
}
