//! A workflow in its normal form: an object with a list of nodes and a list of edges.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::job::RawJson;

/// A workflow. Members that nobody here knows are kept, and everything keeps its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    document: Value,
    absent: Vec<&'static str>,
}

impl Workflow {
    /// A workflow without nodes.
    #[must_use]
    pub fn empty() -> Self {
        Self { document: json!({ "nodes": [], "edges": [] }), absent: Vec::new() }
    }

    /// Reads a workflow as lists of nodes and edges, or as a coordinator keeps it: a map from node ids to nodes,
    /// whose `dependents` become the edges. `null` is the empty workflow.
    ///
    /// # Errors
    /// What it is instead, for a message to whoever sent it.
    pub fn parse(raw: &RawJson) -> Result<Self, String> {
        Self::from_value(raw.to_value().map_err(|error| format!("the workflow cannot be read: {error}"))?)
    }

    /// The same from a tree of values.
    ///
    /// # Errors
    /// As [`Workflow::parse`].
    pub fn from_value(value: Value) -> Result<Self, String> {
        let mut members = match value {
            Value::Null => return Ok(Self::empty()),
            Value::Object(members) => members,
            other => {
                return Err(format!("the workflow is {}: it must be an object with nodes and edges", kind(&other)));
            }
        };
        if is_bare_map(&members) {
            members = Map::from_iter([("nodes".to_owned(), Value::Object(members))]);
        }
        let mut absent = Vec::new();
        if let Some(Value::Object(_)) = members.get("nodes") {
            spread(&mut members);
        }
        for section in ["nodes", "edges"] {
            match members.get(section) {
                Some(Value::Array(_)) => {}
                None | Some(Value::Null) => {
                    if !members.contains_key(section) {
                        absent.push(section);
                    }
                    members.insert(section.to_owned(), json!([]));
                }
                Some(other) => return Err(format!("{section} of the workflow is {}: it must be a list", kind(other))),
            }
        }
        Ok(Self { document: Value::Object(members), absent })
    }

    /// The document in its normal form.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The document as text, for a prompt.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.document.to_string()
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Value] {
        list(&self.document, "nodes")
    }

    /// The edges, in order.
    #[must_use]
    pub fn edges(&self) -> &[Value] {
        list(&self.document, "edges")
    }

    /// The node with that id, compared byte for byte.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Value> {
        self.nodes().iter().find(|node| text_of(node, "id") == Some(id))
    }

    /// Lists that the source did not have at all, so that a patch must make them before it fills them.
    pub(super) fn absent(&self) -> &[&'static str] {
        &self.absent
    }
}

/// A list of the document; empty where it is not a list.
pub(super) fn list<'a>(document: &'a Value, section: &str) -> &'a [Value] {
    document.get(section).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What an element is called: a node by its id, or by its place where it has none.
pub(super) fn node_name(node: &Value, index: usize) -> Cow<'_, str> {
    text_of(node, "id").map_or_else(|| Cow::Owned(format!("#{index}")), Cow::Borrowed)
}

/// A member of an object. Nodes and edges have few members: looking at each is faster than hashing the name.
pub(super) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    const FEW: usize = 8;
    match value {
        Value::Object(members) if members.len() <= FEW => {
            members.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
        }
        other => other.get(name),
    }
}

/// A member that is text.
pub(super) fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    member(value, name).and_then(Value::as_str)
}

/// The two ends of an edge; empty text for an end it does not have.
pub(super) fn ends(edge: &Value) -> (&str, &str) {
    let end = |name| text_of(edge, name).unwrap_or_default();
    (end("from"), end("to"))
}

/// `from->to`.
pub(super) fn edge_name(edge: &Value) -> String {
    let (from, to) = ends(edge);
    format!("{from}->{to}")
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A node map without anything around it: no list of ours, and every member looks like a node.
fn is_bare_map(members: &Map<String, Value>) -> bool {
    !members.is_empty()
        && !members.contains_key("nodes")
        && !members.contains_key("edges")
        && members.values().all(|node| member(node, "type").is_some() || node.get("dependents").is_some())
}

/// Turns a node map into the two lists, in place. Edges that stand there already are kept.
fn spread(members: &mut Map<String, Value>) {
    let Some(Value::Object(map)) = members.get_mut("nodes").map(Value::take) else { return };
    let mut edges = Vec::new();
    let mut nodes = Vec::with_capacity(map.len());
    for (id, node) in map {
        for dependent in list(&node, "dependents") {
            edges.push(json!({ "from": id, "to": dependent }));
        }
        nodes.push(match node {
            Value::Object(node) if !node.contains_key("id") => {
                let named = std::iter::once(("id".to_owned(), Value::String(id)));
                Value::Object(named.chain(node).collect())
            }
            other => other,
        });
    }
    members.insert("nodes".to_owned(), Value::Array(nodes));
    if members.get("edges").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        members.insert("edges".to_owned(), Value::Array(edges));
    }
}
