//! The API's description, and whether values fit it.

use agent_runner::{http::router, queue::MemoryQueue, settings::Settings, store::MemoryStore};
use axum::Router;
use serde_json::{Value, json};

use super::api::{agents, app, call};

/// The document and a server on a queue in memory.
pub async fn described() -> (Value, Router) {
    let mut app = app(MemoryQueue::new(&Settings::default()), Settings::default());
    let file = std::fs::read_to_string("examples/agents.yaml").unwrap();
    app.agents = agents(&file, MemoryStore::new(1 << 20));
    let router = router(app);
    (call(&router, "GET", "/openapi.json").await.json(), router)
}

/// The document with every object in it closed: what it does not name must not be there.
pub fn closed(mut value: Value) -> Value {
    fn close(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(close);
                if members.get("properties").is_some_and(Value::is_object) {
                    members.insert("additionalProperties".into(), false.into());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    close(&mut value);
    value
}

/// Refuses `value` where it is not of the shape `name`.
pub fn fits(document: &Value, name: &str, value: &Value) {
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
    let faults: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{name}: {faults:#?}");
}
