//! Operations applied to a copy, in order, all or none.

use jsonptr::{Pointer, PointerBuf};
use serde_json::Value;

use super::{
    Op, Operation, Reason, Refusal,
    edit::{self, Fault, Room},
    places::{Part, Place, Touch},
    pointer,
    reading::too_many,
    value::size,
};

/// Bounds on applying.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most operations of one patch.
    pub max_operations: usize,
    /// Largest document, before, between and after, in bytes of compact JSON.
    pub max_result_bytes: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The changed copy.
    pub document: Value,
    /// The operations with `id:` segments resolved, each by the document as its turn came.
    pub operations: Vec<Operation>,
    /// Operations that give the former document back, byte for byte.
    pub inverse: Vec<Operation>,
    /// Things worth knowing that do not prevent anything.
    pub warnings: Vec<String>,
    /// What was touched, for telling who is to blame.
    pub(super) touches: Vec<Touch>,
    /// Nodes that got another id and are still the same node: (before, after).
    pub(super) renamed: Vec<(String, String)>,
}

/// Applies `operations` to a copy of `document`, which itself never changes.
///
/// # Errors
/// The first operation that cannot be done; the rest would only stumble over it.
pub fn apply(document: &Value, operations: &[Operation], limits: &Limits) -> Result<Applied, Refusal> {
    if operations.len() > limits.max_operations {
        return Err(Refusal::one(Reason::general(too_many(limits.max_operations))));
    }
    let mut work = Work {
        room: Room::new(document, limits.max_result_bytes),
        undo: Vec::with_capacity(operations.len()),
        applied: Applied {
            document: document.clone(),
            operations: Vec::with_capacity(operations.len()),
            inverse: Vec::new(),
            warnings: Vec::new(),
            touches: Vec::new(),
            renamed: Vec::new(),
        },
    };
    for (index, operation) in operations.iter().enumerate() {
        work.step(index, operation).map_err(|fault| {
            let (conflict, message) = match fault {
                Fault::Differs(message) => (true, message),
                Fault::Wrong(message) => (false, message),
            };
            Refusal { conflict, reasons: vec![Reason { operation: Some(index), what: operation.title(), message }] }
        })?;
    }
    Ok(work.finish(document, limits))
}

struct Work {
    applied: Applied,
    undo: Vec<Vec<Operation>>,
    room: Room,
}

impl Work {
    fn step(&mut self, index: usize, operation: &Operation) -> Result<(), Fault> {
        let adding = operation.value.as_ref().filter(|_| operation.op == Op::Add);
        let from = operation.from.as_deref().map(|from| self.resolve(from, None)).transpose()?;
        let path = self.resolve(&operation.path, adding)?;
        let path = match (&from, operation.op) {
            (Some(from), Op::Move) if path.as_str() != operation.path => after_removal(from, path),
            _ => path,
        };
        let from_or_root = from.as_deref().unwrap_or(Pointer::root());
        let before = self.touched(operation, &path, from.as_deref(), false);
        let undo = edit::step(&mut self.applied.document, operation, &path, from_or_root, &mut self.room)?;
        let after = self.touched(operation, &path, from.as_deref(), true);
        self.note_rename(operation.op, &path, &before, &after);
        self.applied.touches.extend(before.into_iter().chain(after).map(|place| Touch { operation: index, place }));
        self.undo.push(undo);
        self.applied.operations.push(Operation {
            op: operation.op,
            path: path.to_string(),
            from: from.map(|from| from.to_string()),
            value: operation.value.clone(),
        });
        Ok(())
    }

    fn resolve(&mut self, path: &str, adding: Option<&Value>) -> Result<PointerBuf, Fault> {
        let resolved = pointer::resolve(&self.applied.document, path, adding)?;
        self.applied.warnings.extend(resolved.warning);
        Ok(resolved.pointer)
    }

    /// What the operation touches, in the document before it or after it.
    fn touched(&self, operation: &Operation, path: &Pointer, from: Option<&Pointer>, after: bool) -> Vec<Place> {
        let paths: &[Option<&Pointer>] = match (operation.op, after) {
            (Op::Remove | Op::Replace, false) => &[Some(path)],
            (Op::Move, false) => &[from],
            (Op::Add | Op::Replace | Op::Copy | Op::Move, true) => &[Some(path)],
            _ => &[],
        };
        let place = |path: &Pointer| Place::of(&self.applied.document, &pointer::segments(path));
        paths.iter().flatten().filter_map(|path| place(path)).collect()
    }

    fn note_rename(&mut self, op: Op, path: &Pointer, before: &[Place], after: &[Place]) {
        let whole_or_id = match pointer::segments(path).as_slice() {
            [section, _] => section == "nodes",
            [section, _, member] => section == "nodes" && member == "id",
            _ => false,
        };
        if let (Op::Replace, true, [Place { part: Part::Node(old), .. }], [Place { part: Part::Node(new), .. }]) =
            (op, whole_or_id, before, after)
            && old != new
        {
            self.applied.renamed.push((old.clone(), new.clone()));
        }
    }

    fn finish(mut self, original: &Value, limits: &Limits) -> Applied {
        let inverse: Vec<Operation> = self.undo.into_iter().rev().flatten().collect();
        let weight: usize = inverse.iter().filter_map(|operation| operation.value.as_ref()).map(size).sum();
        // Undoing step by step can say the same thing many times; then whole sections say it once.
        let heavy = weight > limits.max_result_bytes || inverse.len() > limits.max_operations.saturating_mul(2);
        self.applied.inverse = if heavy { whole_sections(original, &self.applied.document) } else { inverse };
        self.applied
    }
}

/// A move takes out first, so the second path is read in what is left: an element that was found by its id is
/// one place further up where the moved one stood before it.
fn after_removal(from: &Pointer, path: PointerBuf) -> PointerBuf {
    let (from, mut to) = (pointer::segments(from), pointer::segments(&path));
    if let ([from_section, from_place], [to_section, to_place, ..]) = (from.as_slice(), to.as_mut_slice())
        && from_section == to_section
        && let (Ok(from), Ok(place)) = (from_place.parse::<usize>(), to_place.parse::<usize>())
        && from < place
    {
        *to_place = (place - 1).to_string();
        return pointer::join(&to);
    }
    path
}

/// The inverse in its coarse form: each member of the document that differs, as it was.
fn whole_sections(original: &Value, changed: &Value) -> Vec<Operation> {
    let (Value::Object(original_members), Value::Object(changed_members)) = (original, changed) else {
        return vec![Operation::with_value(Op::Replace, "", original.clone())];
    };
    let place = |key: &String| pointer::join(&[key]).to_string();
    let mut operations: Vec<Operation> = changed_members
        .keys()
        .filter(|key| !original_members.contains_key(*key))
        .map(|key| Operation::remove(place(key)))
        .collect();
    let mut order_lost = false;
    for (key, value) in original_members {
        match changed_members.get(key) {
            Some(now) if now == value => {}
            Some(_) => operations.push(Operation::with_value(Op::Replace, place(key), value.clone())),
            None => {
                operations.push(Operation::with_value(Op::Add, place(key), value.clone()));
                order_lost = true;
            }
        }
    }
    if order_lost || !original_members.keys().eq(changed_members.keys()) {
        operations.extend(original_members.keys().map(|key| Operation::relocate(place(key), place(key))));
    }
    operations
}
