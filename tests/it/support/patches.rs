//! A small workflow and patches on it.

use agent_runner::{
    job::RawJson,
    settings::Patch,
    workflow::{Mode, PatchSpec, Prepared, Refusal, Rules, Workflow, prepare},
};
use serde_json::{Value, json};

pub fn workflow() -> Value {
    json!({
        "nodes": [
            {"id": "fetch", "type": "http", "config": {"url": "https://a.example"}},
            {"id": "check", "type": "conditional"},
            {"id": "store", "type": "function", "config": {}}
        ],
        "edges": [
            {"from": "fetch", "to": "check"},
            {"from": "check", "to": "store", "condition": "output.price > 10"}
        ],
        "metadata": {"name": "prices", "tags": ["a", "b"]},
        "version": "1.0"
    })
}

pub fn rules() -> Rules {
    Rules::new(&Patch::default()).unwrap()
}

pub fn try_on(workflow: &Value, spec: &str) -> Result<Prepared, Refusal> {
    let rules = rules();
    let spec = PatchSpec::read(&RawJson::from_trusted(spec.to_owned()), rules.limits.max_operations)?;
    prepare(&Workflow::from_value(workflow.clone()).unwrap(), &spec, &rules, Mode::Full)
}

pub fn ops(operations: Value) -> String {
    json!({ "operations": operations, "description": "d" }).to_string()
}

pub fn add_node(node: Value) -> Value {
    json!({"op": "add", "path": "/nodes/-", "value": node})
}

pub fn add_edge(from: &str, to: &str) -> Value {
    json!({"op": "add", "path": "/edges/-", "value": {"from": from, "to": to}})
}

pub fn node(id: &str) -> Value {
    json!({"id": id, "type": "function"})
}
