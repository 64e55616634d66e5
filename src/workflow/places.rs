//! Which parts of a workflow an operation touches, to tell what a patch is to blame for.

use serde_json::Value;

use super::document::{ends, list, node_name};

/// Something in a workflow, by name and not by its place in a list, which shifts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// A node, by id.
    Node(String),
    /// An edge, by its ends.
    Edge(String, String),
    /// Any edge that leaves this node. Only faults have this.
    EdgesFrom(String),
    /// Everything under a member of the workflow.
    Section(String),
}

/// A part and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) part: Part,
    pub(super) within: Vec<String>,
}

impl Place {
    pub(super) fn node(id: &str, within: &[&str]) -> Self {
        Self { part: Part::Node(id.to_owned()), within: within.iter().map(|&s| s.to_owned()).collect() }
    }

    pub(super) fn edge(from: &str, to: &str, within: &[&str]) -> Self {
        let part = Part::Edge(from.to_owned(), to.to_owned());
        Self { part, within: within.iter().map(|&s| s.to_owned()).collect() }
    }

    pub(super) fn edges_from(id: &str) -> Self {
        Self { part: Part::EdgesFrom(id.to_owned()), within: Vec::new() }
    }

    pub(super) fn section(name: &str) -> Self {
        Self { part: Part::Section(name.to_owned()), within: Vec::new() }
    }

    /// The place that a resolved path names in `document`, with `-` for the last element.
    pub(super) fn of(document: &Value, segments: &[String]) -> Option<Self> {
        let [section, rest @ ..] = segments else { return None };
        let Some((place, within)) = rest.split_first() else { return Some(Self::section(section)) };
        let elements = list(document, section);
        let index = if place == "-" { elements.len().checked_sub(1)? } else { place.parse().ok()? };
        let part = match section.as_str() {
            "nodes" => Part::Node(node_name(elements.get(index)?, index).into_owned()),
            "edges" => {
                let (from, to) = ends(elements.get(index)?);
                Part::Edge(from.to_owned(), to.to_owned())
            }
            _ => Part::Section(section.clone()),
        };
        Some(Self { part, within: within.to_vec() })
    }

    /// Whether a change at `touched` may have brought in, or may mend, a fault here.
    pub(super) fn overlaps(&self, touched: &Self) -> bool {
        let nested = self.within.starts_with(&touched.within) || touched.within.starts_with(&self.within);
        match (&self.part, &touched.part) {
            (Part::EdgesFrom(id), Part::Edge(from, _)) => id == from,
            (Part::Edge(..) | Part::EdgesFrom(_), Part::Section(name)) => name == "edges",
            (Part::Node(_), Part::Section(name)) => name == "nodes",
            (here, there) => here == there && nested,
        }
    }
}

/// A place and the operation that changed it, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Touch {
    pub(super) operation: usize,
    pub(super) place: Place,
}

/// The last operation that touches any of `places`.
pub(super) fn culprit(places: &[Place], touches: &[Touch]) -> Option<usize> {
    touches
        .iter()
        .filter(|touch| places.iter().any(|place| place.overlaps(&touch.place)))
        .map(|touch| touch.operation)
        .max()
}
