//! What a model is shown: the schema of `execute_pipeline`'s arguments and a short description of the
//! steps, both from the types that read a plan.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::names::STEP_TYPES;

/// The names of all steps, in the order in which they are described.
pub fn step_names() -> impl Iterator<Item = &'static str> {
    STEP_TYPES.iter().map(|kind| kind.name)
}

/// JSON Schema of `{"pipeline": [step, …], "input_ref"?, "session_id"?}`. The same bytes every time.
#[must_use]
pub fn parameters_schema() -> Value {
    let mut generator = generator();
    let steps: Vec<Value> = STEP_TYPES
        .iter()
        .map(|kind| {
            let mut schema = (kind.schema)(&mut generator).to_value();
            name_step(&mut schema, kind.name);
            schema
        })
        .collect();
    let definitions = generator.take_definitions(true);
    let mut schema = json!({
        "type": "object",
        "properties": {
            "pipeline": {
                "type": "array",
                "description": "steps; data flows from one to the next",
                "minItems": 1,
                "items": {"anyOf": steps}
            },
            "input_ref": {"type": "string", "description": "artifact to start from, instead of the data at hand"},
            "session_id": {"type": "string"}
        },
        "required": ["pipeline"],
        "additionalProperties": false
    });
    if !definitions.is_empty() {
        schema["$defs"] = Value::Object(definitions);
    }
    schema
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None).into_generator()
}

/// Puts `"step": name` first among the properties.
fn name_step(schema: &mut Value, name: &str) {
    let Value::Object(schema) = schema else { return };
    schema.shift_remove("title");
    let mut properties = Map::new();
    properties.insert("step".into(), json!({"const": name}));
    if let Some(Value::Object(own)) = schema.remove("properties") {
        properties.extend(own);
    }
    schema.insert("properties".into(), Value::Object(properties));
    let mut required = vec![Value::from("step")];
    if let Some(Value::Array(own)) = schema.remove("required") {
        required.extend(own);
    }
    schema.insert("required".into(), Value::Array(required));
}

/// A line a step: its name, its parameters with `?` on the optional ones, and what it does. The same bytes
/// every time.
#[must_use]
pub fn step_docs() -> String {
    let mut generator = generator();
    let mut docs = String::new();
    for kind in STEP_TYPES {
        let schema = (kind.schema)(&mut generator).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let parameters: Vec<String> = schema["properties"].as_object().map_or_else(Vec::new, |properties| {
            let mark = |name: &String| if required.contains(&Value::from(name.as_str())) { "" } else { "?" };
            properties.keys().map(|name| format!("{name}{}", mark(name))).collect()
        });
        let summary = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        docs.push_str(&format!("{}({}): {summary}\n", kind.name, parameters.join(", ")));
    }
    docs
}
