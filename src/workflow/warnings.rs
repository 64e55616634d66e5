//! Things that run, but perhaps not as meant. They are told and prevent nothing.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::{
    Schema,
    document::{ends, list, member, text_of},
    places::{Part, Touch},
    schema::condition_text,
};
use crate::settings::limits;

/// Names that a condition may use.
const CONDITION_NAMES: [&str; 3] = ["output", "ctx", "context"];

/// Warnings about what the patch touched; the rest of the workflow is not its business.
pub(super) fn of(document: &Value, schema: &Schema, executable: &[String], touches: &[Touch]) -> Vec<String> {
    let mut scope = Scope { document, nodes: FxHashSet::default(), edges: FxHashSet::default(), all: [false; 2] };
    for touch in touches {
        match &touch.place.part {
            Part::Node(id) => {
                scope.nodes.insert(id);
            }
            Part::Edge(from, to) => {
                scope.edges.insert((from, to));
            }
            Part::Section(name) => {
                scope.all[0] |= name == "nodes";
                scope.all[1] |= name == "edges";
            }
            Part::EdgesFrom(_) => {}
        }
    }
    let mut warnings = Vec::new();
    edges(&scope, &mut warnings);
    nodes(&scope, schema, executable, &mut warnings);
    warnings
}

/// What the patch touched.
struct Scope<'a> {
    document: &'a Value,
    nodes: FxHashSet<&'a str>,
    edges: FxHashSet<(&'a str, &'a str)>,
    /// All nodes, all edges.
    all: [bool; 2],
}

impl Scope<'_> {
    fn node(&self, id: &str) -> bool {
        self.all[0] || self.nodes.contains(id)
    }

    fn edge(&self, from: &str, to: &str) -> bool {
        self.all[1] || self.edges.contains(&(from, to))
    }
}

fn edges(scope: &Scope<'_>, warnings: &mut Vec<String>) {
    let mut seen: FxHashMap<(&str, &str), usize> = FxHashMap::default();
    for edge in list(scope.document, "edges") {
        let (from, to) = ends(edge);
        if !scope.edge(from, to) {
            continue;
        }
        let count = seen.entry((from, to)).or_default();
        *count += 1;
        if *count == 2 {
            warnings.push(format!("two edges lead from {from} to {to}: the second node runs for each"));
        }
        let condition =
            member(edge, "condition").and_then(condition_text).filter(|text| limits::expression_fault(text).is_none());
        let program = condition.and_then(|text| cel::Program::compile(text).ok());
        if let Some(program) = program {
            let references = program.references();
            let mut unknown: Vec<&str> =
                references.variables().into_iter().filter(|name| !CONDITION_NAMES.contains(name)).collect();
            unknown.sort_unstable();
            if let Some(name) = unknown.first() {
                warnings.push(format!(
                    "the condition of {from}->{to} uses {name}, which is not known: only output is (output.{name}?)"
                ));
            }
        }
    }
}

fn nodes(scope: &Scope<'_>, schema: &Schema, executable: &[String], warnings: &mut Vec<String>) {
    let (mut incoming, mut outgoing) = (FxHashMap::<&str, usize>::default(), FxHashMap::<&str, Vec<&Value>>::default());
    let mut near: FxHashSet<&str> = FxHashSet::default();
    for edge in list(scope.document, "edges") {
        let (from, to) = ends(edge);
        *incoming.entry(to).or_default() += 1;
        outgoing.entry(from).or_default().push(edge);
        if scope.edge(from, to) {
            near.extend([from, to]);
        }
    }
    for node in list(scope.document, "nodes") {
        let text = |name| text_of(node, name).unwrap_or_default();
        let (id, kind) = (text("id"), text("type"));
        let touched = scope.node(id);
        if touched {
            own_warnings(id, kind, node, schema, executable, warnings);
        }
        if !touched && !near.contains(id) {
            continue;
        }
        let out = outgoing.get(id).map_or(&[][..], Vec::as_slice);
        let is_default = |edge: &&Value| {
            member(edge, "condition")
                .is_none_or(|condition| condition_text(condition).is_none_or(|text| text.trim().is_empty()))
        };
        if kind == "conditional" && !out.is_empty() && !out.iter().any(is_default) {
            warnings.push(format!("the conditional {id} has no default: where no condition holds, the run ends there"));
        }
        let count = incoming.get(id).copied().unwrap_or_default();
        if count > 1 && !matches!(kind, "aggregate" | "loop") {
            warnings.push(format!("{count} edges lead to {id}: it runs once for each result that arrives"));
        }
    }
}

fn own_warnings(
    id: &str,
    kind: &str,
    node: &Value,
    schema: &Schema,
    executable: &[String],
    warnings: &mut Vec<String>,
) {
    if !executable.is_empty() && !executable.iter().any(|name| name == kind) {
        warnings.push(format!(
            "no worker runs nodes of type {kind} here (patch.executable_types): {id} would wait for ever"
        ));
    }
    let Some(node_type) = schema.node_type(kind) else { return };
    for expected in &node_type.expected {
        if member(node, "config").and_then(|config| member(config, expected)).is_none() {
            warnings.push(format!("the {kind} node {id} has no {expected} in its config"));
        }
    }
}
