//! What a patch does to a workflow, element by element.

use indexmap::IndexMap;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    document::{ends, list, text_of},
    value::{covers, same},
};

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A node.
    Node,
    /// An edge.
    Edge,
    /// Another member of the workflow, `metadata` above all.
    Member,
    /// The order of a list, where a patch does nothing else.
    Order,
}

/// One element before and after. Absent where it does not exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// What it is.
    pub part: Part,
    /// Node id, `from->to` or the member's name.
    pub id: String,
    /// Which one, counted from 0, where several have the same id.
    pub nth: usize,
    /// As it was.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub before: Option<Value>,
    /// As it will be.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub after: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Everything a patch does, without what stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects(pub Vec<Effect>);

/// How a workflow stands to a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It already is as the patch would make it.
    Applied,
    /// It still is as the patch found it.
    NotApplied,
    /// Neither: somebody else changed it.
    Unclear,
}

/// The ids of what changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Diff {
    pub nodes_added: Vec<String>,
    pub nodes_removed: Vec<String>,
    pub nodes_changed: Vec<String>,
    pub edges_added: Vec<String>,
    pub edges_removed: Vec<String>,
    pub edges_changed: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub metadata_changed: bool,
}

/// What an element is called: its kind, id (or both ends of an edge), and which one of equally named ones it is.
pub(super) type Key<'a> = (Part, &'a str, &'a str, usize);

/// Every element of a document under a name that does not depend on its place, with that place.
pub(super) fn elements(document: &Value) -> Elements<'_> {
    let nodes = list(document, "nodes").iter().enumerate().map(|(place, node)| {
        let id = text_of(node, "id").unwrap_or_default();
        ((Part::Node, id, ""), place, node)
    });
    let edges = list(document, "edges").iter().enumerate().map(|(place, edge)| {
        let (from, to) = ends(edge);
        ((Part::Edge, from, to), place, edge)
    });
    let members = document.as_object().into_iter().flatten().enumerate();
    let members = members
        .filter(|(_, (key, _))| !matches!(key.as_str(), "nodes" | "edges"))
        .map(|(place, (key, value))| ((Part::Member, key.as_str(), ""), place, value));
    let count = list(document, "nodes").len() + list(document, "edges").len() + 8;
    let mut seen = FxHashMap::<(Part, &str, &str), usize>::with_capacity_and_hasher(count, FxBuildHasher);
    let mut all = Elements::with_capacity_and_hasher(count, FxBuildHasher);
    for (name, place, element) in nodes.chain(edges).chain(members) {
        let nth = seen.entry(name).or_default();
        all.insert((name.0, name.1, name.2, *nth), (place, element));
        *nth += 1;
    }
    all
}

/// Elements by name, each with its place and itself.
pub(super) type Elements<'a> = IndexMap<Key<'a>, (usize, &'a Value), FxBuildHasher>;

impl Effect {
    fn new(key: &Key<'_>, before: Option<&Value>, after: Option<&Value>) -> Self {
        let (part, id, to, nth) = *key;
        let id = if part == Part::Edge { format!("{id}->{to}") } else { id.to_owned() };
        Self { part, id, nth, before: before.cloned(), after: after.cloned() }
    }

    /// The name that [`elements`] gives the same element.
    pub(super) fn key(&self) -> Key<'_> {
        let some = self.after.as_ref().or(self.before.as_ref()).filter(|_| self.part == Part::Edge);
        let (id, to) = some.map_or((self.id.as_str(), ""), ends);
        (self.part, id, to, self.nth)
    }
}

impl Effects {
    /// What turns `before` into `after`: first what goes and changes, in the old order, then what comes.
    #[must_use]
    pub fn between(before: &Value, after: &Value) -> Self {
        let (old, new) = (elements(before), elements(after));
        let changed = old.iter().filter_map(|(key, (_, was))| match new.get(key) {
            Some((_, now)) if same(now, was) => None,
            now => Some(Effect::new(key, Some(was), now.map(|(_, now)| *now))),
        });
        let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
        let added = added.map(|(key, (_, now))| Effect::new(key, None, Some(now)));
        let effects: Vec<Effect> = changed.chain(added).collect();
        if effects.is_empty() { Self(reordered(before, after)) } else { Self(effects) }
    }

    /// The ids alone.
    #[must_use]
    pub fn diff(&self) -> Diff {
        let mut diff = Diff::default();
        for Effect { part, id, before, after, .. } in &self.0 {
            let ids = match (part, before, after) {
                (Part::Node, None, _) => &mut diff.nodes_added,
                (Part::Node, Some(_), None) => &mut diff.nodes_removed,
                (Part::Node, Some(_), Some(_)) => &mut diff.nodes_changed,
                (Part::Edge, None, _) => &mut diff.edges_added,
                (Part::Edge, Some(_), None) => &mut diff.edges_removed,
                (Part::Edge, Some(_), Some(_)) => &mut diff.edges_changed,
                (Part::Member, ..) => {
                    diff.metadata_changed = true;
                    continue;
                }
                (Part::Order, ..) => continue,
            };
            ids.push(id.clone());
        }
        diff
    }

    /// Whether `document` already has these effects. An orchestrator may have added members of its own.
    #[must_use]
    pub fn state(&self, document: &Value) -> State {
        let now = elements(document);
        let mut states = self.0.iter().map(|effect| {
            let (before, after) = (effect.before.as_ref(), effect.after.as_ref());
            if effect.part == Part::Order {
                return standing(Some(&order(document, &effect.id, before)), before, after);
            }
            standing(now.get(&effect.key()).map(|(_, now)| *now), before, after)
        });
        let Some(first) = states.next() else { return State::Unclear };
        if states.all(|state| state == first) { first } else { State::Unclear }
    }
}

/// Lists whose elements are the same ones in another order.
fn reordered(before: &Value, after: &Value) -> Vec<Effect> {
    let effect = |section: &str| {
        let (was, now) = (order(before, section, None), order(after, section, None));
        let id = section.to_owned();
        (was != now).then_some(Effect { part: Part::Order, id, nth: 0, before: Some(was), after: Some(now) })
    };
    ["nodes", "edges"].into_iter().filter_map(effect).collect()
}

/// The names of a list's elements in their order; of `among` only, where that is given.
fn order(document: &Value, section: &str, among: Option<&Value>) -> Value {
    let among: Option<FxHashSet<&str>> =
        among.and_then(Value::as_array).map(|names| names.iter().filter_map(Value::as_str).collect());
    let name = |element: &Value| match section {
        "nodes" => text_of(element, "id").unwrap_or_default().to_owned(),
        _ => format!("{}->{}", ends(element).0, ends(element).1),
    };
    let names = list(document, section).iter().map(name);
    names.filter(|name| among.as_ref().is_none_or(|among| among.contains(name.as_str()))).map(Value::String).collect()
}

fn standing(now: Option<&Value>, before: Option<&Value>, after: Option<&Value>) -> State {
    let is = |wanted: Option<&Value>, alike: fn(&Value, &Value) -> bool| match (now, wanted) {
        (None, None) => true,
        (Some(now), Some(wanted)) => alike(now, wanted),
        _ => false,
    };
    for alike in [same as fn(&Value, &Value) -> bool, covers] {
        match (is(after, alike), is(before, alike)) {
            (true, false) => return State::Applied,
            (false, true) => return State::NotApplied,
            _ => {}
        }
    }
    State::Unclear
}
