//! What is wrong with a workflow, each fault with the places it hangs on.

use rustc_hash::FxHashSet;
use serde_json::Value;

use super::{
    Schema,
    document::{ends, kind, list, member, node_name, text_of},
    graph::Graph,
    places::Place,
    schema::{condition_text, is_id},
};

/// Something that makes a workflow unsound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Fault {
    /// Where: whoever touched one of these is to blame.
    pub(super) places: Vec<Place>,
    /// What is wrong and what to do.
    pub(super) message: String,
}

impl Fault {
    fn new(places: Vec<Place>, message: impl Into<String>) -> Self {
        Self { places, message: message.into() }
    }
}

/// Faults that one node or edge has by itself, whatever the others look like.
pub(super) fn of_elements(document: &Value, schema: &Schema) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, node) in list(document, "nodes").iter().enumerate() {
        node_faults(&node_name(node, index), node, schema, &mut faults);
    }
    for edge in list(document, "edges") {
        edge_faults(edge, schema, &mut faults);
    }
    faults
}

/// Faults of the whole: its shape, ids, ends of edges, cycles.
pub(super) fn of_structure(document: &Value, schema: &Schema) -> Vec<Fault> {
    let mut faults = Vec::new();
    for section in ["nodes", "edges"] {
        if !document.get(section).is_some_and(Value::is_array) {
            faults.push(Fault::new(
                vec![Place::section(section)],
                format!("/{section} must stay a list: use [] for none"),
            ));
        }
    }
    if let Some(other) = document.get("metadata").filter(|value| !value.is_object()) {
        faults.push(Fault::new(
            vec![Place::section("metadata")],
            format!("/metadata must be an object, not {}", kind(other)),
        ));
    }
    let ids = duplicate_ids(document, &mut faults);
    dangling_edges(document, &ids, &mut faults);
    references(document, &ids, schema, &mut faults);
    dead_conditionals(document, &mut faults);
    cycles(document, &mut faults);
    faults
}

fn node_faults(name: &str, node: &Value, schema: &Schema, faults: &mut Vec<Fault>) {
    let mut fault =
        |within: &[&str], message: String| faults.push(Fault::new(vec![Place::node(name, within)], message));
    if !node.is_object() {
        return fault(&[], format!("a node must be an object with id and type, not {}", kind(node)));
    }
    match member(node, "id") {
        Some(Value::String(id)) if is_id(id) => {}
        Some(Value::String(id)) => {
            fault(&["id"], format!("node id {id:?}: only letters, digits, _ and - are allowed, and at least one"));
        }
        Some(other) => fault(&["id"], format!("a node id must be text, not {}", kind(other))),
        None => fault(&["id"], "the node has no id: give it one of letters, digits, _ and -".to_owned()),
    }
    for (within, message) in schema.node_faults(node) {
        let within: Vec<&str> = within.iter().map(String::as_str).collect();
        fault(&within, format!("{} of node {name}: {message}", within.join(".")));
    }
    let config = member(node, "config");
    if let Some(other) = config.filter(|config| !config.is_object()) {
        fault(&["config"], format!("config of node {name} must be an object, not {}", kind(other)));
    }
    let node_type = match member(node, "type") {
        Some(Value::String(text)) => match schema.node_type(text) {
            Some(node_type) => node_type,
            None => return fault(&["type"], unknown_type(name, text, schema)),
        },
        Some(other) => return fault(&["type"], format!("type of node {name} must be text, not {}", kind(other))),
        None => return fault(&["type"], format!("node {name} has no type: use one of {}", types(schema))),
    };
    for (within, message) in config.filter(|c| c.is_object()).map_or(Vec::new(), |c| schema.config_faults(node_type, c))
    {
        let within: Vec<&str> = std::iter::once("config").chain(within.iter().map(String::as_str)).collect();
        fault(&within, format!("{} of node {name}: {message}", within.join(".")));
    }
}

fn types(schema: &Schema) -> String {
    schema.type_names().collect::<Vec<_>>().join(", ")
}

fn unknown_type(name: &str, found: &str, schema: &Schema) -> String {
    let near = schema
        .type_names()
        .map(|known| (strsim::jaro_winkler(&found.to_ascii_lowercase(), known), known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let shown: String = found.chars().take(60).collect();
    match near {
        Some((_, known)) => format!("node {name} has the unknown type {shown:?}: did you mean {known}?"),
        None => format!("node {name} has the unknown type {shown:?}: use one of {}", types(schema)),
    }
}

fn edge_faults(edge: &Value, schema: &Schema, faults: &mut Vec<Fault>) {
    let (from, to) = ends(edge);
    let mut fault =
        |within: &[&str], message: String| faults.push(Fault::new(vec![Place::edge(from, to, within)], message));
    if !edge.is_object() {
        return fault(&[], format!("an edge must be an object with from and to, not {}", kind(edge)));
    }
    for end in ["from", "to"] {
        match member(edge, end) {
            Some(Value::String(_)) => {}
            Some(other) => fault(&[end], format!("{end} of an edge must be the id of a node, not {}", kind(other))),
            None => fault(&[end], format!("the edge {from}->{to} has no {end}: give the id of a node")),
        }
    }
    let Some(condition) = member(edge, "condition").filter(|condition| !condition.is_null()) else { return };
    let Some(text) = condition_text(condition) else {
        return fault(&["condition"], format!("the condition of {from}->{to} must be text, not {}", kind(condition)));
    };
    if let Some(message) = schema.condition_fault(text) {
        fault(&["condition"], format!("edge {from}->{to}: {message}"));
    }
}

fn duplicate_ids<'a>(document: &'a Value, faults: &mut Vec<Fault>) -> FxHashSet<&'a str> {
    let (mut ids, mut told) = (FxHashSet::default(), FxHashSet::default());
    for id in list(document, "nodes").iter().filter_map(|node| text_of(node, "id")) {
        if !ids.insert(id) && told.insert(id) {
            let message = format!("the node id {id:?} is there twice: choose another id for the new node");
            faults.push(Fault::new(vec![Place::node(id, &["id"])], message));
        }
    }
    ids
}

fn dangling_edges(document: &Value, ids: &FxHashSet<&str>, faults: &mut Vec<Fault>) {
    for edge in list(document, "edges") {
        let (from, to) = ends(edge);
        for (name, end) in [("from", from), ("to", to)] {
            if text_of(edge, name).is_some() && !ids.contains(end) {
                let message = format!(
                    "the edge {from}->{to} hangs on {end:?}, which is no node: remove the edge or add the node"
                );
                faults.push(Fault::new(vec![Place::edge(from, to, &[name]), Place::node(end, &["id"])], message));
            }
        }
    }
}

/// Members of a config that name nodes (`loop_back_to` …), as (node, member, named).
pub(super) fn named_nodes<'a>(document: &'a Value, schema: &'a Schema) -> Vec<(&'a str, &'a str, &'a str)> {
    let mut named = Vec::new();
    for node in list(document, "nodes") {
        let (Some(id), Some(config)) = (text_of(node, "id"), member(node, "config")) else { continue };
        let Some(node_type) = text_of(node, "type").and_then(|name| schema.node_type(name)) else {
            continue;
        };
        for named_by in &node_type.references {
            match member(config, named_by) {
                Some(Value::String(target)) => named.push((id, named_by.as_str(), target.as_str())),
                Some(Value::Array(targets)) => {
                    let targets = targets.iter().filter_map(Value::as_str);
                    named.extend(targets.map(|target| (id, named_by.as_str(), target)));
                }
                _ => {}
            }
        }
    }
    named
}

fn references(document: &Value, ids: &FxHashSet<&str>, schema: &Schema, faults: &mut Vec<Fault>) {
    for (id, member, target) in named_nodes(document, schema) {
        if !ids.contains(target) {
            let places = vec![Place::node(id, &["config", member]), Place::node(target, &["id"])];
            faults.push(Fault::new(places, format!("{member} of node {id} names {target:?}, which is no node")));
        }
    }
}

fn dead_conditionals(document: &Value, faults: &mut Vec<Fault>) {
    let sources: FxHashSet<&str> = list(document, "edges").iter().map(|edge| ends(edge).0).collect();
    for node in list(document, "nodes") {
        let id = text_of(node, "id").unwrap_or_default();
        if text_of(node, "type") == Some("conditional") && !sources.contains(id) {
            let places = vec![Place::node(id, &["type"]), Place::edges_from(id)];
            faults.push(Fault::new(places, format!("the conditional {id} leads nowhere: add an edge from it")));
        }
    }
}

fn cycles(document: &Value, faults: &mut Vec<Fault>) {
    let is_loop = |node: &&Value| text_of(node, "type") == Some("loop");
    let loops: FxHashSet<&str> =
        list(document, "nodes").iter().filter(is_loop).filter_map(|node| text_of(node, "id")).collect();
    for group in Graph::new(document, &[]).cycles(|id| loops.contains(id)) {
        let members: FxHashSet<&str> = group.iter().copied().collect();
        let inside = list(document, "edges").iter().map(ends);
        let inside = inside.filter(|(from, to)| members.contains(from) && members.contains(to));
        let mut places: Vec<Place> = inside.map(|(from, to)| Place::edge(from, to, &[])).collect();
        places.extend(group.iter().map(|id| Place::node(id, &["type"])));
        let shown = group.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        faults.push(Fault::new(
            places,
            format!("{shown} form a cycle without a loop node: put a loop node into it or remove an edge"),
        ));
    }
}
