//! Any bytes as a patch: they are refused with a reason, or they can be undone byte for byte.
#![no_main]

use std::sync::LazyLock;

use agent_runner::{
    job::RawJson,
    settings::Patch,
    workflow::{Mode, PatchSpec, Rules, Workflow, prepare},
};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&Patch::default()).expect("the defaults hold"));

fn workflow() -> Workflow {
    Workflow::from_value(json!({
        "nodes": [
            {"id": "fetch", "type": "http", "config": {"url": "u", "retry": {"max_attempts": 2}}},
            {"id": "check", "type": "conditional"},
            {"id": "again", "type": "loop", "config": {"loop_back_to": "fetch", "max_iterations": 3}}
        ],
        "edges": [
            {"from": "fetch", "to": "check"},
            {"from": "check", "to": "again", "condition": "output.price < 5"},
            {"from": "again", "to": "fetch"}
        ],
        "metadata": {"a": 1.10, "b": [1, 2], "c": null},
        "version": "1"
    }))
    .expect("the workflow is one")
}

fuzz_target!(|data: &[u8]| {
    let Ok(raw) = RawJson::parse(data.to_vec().into()) else { return };
    let spec = match PatchSpec::read(&raw, RULES.limits.max_operations) {
        Ok(spec) => spec,
        Err(refusal) => return assert!(!refusal.reasons.is_empty()),
    };
    let before = workflow();
    for mode in [Mode::Full, Mode::Shallow, Mode::AppendOnly] {
        match prepare(&before, &spec, &RULES, mode) {
            Ok(prepared) => {
                let after = Workflow::from_value(prepared.document).expect("a checked result is a workflow");
                let undo = PatchSpec { operations: prepared.inverse, description: String::new(), notes: Vec::new() };
                let back = agent_runner::workflow::apply(after.document(), &undo.operations, &agent_runner::workflow::Limits {
                    max_operations: usize::MAX,
                    max_result_bytes: usize::MAX,
                })
                .expect("an inverse holds");
                assert_eq!(back.document.to_string(), before.document().to_string());
            }
            Err(refusal) => assert!(!refusal.reasons.is_empty()),
        }
    }
});
