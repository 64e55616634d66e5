//! From a patch as it was asked for to one that may be sent.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Diff, Effects, Limits, Op, Operation, PatchSpec, Reason, Refusal, Schema, Workflow,
    check::{self, Fault},
    document::{ends, list, text_of},
    fold,
    graph::Graph,
    mermaid,
    patch::{Applied, apply},
    places::{Place, culprit},
    pointer::{self, SECTIONS},
    reading::too_many,
    same, warnings,
};
use crate::{
    job::PatchPreview,
    settings::{self, limits},
};

/// What patches must keep to.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Node types and formats.
    pub schema: Arc<Schema>,
    /// Bounds on applying.
    pub limits: Limits,
    /// Most agent nodes that one patch may add.
    pub max_agent_nodes: usize,
    /// Types that have a worker; empty: all.
    pub executable_types: Vec<String>,
}

impl Rules {
    /// Reads the settings.
    ///
    /// # Errors
    /// A node type whose schema is none; the message names the key.
    pub fn new(settings: &settings::Patch) -> Result<Self, String> {
        Ok(Self {
            schema: Arc::new(Schema::new(&settings.node_types)?),
            limits: Limits { max_operations: settings.max_operations, max_result_bytes: settings.max_result_bytes },
            max_agent_nodes: settings.max_agent_nodes,
            executable_types: settings.executable_types.clone(),
        })
    }
}

/// Which operations the receiver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// All of RFC 6902.
    #[default]
    Full,
    /// `add` at `/nodes/-` and `/edges/-`; anything else is refused.
    AppendOnly,
    /// Whole nodes and edges; deeper operations are folded into whole ones.
    Shallow,
}

/// A patch that holds: it was applied to a copy and the copy was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// What is sent.
    pub operations: Vec<Operation>,
    /// What undoes it.
    pub inverse: Vec<Operation>,
    /// The author's words.
    pub description: String,
    /// What it does to each element.
    pub effects: Effects,
    /// The same in ids.
    pub diff: Diff,
    /// The workflow afterwards, as a picture.
    pub mermaid: String,
    /// It changes nothing, and nothing is sent.
    pub no_op: bool,
    /// What does not prevent it.
    pub warnings: Vec<String>,
    /// The workflow afterwards.
    #[serde(skip)]
    pub document: Value,
}

impl Prepared {
    /// Counts for the preview.
    #[must_use]
    pub fn preview(&self) -> PatchPreview {
        PatchPreview {
            op_count: self.operations.len(),
            nodes_added: self.diff.nodes_added.len(),
            nodes_removed: self.diff.nodes_removed.len(),
            nodes_changed: self.diff.nodes_changed.len(),
        }
    }
}

/// Resolves, applies to a copy, checks, and says what it would do. Nothing is sent and `workflow` stays as it is;
/// a dry run ends here, and a real run sends exactly what came out.
///
/// # Errors
/// Everything that speaks against it, with the operation that is to blame.
pub fn prepare(workflow: &Workflow, spec: &PatchSpec, rules: &Rules, mode: Mode) -> Result<Prepared, Refusal> {
    let before = workflow.document();
    inside_sections(&spec.operations, rules.limits.max_operations)?;
    let mut applied = apply(before, &spec.operations, &rules.limits)?;
    match mode {
        Mode::Full => make_absent_lists(workflow, &mut applied),
        Mode::AppendOnly => fold::only_appends(&applied.operations)?,
        Mode::Shallow => applied = folded(before, applied, rules)?,
    }
    let mut notes = spec.notes.clone();
    notes.append(&mut applied.warnings);
    judge(before, &applied, spec, rules, &mut notes)?;
    notes.extend(cut_off(before, &applied, rules));
    notes.extend(warnings::of(&applied.document, &rules.schema, &rules.executable_types, &applied.touches));
    if notes.len() > limits::MAX_WARNINGS {
        let more = notes.len() - limits::MAX_WARNINGS;
        notes.truncate(limits::MAX_WARNINGS);
        notes.push(format!("and {more} more warnings"));
    }
    let effects = Effects::between(before, &applied.document);
    let diff = effects.diff();
    let no_op = same(before, &applied.document);
    Ok(Prepared {
        mermaid: mermaid::flowchart(&applied.document, &diff),
        operations: if no_op { Vec::new() } else { applied.operations },
        inverse: if no_op { Vec::new() } else { applied.inverse },
        description: spec.description.clone(),
        effects,
        diff,
        no_op,
        warnings: notes,
        document: applied.document,
    })
}

/// Refuses paths outside the three members of a workflow. A move onto itself changes no value, only the order of
/// members: inverses use it, so it passes anywhere.
fn inside_sections(operations: &[Operation], max: usize) -> Result<(), Refusal> {
    if operations.len() > max {
        return Err(Refusal::one(Reason::general(too_many(max))));
    }
    let mut reasons = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        if operation.op == Op::Move && operation.from.as_deref() == Some(&operation.path) {
            continue;
        }
        for path in std::iter::once(operation.path.as_str()).chain(operation.from.as_deref()) {
            let outside = match pointer::parse(path) {
                Ok(pointer) => match pointer.first() {
                    Some(first) if SECTIONS.contains(&first.decoded().as_ref()) => continue,
                    _ => format!("{path:?} is outside /nodes, /edges and /metadata"),
                },
                Err(message) => message,
            };
            reasons.push(Reason { operation: Some(index), what: operation.title(), message: outside });
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { conflict: false, reasons }) }
}

/// A source without one of the lists needs it made before anything is put in; the inverse takes it out again.
fn make_absent_lists(workflow: &Workflow, applied: &mut Applied) {
    for section in workflow.absent() {
        let root = format!("/{section}");
        let inside = format!("/{section}/");
        if applied.operations.iter().any(|operation| operation.path.starts_with(&inside)) {
            applied.operations.insert(0, Operation::with_value(Op::Add, root.as_str(), json!([])));
            applied.inverse.push(Operation::remove(root));
        }
    }
}

fn folded(before: &Value, applied: Applied, rules: &Rules) -> Result<Applied, Refusal> {
    let operations = fold::whole_elements(before, &applied.document)?;
    let limits = Limits { max_operations: usize::MAX, ..rules.limits };
    let mut whole = apply(before, &operations, &limits)?;
    // Blame falls on what was asked for, not on what it was folded into.
    whole.touches = applied.touches;
    whole.renamed = applied.renamed;
    whole.warnings = applied.warnings;
    Ok(whole)
}

/// Refuses what the patch broke. What was broken before and stays untouched becomes a warning.
fn judge(
    before: &Value,
    applied: &Applied,
    spec: &PatchSpec,
    rules: &Rules,
    notes: &mut Vec<String>,
) -> Result<(), Refusal> {
    let own = check::of_elements(&applied.document, &rules.schema).into_iter().map(|fault| (fault, true));
    let structure = check::of_structure(&applied.document, &rules.schema);
    // Most workflows are sound, and then nothing needs to be known about the former one.
    let known = if structure.is_empty() { Vec::new() } else { check::of_structure(before, &rules.schema) };
    let known: FxHashSet<Fault> = known.into_iter().collect();
    let structure = structure.into_iter().map(|fault| (known.contains(&fault), fault)).map(|(old, fault)| (fault, old));
    let mut reasons = Vec::new();
    let mut refuse = |operation: Option<usize>, message: String| {
        let what = operation.and_then(|index| spec.operations.get(index)).map(Operation::title).unwrap_or_default();
        reasons.push(Reason { operation, what, message });
    };
    for (fault, may_be_old) in own.chain(structure) {
        match culprit(&fault.places, &applied.touches) {
            None if may_be_old => notes.push(format!("already there: {}", fault.message)),
            operation => refuse(operation, fault.message),
        }
    }
    for id in unreachable(before, applied, rules) {
        let operation = culprit(&[Place::node(&id, &[])], &applied.touches);
        refuse(operation, format!("no node of the workflow leads to the new node {id}: add an edge to it"));
    }
    let agents = new_agents(before, applied);
    if let Some(id) = agents.get(rules.max_agent_nodes) {
        let message = format!(
            "{} new agent nodes: at most {} in one patch (patch.max_agent_nodes)",
            agents.len(),
            rules.max_agent_nodes
        );
        refuse(culprit(&[Place::node(id, &[])], &applied.touches), message);
    }
    reasons.sort_by_key(|reason| reason.operation.unwrap_or(usize::MAX));
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { conflict: false, reasons }) }
}

/// Ids of a document's nodes.
fn ids(document: &Value) -> impl Iterator<Item = &str> {
    list(document, "nodes").iter().filter_map(|node| text_of(node, "id"))
}

/// Ids that belong to nodes of the former workflow, renamed ones included.
fn former<'a>(before: &'a Value, applied: &'a Applied) -> FxHashSet<&'a str> {
    let mut former: FxHashSet<&str> = ids(before).collect();
    for (old, new) in &applied.renamed {
        if former.contains(old.as_str()) {
            former.insert(new);
        }
    }
    former
}

/// New nodes that nothing of the former workflow leads to. The first nodes of an empty workflow have no choice.
fn unreachable(before: &Value, applied: &Applied, rules: &Rules) -> Vec<String> {
    let former = former(before, applied);
    let new: Vec<&str> = ids(&applied.document).filter(|id| !former.contains(id)).collect();
    if former.is_empty() || new.is_empty() {
        return Vec::new();
    }
    let named = named(&applied.document, rules);
    let reached = Graph::new(&applied.document, &named).reachable(former.into_iter());
    new.into_iter().filter(|id| !reached.contains(id)).map(str::to_owned).collect()
}

/// Nodes that settings name, as edges.
fn named(document: &Value, rules: &Rules) -> Vec<(String, String)> {
    let named = check::named_nodes(document, &rules.schema);
    named.into_iter().map(|(from, _, to)| (from.to_owned(), to.to_owned())).collect()
}

/// Nodes that were reached from a first node, and are not any more. What follows a removed first node comes first now.
fn cut_off(before: &Value, applied: &Applied, rules: &Rules) -> Option<String> {
    let edges: FxHashSet<(&str, &str)> = list(&applied.document, "edges").iter().map(ends).collect();
    if !list(before, "edges").iter().any(|edge| !edges.contains(&ends(edge))) || !applied.renamed.is_empty() {
        return None;
    }
    let targets: FxHashSet<&str> = list(before, "edges").iter().map(|edge| ends(edge).1).collect();
    let first: Vec<&str> = ids(before).filter(|id| !targets.contains(id)).collect();
    let now: FxHashSet<&str> = ids(&applied.document).collect();
    let removed: FxHashSet<&str> = first.iter().copied().filter(|id| !now.contains(id)).collect();
    let (old, new) = (named(before, rules), named(&applied.document, rules));
    let reached = Graph::new(before, &old).reachable(first.iter().copied());
    let followers = list(before, "edges").iter().map(ends).filter(|(from, _)| removed.contains(from)).map(|(_, to)| to);
    let still = Graph::new(&applied.document, &new).reachable(first.iter().copied().chain(followers));
    let lost: Vec<&str> =
        ids(&applied.document).filter(|id| reached.contains(id) && !still.contains(id)).take(CUT_OFF_SHOWN).collect();
    (!lost.is_empty())
        .then(|| format!("{} can no longer be reached: no edge leads there from the start", lost.join(", ")))
}

/// Nodes that are named where many are cut off.
const CUT_OFF_SHOWN: usize = 10;

/// Agent nodes that the former workflow did not have as such.
fn new_agents<'a>(before: &Value, applied: &'a Applied) -> Vec<&'a str> {
    let is_agent = |node: &&Value| text_of(node, "type") == Some("agent");
    let id = |node: &'a Value| text_of(node, "id").unwrap_or_default();
    let mut old: FxHashSet<&str> =
        list(before, "nodes").iter().filter(is_agent).filter_map(|node| text_of(node, "id")).collect();
    for (was, now) in &applied.renamed {
        if old.contains(was.as_str()) {
            old.insert(now);
        }
    }
    list(&applied.document, "nodes").iter().filter(is_agent).map(id).filter(|id| !old.contains(id)).collect()
}
