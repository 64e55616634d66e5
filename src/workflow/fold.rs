//! Patches for orchestrators that take only some operations.

use serde_json::Value;

use super::{
    Op, Operation, Reason, Refusal,
    diff::{Effect, Effects, Part, elements},
};

/// Says no to everything but additions at the end of the two lists.
pub(super) fn only_appends(operations: &[Operation]) -> Result<(), Refusal> {
    let reasons: Vec<Reason> = operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.op != Op::Add || !matches!(operation.path.as_str(), "/nodes/-" | "/edges/-"))
        .map(|(index, operation)| Reason {
            operation: Some(index),
            what: operation.title(),
            message: "runs of this orchestrator take only add at /nodes/- and /edges/- \
                      (orchestrator.run_patch_mode: append_only): patch the workflow instead"
                .to_owned(),
        })
        .collect();
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { conflict: false, reasons }) }
}

/// Says the same change in whole nodes and edges: `remove` and `replace` by place, `add` at the end.
///
/// Edges go before the nodes they hang on and come after them, so that every intermediate state is sound.
/// New elements stand at the end, wherever the patch had put them.
pub(super) fn whole_elements(before: &Value, after: &Value) -> Result<Vec<Operation>, Refusal> {
    let effects = Effects::between(before, after).0;
    if let Some(effect) = effects.iter().find(|effect| effect.part == Part::Member) {
        return Err(Refusal::one(Reason::general(format!(
            "/{} cannot be changed: this orchestrator takes whole nodes and edges only \
             (orchestrator.workflow_patch_mode: shallow)",
            effect.id
        ))));
    }
    let all = elements(before);
    let place = |effect: &Effect| all.get(&effect.key()).map(|(place, _)| *place);
    let mut operations = Vec::new();
    for (part, section) in [(Part::Edge, "edges"), (Part::Node, "nodes")] {
        let gone = |effect: &&Effect| effect.part == part && effect.after.is_none();
        let mut places: Vec<usize> = effects.iter().filter(gone).filter_map(place).collect();
        places.sort_unstable_by(|a, b| b.cmp(a));
        operations.extend(places.iter().map(|place| Operation::remove(format!("/{section}/{place}"))));
        for effect in &effects {
            if let (true, Some(_), Some(now)) = (effect.part == part, &effect.before, &effect.after)
                && let Some(old) = place(effect)
            {
                let now_at = old - places.iter().filter(|gone| **gone < old).count();
                let path = format!("/{section}/{now_at}");
                operations.push(Operation::with_value(Op::Replace, path, now.clone()));
            }
        }
    }
    for (part, section) in [(Part::Node, "nodes"), (Part::Edge, "edges")] {
        let new = effects.iter().filter(|effect| effect.part == part && effect.before.is_none());
        operations.extend(
            new.filter_map(|effect| {
                Some(Operation::with_value(Op::Add, format!("/{section}/-"), effect.after.clone()?))
            }),
        );
    }
    Ok(operations)
}
