//! One operation on a document, and how to undo it.

use json_patch::{AddOperation, PatchOperation, ReplaceOperation, patch_unsafe};
use jsonptr::{Pointer, PointerBuf};
use serde_json::Value;

use super::{
    Op, Operation,
    document::kind,
    value::{depth, same, size},
};

/// Deepest document: half of what JSON readers commonly allow.
const MAX_DEPTH: usize = 64;

/// Why an operation cannot be done.
pub(super) enum Fault {
    /// A `test` did not hold.
    Differs(String),
    /// Anything else.
    Wrong(String),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

/// How large the document is while it grows, so that doubling copies end before they hurt.
pub(super) struct Room {
    size: usize,
    max: usize,
}

impl Room {
    pub(super) fn new(document: &Value, max: usize) -> Self {
        Self { size: size(document), max }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.size = self.size.saturating_add(bytes);
        if self.size > self.max {
            return Err(Fault::Wrong(format!(
                "the workflow would grow beyond {} bytes (patch.max_result_bytes)",
                self.max
            )));
        }
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        self.size = self.size.saturating_sub(bytes);
    }
}

/// Carries out one operation whose paths are resolved. What comes back undoes it, in order.
///
/// `json-patch` adds and replaces. Removing is done here because it keeps the order of the other members, and
/// comparing because numbers that keep their text must still be compared by value.
pub(super) fn step(
    document: &mut Value,
    operation: &Operation,
    path: &Pointer,
    from: &Pointer,
    room: &mut Room,
) -> Result<Vec<Operation>, Fault> {
    let value = || operation.value.clone().unwrap_or_default();
    match operation.op {
        Op::Add => add(document, path, value(), room),
        Op::Remove => remove(document, path, room).map(|(_, undo)| undo),
        Op::Replace => replace(document, path, value(), room),
        Op::Move => relocate(document, from, path, room),
        Op::Copy => {
            let source = find(document, from)?;
            room.take(size(source))?;
            room.give_back(size(source));
            let copied = source.clone();
            add(document, path, copied, room)
        }
        Op::Test => test(document, path, operation.value.as_ref().unwrap_or(&Value::Null)),
    }
}

fn add(document: &mut Value, path: &Pointer, value: Value, room: &mut Room) -> Result<Vec<Operation>, Fault> {
    fits(path, &value)?;
    room.take(size(&value) + path.as_str().len())?;
    let undo = match path.split_back() {
        None => Operation::with_value(Op::Replace, "", document.clone()),
        Some((parent, last)) => match find(document, parent)? {
            Value::Object(members) => match members.get(last.decoded().as_ref()) {
                Some(old) => Operation::with_value(Op::Replace, path.as_str(), old.clone()),
                None => Operation::remove(path.as_str()),
            },
            Value::Array(items) => {
                let index = last
                    .to_index()
                    .ok()
                    .and_then(|index| index.for_len_incl(items.len()).ok())
                    .ok_or_else(|| beyond(parent, &last.decoded(), items.len()))?;
                Operation::remove(parent.to_owned().with_trailing_token(index).as_str())
            }
            other => {
                return Err(Fault::Wrong(format!(
                    "{:?} is {}: nothing can be added in it",
                    parent.as_str(),
                    kind(other)
                )));
            }
        },
    };
    if let Some(old) = &undo.value {
        room.give_back(size(old));
    }
    patched(document, PatchOperation::Add(AddOperation { path: path.to_owned(), value }))?;
    Ok(vec![undo])
}

fn replace(document: &mut Value, path: &Pointer, value: Value, room: &mut Room) -> Result<Vec<Operation>, Fault> {
    fits(path, &value)?;
    let old = find(document, path)?.clone();
    room.give_back(size(&old));
    room.take(size(&value))?;
    patched(document, PatchOperation::Replace(ReplaceOperation { path: path.to_owned(), value }))?;
    Ok(vec![Operation::with_value(Op::Replace, path.as_str(), old)])
}

/// Takes a value out. A member that was not the last one comes back to its place by replacing the object it was
/// in; in the document itself, which cannot be replaced, by moving the members behind it onto themselves.
fn remove(document: &mut Value, path: &Pointer, room: &mut Room) -> Result<(Value, Vec<Operation>), Fault> {
    let Some((parent, last)) = path.split_back() else {
        return Err(Fault::Wrong("the whole workflow cannot be removed".to_owned()));
    };
    find(document, path)?;
    let name = last.decoded();
    let Some(holder) = document.pointer_mut(parent.as_str()) else { return Err(Fault::Wrong(absent(path))) };
    let (value, undo) = match holder {
        Value::Array(items) => {
            let value = items.remove(name.parse().map_err(|_| absent(path))?);
            (value.clone(), vec![Operation::with_value(Op::Add, path.as_str(), value)])
        }
        Value::Object(members) => {
            let behind: Vec<String> = members.keys().skip_while(|key| **key != name).skip(1).cloned().collect();
            let whole = (!behind.is_empty() && !parent.is_root()).then(|| Value::Object(members.clone()));
            let Some(value) = members.shift_remove(name.as_ref()) else { return Err(Fault::Wrong(absent(path))) };
            let undo = match whole {
                Some(whole) => vec![Operation::with_value(Op::Replace, parent.as_str(), whole)],
                None => {
                    let back = Operation::with_value(Op::Add, path.as_str(), value.clone());
                    let order = behind.iter().map(|key| {
                        let place = PointerBuf::from_tokens([key.as_str()]);
                        Operation::relocate(place.as_str(), place.as_str())
                    });
                    std::iter::once(back).chain(order).collect()
                }
            };
            (value, undo)
        }
        _ => return Err(Fault::Wrong(absent(path))),
    };
    room.give_back(size(&value));
    Ok((value, undo))
}

fn relocate(document: &mut Value, from: &Pointer, path: &Pointer, room: &mut Room) -> Result<Vec<Operation>, Fault> {
    if path.starts_with(from) && path.len() != from.len() {
        return Err(Fault::Wrong("a value cannot be moved into itself".to_owned()));
    }
    let (value, put_back) = remove(document, from, room)?;
    let take_out = add(document, path, value, room)?;
    // Where nothing was overwritten, no order disturbed and the way back is no way into itself, moving back is
    // all it takes.
    Ok(match (take_out.as_slice(), put_back.as_slice()) {
        ([out], [back]) if out.op == Op::Remove && back.op == Op::Add && !from.starts_with(path) => {
            vec![Operation::relocate(out.path.as_str(), back.path.as_str())]
        }
        _ => take_out.into_iter().chain(put_back).collect(),
    })
}

fn test(document: &Value, path: &Pointer, expected: &Value) -> Result<Vec<Operation>, Fault> {
    let Ok(found) = find(document, path) else {
        return Err(Fault::Differs(format!("the test does not hold: {}", absent(path))));
    };
    if same(found, expected) {
        return Ok(Vec::new());
    }
    Err(Fault::Differs(format!("the test does not hold: expected {}, found {}", excerpt(expected), excerpt(found))))
}

fn patched(document: &mut Value, operation: PatchOperation) -> Result<(), Fault> {
    patch_unsafe(document, &[operation]).map_err(|error| Fault::Wrong(error.kind.to_string()))
}

fn fits(path: &Pointer, value: &Value) -> Result<(), Fault> {
    let levels = path.count() + depth(value);
    if levels > MAX_DEPTH {
        return Err(Fault::Wrong(format!("{levels} levels of nesting: at most {MAX_DEPTH}")));
    }
    Ok(())
}

fn find<'a>(document: &'a Value, path: &Pointer) -> Result<&'a Value, Fault> {
    if let Some(found) = document.pointer(path.as_str()) {
        return Ok(found);
    }
    // Say where the way ends.
    let mut here = document;
    let mut so_far = PointerBuf::new();
    for token in path.tokens() {
        let name = token.decoded();
        let next = match here {
            Value::Object(members) => members.get(name.as_ref()),
            Value::Array(items) => token.to_index().ok().and_then(|index| items.get(index.for_len(items.len()).ok()?)),
            _ => None,
        };
        match (next, here) {
            (Some(next), _) => here = next,
            (None, Value::Array(items)) => return Err(Fault::Wrong(beyond(&so_far, &name, items.len()))),
            (None, Value::Object(_)) => {
                return Err(Fault::Wrong(format!("{:?} has no member {name:?}", so_far.as_str())));
            }
            (None, other) => {
                return Err(Fault::Wrong(format!("{:?} is {}: there is nothing in it", so_far.as_str(), kind(other))));
            }
        }
        so_far.push_back(token);
    }
    Err(Fault::Wrong(absent(path)))
}

fn beyond(list: &Pointer, index: &str, len: usize) -> String {
    format!("{:?} has {len} elements: there is no place {index:?}", list.as_str())
}

fn absent(path: &Pointer) -> String {
    format!("there is nothing at {:?}", path.as_str())
}

fn excerpt(value: &Value) -> String {
    const CHARS: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= CHARS { text } else { text.chars().take(CHARS).chain(['…']).collect() }
}
