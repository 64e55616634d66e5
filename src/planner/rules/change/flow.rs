//! The workflow as changes see it, and the operations that have been made on it.

use serde_json::{Map, Value, json};

use crate::planner::rules::{cursor::Problem, names};

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) config: Option<Map<String, Value>>,
}

/// An edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) condition: Option<Value>,
}

/// A working copy. Every change is made here and written down as an operation.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    pub(super) operations: Vec<Value>,
    /// What was taken for granted, for the person who asked.
    pub(super) notes: Vec<String>,
}

impl Flow {
    /// Reads a workflow in its normal form; what is not readable is left out.
    pub(super) fn read(workflow: &Value) -> Self {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |key: &str| workflow.get(key).and_then(Value::as_array).into_iter().flatten();
        let nodes = list("nodes").map(|node| Node {
            id: text(node, "id"),
            kind: text(node, "type"),
            config: node.get("config").and_then(Value::as_object).cloned(),
        });
        let edges = list("edges").map(|edge| Edge {
            from: text(edge, "from"),
            to: text(edge, "to"),
            condition: edge.get("condition").filter(|condition| !condition.is_null()).cloned(),
        });
        Self { nodes: nodes.collect(), edges: edges.collect(), operations: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(super) fn to(&self, id: &str) -> Vec<Edge> {
        self.edges.iter().filter(|edge| edge.to == id).cloned().collect()
    }

    pub(super) fn out_of(&self, id: &str) -> Vec<Edge> {
        self.edges.iter().filter(|edge| edge.from == id).cloned().collect()
    }

    /// The one node that nothing follows.
    pub(super) fn last(&self) -> Option<&Node> {
        let mut sinks = self.nodes.iter().filter(|node| self.out_of(&node.id).is_empty());
        let first = sinks.next()?;
        sinks.next().is_none().then_some(first)
    }

    /// The one node whose id, type or settings name a field; among several, the one that fetches. Nodes that only look
    /// at a field name it too.
    pub(super) fn gives(&self, field: &[String]) -> Option<&Node> {
        let names = |text: &str| has_words(text, field);
        let settings = |node: &Node| {
            !matches!(node.kind.as_str(), "conditional" | "filter" | "loop" | "hitl")
                && node.config.iter().flatten().any(|(_, value)| mentions(value, &names))
        };
        let by_id: Vec<&Node> = self.nodes.iter().filter(|node| names(&node.id) || names(&node.kind)).collect();
        let by_settings: Vec<&Node> = self.nodes.iter().filter(|node| settings(node)).collect();
        [by_id, by_settings].iter().find_map(|found| match found.as_slice() {
            [only] => Some(*only),
            several => {
                let mut fetching = several.iter().filter(|node| node.kind == "http");
                fetching.next().filter(|_| fetching.next().is_none()).copied()
            }
        })
    }

    /// The one node that nothing leads to.
    pub(super) fn first(&self) -> Option<&Node> {
        let mut sources = self.nodes.iter().filter(|node| self.to(&node.id).is_empty());
        let first = sources.next()?;
        sources.next().is_none().then_some(first)
    }

    /// An id nobody has: `wanted`, else `wanted_2`, ….
    pub(super) fn free_id(&self, wanted: &str) -> String {
        let base = identifier(wanted);
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let mut ids = std::iter::once(base.clone()).chain(numbered);
        ids.find(|id| self.node(id).is_none()).unwrap_or(base)
    }

    pub(super) fn add_node(&mut self, id: &str, kind: &str, config: Map<String, Value>) {
        self.operations
            .push(json!({"op": "add", "path": "/nodes/-", "value": {"id": id, "type": kind, "config": config}}));
        self.nodes.push(Node { id: id.into(), kind: kind.into(), config: Some(config) });
    }

    /// Adds an edge unless it is there.
    pub(super) fn add_edge(&mut self, from: &str, to: &str, condition: Option<&Value>) -> Result<(), Problem> {
        let edge = Edge { from: from.into(), to: to.into(), condition: condition.cloned() };
        if self.edges.contains(&edge) {
            return Ok(());
        }
        if self.leads(to, from) && !self.nodes.iter().any(|node| node.kind == "loop") {
            return Err(format!("an edge from `{from}` to `{to}`: it would close a cycle, which needs a loop node"));
        }
        let mut value = json!({"from": from, "to": to});
        if let Some(condition) = condition {
            value["condition"] = condition.clone();
        }
        self.operations.push(json!({"op": "add", "path": "/edges/-", "value": value}));
        self.edges.push(edge);
        Ok(())
    }

    pub(super) fn remove_edge(&mut self, from: &str, to: &str) {
        let Some(at) = self.edges.iter().position(|edge| edge.from == from && edge.to == to) else { return };
        self.edges.remove(at);
        self.operations.push(json!({"op": "remove", "path": format!("/edges/id:{from}->{to}")}));
    }

    /// Removes a node with nothing attached to it any more.
    pub(super) fn remove_node(&mut self, id: &str) {
        self.nodes.retain(|node| node.id != id);
        self.operations.push(json!({"op": "remove", "path": format!("/nodes/id:{id}")}));
    }

    /// Points an edge elsewhere.
    pub(super) fn move_edge(&mut self, edge: &Edge, end: &str, id: &str) {
        let path = format!("/edges/id:{}->{}/{end}", edge.from, edge.to);
        self.operations.push(json!({"op": "replace", "path": path, "value": id}));
        if let Some(found) = self.edges.iter_mut().find(|known| *known == edge) {
            if end == "from" {
                found.from = id.into();
            } else {
                found.to = id.into();
            }
        }
    }

    pub(super) fn rename(&mut self, id: &str, new: &str) {
        self.operations.push(json!({"op": "replace", "path": format!("/nodes/id:{id}/id"), "value": new}));
        for edge in self.out_of(id) {
            self.move_edge(&edge, "from", new);
        }
        for edge in self.to(id) {
            self.move_edge(&edge, "to", new);
        }
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
            node.id = new.into();
        }
    }

    /// Sets a key of a node's config.
    pub(super) fn set(&mut self, id: &str, key: &str, value: Value) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) else { return };
        let escaped = key.replace('~', "~0").replace('/', "~1");
        let operation = match &mut node.config {
            Some(config) => {
                let op = if config.contains_key(key) { "replace" } else { "add" };
                config.insert(key.into(), value.clone());
                json!({"op": op, "path": format!("/nodes/id:{id}/config/{escaped}"), "value": value})
            }
            None => {
                let config = Map::from_iter([(key.to_owned(), value)]);
                node.config = Some(config.clone());
                json!({"op": "add", "path": format!("/nodes/id:{id}/config"), "value": config})
            }
        };
        self.operations.push(operation);
    }

    /// Whether a path leads from one node to another (a node leads to itself).
    fn leads(&self, from: &str, to: &str) -> bool {
        let mut seen = vec![from.to_owned()];
        let mut at = 0;
        while let Some(id) = seen.get(at).cloned() {
            if id == to {
                return true;
            }
            for edge in self.out_of(&id) {
                if !seen.contains(&edge.to) {
                    seen.push(edge.to);
                }
            }
            at += 1;
        }
        false
    }

    /// What the graph must not lose by these changes.
    pub(super) fn check(&self, before: &Self) -> Result<(), Problem> {
        for node in &self.nodes {
            let lost = node.kind == "conditional" && self.out_of(&node.id).is_empty();
            let had = before.node(&node.id).is_some_and(|node| before.out_of(&node.id).is_empty());
            if lost && !had {
                return Err(format!("a change that leaves the conditional `{}` with nothing behind it", node.id));
            }
        }
        Ok(())
    }
}

/// Letters, digits, `_` and `-` of a name, in lower case.
pub(super) fn identifier(name: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(valid) {
        return name.to_owned();
    }
    let plain: String = name.to_lowercase().chars().map(|c| if valid(c) { c } else { '_' }).collect();
    let trimmed = plain.trim_matches('_');
    if trimmed.is_empty() { "node".into() } else { trimmed.into() }
}

/// Whether a text somewhere in a setting fits.
fn mentions(value: &Value, fits: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => fits(text),
        Value::Array(items) => items.iter().any(|item| mentions(item, fits)),
        Value::Object(members) => members.values().any(|value| mentions(value, fits)),
        _ => false,
    }
}

/// Whether the words of `part` all stand in `name`.
pub(super) fn has_words(name: &str, part: &[String]) -> bool {
    let words = names::words(name);
    !part.is_empty() && part.iter().all(|word| words.contains(word))
}
